"""`vernier index`: filling a gallery and looking after it."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.errors import VernierError
from vernier.cli.source import JsonOption

if TYPE_CHECKING:
    from index import LocalGallery

app = typer.Typer(help="Fill a gallery, and look after it.", no_args_is_help=True)

GalleryArgument = Annotated[Path, typer.Argument(metavar="GALLERY", help="The gallery's directory.")]


@app.command()
def stats(gallery: GalleryArgument, json: JsonOption = False) -> None:
    """Say what a gallery holds, and what it takes."""
    from vernier.cli.output import say_json, say_table

    with _opened(gallery, read_only=True) as opened:
        numbers = asdict(opened.stats())
    flat = {**numbers.pop("info"), **numbers}
    if json:
        say_json(flat)
    else:
        say_table([[name.replace("_", " "), "none" if value is None else str(value)] for name, value in flat.items()])


@app.command()
def verify(gallery: GalleryArgument, json: JsonOption = False) -> None:
    """Compare everything in a gallery with everything; exit 1 when something is wrong."""
    from vernier.cli.output import note, say, say_json

    with _opened(gallery, read_only=True) as opened:
        problems = opened.verify()
        items = opened.info().items
    if json:
        say_json({"items": items, "problems": problems})
    else:
        for problem in problems:
            say(problem)
    if problems:
        raise VernierError(
            f"{gallery} has {len(problems)} problems; `vernier index rebuild` mends what is derived.",
            code="gallery_damaged",
        )
    if not json:
        note(f"{gallery} is whole: {items} items.")


@app.command()
def compact(gallery: GalleryArgument) -> None:
    """Give the room of deleted items back to the disk."""
    from vernier.cli.output import note

    with _opened(gallery) as opened:
        before, after = opened.compact()
    note(f"{gallery}: {before:,} bytes before, {after:,} after.")


@app.command()
def rebuild(gallery: GalleryArgument) -> None:
    """Make the search index anew from the items."""
    from vernier.cli.output import note

    with _opened(gallery) as opened:
        opened.rebuild()
        items = opened.info().items
    note(f"{gallery}: the index of {items} items is made anew.")


def _opened(gallery: Path, *, read_only: bool = False) -> "LocalGallery":
    from index import open_gallery

    return open_gallery(gallery, read_only=read_only)
