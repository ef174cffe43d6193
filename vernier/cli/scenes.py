"""`vernier scenes`: drawn pictures with captions, boxes and minimal pairs."""

from pathlib import Path
from typing import Annotated

import typer


def scenes(
    out: Annotated[Path, typer.Argument(help="The folder to write: missing, or empty.")],
    count: Annotated[int, typer.Option(metavar="N", help="How many pictures.")],
    seed: Annotated[int, typer.Option(metavar="S", help="The same seed gives the same files.")],
    split: Annotated[
        str, typer.Option(help="train, val, test or compositional; no two splits share a scene.")
    ] = "test",
) -> None:
    """Draw scenes, and write what `vernier eval` and training read."""
    from scenes import write
    from vernier.cli.output import note
    from vernier.cli.progress import progress

    with progress("Drawing") as hook:
        write(out, count=count, seed=seed, split=split, progress=hook)
    note(f"{count} scenes are in {out}.")
