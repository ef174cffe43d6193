"""`vernier train`: a recipe to a checkpoint."""

import os
from pathlib import Path
from typing import Annotated

import typer

from vernier.cli.source import JsonOption


def train(
    recipe: Annotated[
        str, typer.Option(metavar="MODULE:FUNCTION", help="What to train, such as training.recipes.baseline:tiny.")
    ],
    workdir: Annotated[Path, typer.Option(metavar="DIR", help="Where checkpoints go.")],
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Where the data lies, or shards by path or URL, such as s3://bucket/{000..127}.tar; drawn scenes need "
            "none.",
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint.")] = False,
    max_steps: Annotated[
        int | None, typer.Option(metavar="N", help="Stop after so many steps, at the latest.", min=1)
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Seed of weights and data, in place of the recipe's.", min=0)
    ] = None,
    num_steps: Annotated[
        int | None,
        typer.Option(metavar="N", help="Length of the whole run, in place of the recipe's; the schedule fits.", min=1),
    ] = None,
    start_from: Annotated[
        Path | None,
        typer.Option(metavar="CHECKPOINT", help="Begin with this checkpoint's weights, where the two models agree."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Train a recipe, or go on with it; print the directory of the last checkpoint."""
    from rich.console import Console

    from vernier.cli.extras import needs
    from vernier.cli.output import say, say_json

    with needs("training"):
        from training.train import run
    console = Console(stderr=True, quiet=quiet)
    last = run(
        recipe,
        data=data,
        workdir=workdir,
        resume=resume,
        max_steps=max_steps,
        seed=seed,
        num_steps=num_steps,
        start_from=start_from,
        console=console,
    )
    if os.environ.get("RANK", "0") != "0":  # of the processes that torchrun starts, one speaks
        return
    if json:
        say_json({"checkpoint": str(last)})
    else:
        say(str(last))
