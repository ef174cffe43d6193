"""`vernier scenes`: drawn pictures with captions, boxes and minimal pairs."""

from pathlib import Path
from typing import Annotated

import typer

from runtime.errors import UsageError
from vernier.cli.source import JsonOption


def scenes(
    out: Annotated[Path, typer.Argument(help="The folder to write: missing, or empty.")],
    count: Annotated[int, typer.Option(metavar="N", help="How many pictures.")],
    seed: Annotated[int, typer.Option(metavar="S", help="The same seed gives the same files.")],
    split: Annotated[
        str,
        typer.Option(
            help="train, val, test, compositional (held-out combinations), or edit-type (the kinds of error that "
            "training never makes); no two splits share a scene."
        ),
    ] = "test",
    world: Annotated[str, typer.Option(help="full, or small: few simple kinds and colours, for 64 px.")] = "full",
    size: Annotated[int, typer.Option(metavar="PX", help="Side of the pictures, 32 to 1024.")] = 96,
    shards: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Write N WebDataset shards (tar) in place of folders and JSON lines."),
    ] = None,
    probes: Annotated[
        bool,
        typer.Option("--probes", help="Also covered main things, near-duplicates, and phrases within their captions."),
    ] = False,
    videos: Annotated[
        bool, typer.Option("--videos", help="Moving scenes of two seconds, with captions of what moves where.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Draw scenes, and write what `vernier eval` and training read."""
    from scenes import world_named, write, write_shards, write_videos
    from vernier.cli.output import note, say_json
    from vernier.progress import progress

    if probes and shards is not None:
        raise UsageError("--probes are JSON lines that `vernier eval` reads, and shards hold none; leave one out.")
    if videos and (probes or shards is not None):
        raise UsageError("--videos are MP4 files with captions; --probes and --shards are of pictures. Leave them out.")
    chosen = world_named(world)
    with progress("Drawing") as hook:
        if videos:
            write_videos(out, count=count, seed=seed, split=split, size_px=size, world=chosen, progress=hook)
        elif shards is None:
            write(out, count=count, seed=seed, split=split, size_px=size, world=chosen, probes=probes, progress=hook)
        else:
            write_shards(
                out, count=count, seed=seed, shards=shards, split=split, size_px=size, world=chosen, progress=hook
            )
    if json:
        say_json({"out": str(out), "scenes": count})
    else:
        note(f"{count} scenes are in {out}.")
