"""`vernier import`: a public CLIP-style checkpoint to a bundle."""

from pathlib import Path
from typing import Annotated

import typer

from vernier.cli.export import ImagesOption, PrecisionOption, ValidationOption, show
from vernier.cli.source import JsonOption


def import_(
    source: Annotated[
        str, typer.Argument(metavar="NAME_OR_DIR", help="A name such as openai/clip-vit-base-patch32, or a directory.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The bundle to write; an older one there is replaced.")],
    precision: PrecisionOption = "fp32",
    validation: ValidationOption = None,
    images: ImagesOption = None,
    name: Annotated[str | None, typer.Option(help="The bundle's name; that of its directory when left out.")] = None,
    json: JsonOption = False,
) -> None:
    """Make a bundle from a public checkpoint: CLIP, SigLIP, Chinese-CLIP, or OpenCLIP's safetensors."""
    from vernier.cli.extras import needs
    from vernier.progress import progress

    with needs("export"):
        from export.import_public import import_public
        from export.task_quality import read_validation
    asked = read_validation(validation, images=images) if validation else None
    with progress("Importing") as hook:
        report = import_public(source, out, precision=precision, name=name, validation=asked, progress=hook)
    show(report, json=json)
