"""`vernier export`: a checkpoint to a bundle."""

from pathlib import Path
from typing import Annotated, Literal

import typer


def export(
    checkpoint: Annotated[Path, typer.Argument(help="The checkpoint's directory.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The bundle to write.")],
    precision: Annotated[Literal["fp32", "fp16", "int8"], typer.Option(help="Precision of the graphs.")] = "fp32",
) -> None:
    """Make a bundle from a checkpoint. A bundle that does not say what the checkpoint says is refused."""
    from vernier.cli.extras import needs

    with needs("export"):
        from export import build
    build(checkpoint, out, precision=precision)
