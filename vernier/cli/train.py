"""`vernier train`: a recipe to a checkpoint."""

from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[
        str, typer.Option(metavar="MODULE:FUNCTION", help="What to train, such as training.recipes.baseline:tiny.")
    ],
    workdir: Annotated[Path, typer.Option(metavar="DIR", help="Where checkpoints go.")],
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the recipe's data lies; drawn scenes need none.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint.")] = False,
    max_steps: Annotated[
        int | None, typer.Option(metavar="N", help="Stop after so many steps, at the latest.", min=1)
    ] = None,
) -> None:
    """Train a recipe, or go on with it; print the directory of the last checkpoint."""
    from rich.console import Console

    from vernier.cli.extras import needs
    from vernier.cli.output import say

    with needs("training"):
        from training.train import run
    console = Console(stderr=True)
    say(str(run(recipe, data=data, workdir=workdir, resume=resume, max_steps=max_steps, console=console)))
