"""`vernier index copy`: a gallery into another one."""

from typing import Annotated

import typer

from vernier.cli.source import JsonOption


def copy(
    source: Annotated[str, typer.Argument(metavar="SRC", help="A gallery's directory, or milvus://HOST:PORT/NAME.")],
    destination: Annotated[
        str,
        typer.Argument(metavar="DST", help="Another one; made when missing. In Milvus it needs ?pictures=FOLDER then."),
    ],
    json: JsonOption = False,
) -> None:
    """Copy every item with its vectors and picture, then compare the two. Stopped at any moment, it goes on."""
    from dataclasses import asdict

    from index import open_gallery
    from index.copy import copy as copy_to
    from vernier.cli.output import note, say_json
    from vernier.progress import progress

    with open_gallery(source, read_only=True) as from_gallery:
        info = from_gallery.info()
        kept = None if destination.startswith("milvus://") else from_gallery.patch_tokens
        with (
            open_gallery(destination, space=info.space, dim=info.dim, create=True, patch_tokens=kept) as to_gallery,
            progress("Copying") as hook,
        ):
            report = copy_to(from_gallery, to_gallery, progress=hook)
    if json:
        say_json(asdict(report))
        return
    note(
        f"{report.copied} items copied, {report.unchanged} were there; all of them and {report.searches} searches are "
        "the same in both."
    )
    if report.others:
        note(f"the copy has {report.others} items more, so searches were not compared.")
