"""`vernier index`: filling a gallery and looking after it."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from runtime.errors import DataError, UsageError, VernierError
from vernier.cli.copy import copy
from vernier.cli.features import PatchTokensOption, features
from vernier.cli.import_clip import import_clip
from vernier.cli.migrate import migrate
from vernier.cli.source import JsonOption

if TYPE_CHECKING:
    from index import LocalGallery

app = typer.Typer(help="Fill a gallery, and look after it.", no_args_is_help=True)

app.command()(migrate)
app.command()(copy)
app.command()(import_clip)
app.command()(features)

GalleryArgument = Annotated[
    str, typer.Argument(metavar="GALLERY", help="The gallery's directory, or milvus://HOST:PORT/NAME.")
]
FolderArgument = Annotated[Path, typer.Argument(metavar="GALLERY", help="The gallery's directory.")]


@app.command()
def add(
    gallery: Annotated[
        str,
        typer.Argument(
            metavar="GALLERY", help="The gallery's directory, or milvus://HOST:PORT/NAME; made when missing."
        ),
    ],
    pictures: Annotated[
        list[Path],
        typer.Argument(metavar="PICTURES", help="Folders of pictures and videos, single ones, JSONL files."),
    ],
    bundle: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="What makes the vectors.", show_default="the demo bundle"),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the pictures of JSONL files are; beside them otherwise.")
    ] = None,
    picture_px: Annotated[
        int, typer.Option(metavar="N", help="Longest side of stored pictures, for another model later.", min=64)
    ] = 512,
    captions_as_text: Annotated[
        bool, typer.Option("--captions-as-text", help="Store a line's first caption as the item's text.")
    ] = False,
    patch_tokens: PatchTokensOption = None,
    json: JsonOption = False,
) -> None:
    """Add pictures, videos and texts. What cannot be read is reported and left out; again adds nothing twice.

    A line of JSONL is {"image": path, "id"?, "text"?, "metadata"?}; other fields of it become metadata. A video (.mp4,
    .webm, .mkv, .mov, .avi) becomes one item, of 16 frames; hits of it say when the best of them is shown.
    """
    from index import open_gallery
    from index.ingest import add as add_to
    from runtime.encoder import Encoder
    from vernier.cli.output import note, say_json
    from vernier.demo import demo_bundle
    from vernier.progress import progress

    encoder = Encoder.load(bundle or demo_bundle())
    with open_gallery(gallery, space=encoder.space, dim=encoder.dim, create=True, patch_tokens=patch_tokens) as opened:
        if patch_tokens not in (None, opened.patch_tokens):
            raise UsageError(
                f"{gallery} keeps patch tokens as {opened.patch_tokens}; "
                f"`vernier index features --patch-tokens {patch_tokens}` changes that."
            )
        with progress("Adding") as hook:
            report = add_to(
                opened,
                encoder,
                pictures,
                images_dir=images,
                captions_as_text=captions_as_text,
                picture_px=picture_px,
                progress=hook,
            )
        items = opened.info().items
    if json:
        broken = [{"source": name, "reason": reason} for name, reason in report.broken]
        say_json({**asdict(report), "broken": broken, "items": items})
    else:
        for name, reason in report.broken:
            note(f"left out: {name}: {reason}")
        note(
            f"{gallery}: {report.created} created, {report.replaced} replaced, {report.unchanged} unchanged, "
            f"{len(report.broken)} left out; {items} items now."
        )
    if report.broken and not report.created + report.replaced + report.unchanged:
        raise DataError("nothing could be added: none of the pictures and texts can be used.", code="nothing_added")


@app.command()
def stats(
    gallery: FolderArgument,
    near_duplicates: Annotated[
        bool,
        typer.Option(
            "--near-duplicates", help="Find pictures that are nearly the same: by dictionary codes, else by vectors."
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Say what a gallery holds, and what it takes."""
    from vernier.cli.output import note, say_json, say_table

    with _opened(gallery, read_only=True) as opened:
        numbers = asdict(opened.stats())
        found = opened.near_duplicates() if near_duplicates else None
    flat = {**numbers.pop("info"), **numbers}
    if json:
        say_json({**flat, **({} if found is None else {"near_duplicates": asdict(found)})})
        return
    say_table([[name.replace("_", " "), "none" if value is None else str(value)] for name, value in flat.items()])
    if found is not None:
        note(
            f"near duplicates by {found.method} (from {found.threshold}): {found.pictures} pictures in {found.groups} "
            f"groups, the largest of {found.largest_group}; {found.compared:,} pairs were compared."
        )
        say_table([[one, other, f"{similarity:.3f}"] for one, other, similarity in found.examples])


@app.command()
def verify(gallery: GalleryArgument, json: JsonOption = False) -> None:
    """Compare everything in a gallery with everything; exit 1 when something is wrong."""
    from index import open_gallery
    from vernier.cli.output import note, say, say_json

    with open_gallery(gallery, read_only=True) as opened:
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
def compact(gallery: GalleryArgument, json: JsonOption = False) -> None:
    """Give the room of deleted items back to the disk. In Milvus nobody else may write meanwhile."""
    from vernier.cli.output import note, say_json

    if gallery.startswith("milvus://"):
        from index.milvus import MilvusGallery
        from index.milvus_server import MilvusAddress

        address = MilvusAddress.parse(gallery)
        with MilvusGallery(address, space=None, dim=None, create=False, read_only=False) as in_milvus:
            removed = in_milvus.compact()
        if json:
            say_json({"pictures_removed": removed})
        else:
            note(f"{address.name}: {removed:,} pictures removed that no item names.")
        return
    with _opened(Path(gallery)) as opened:
        before, after = opened.compact()
    if json:
        say_json({"bytes_before": before, "bytes_after": after})
    else:
        note(f"{gallery}: {before:,} bytes before, {after:,} after.")


@app.command()
def rebuild(gallery: FolderArgument, json: JsonOption = False) -> None:
    """Make the search index anew from the items."""
    from vernier.cli.output import note, say_json

    with _opened(gallery) as opened:
        opened.rebuild()
        items = opened.info().items
    if json:
        say_json({"items": items})
    else:
        note(f"{gallery}: the index of {items} items is made anew.")


@app.command()
def tune(
    gallery: FolderArgument,
    vectors: Annotated[
        Literal["float32", "float16", "int8"] | None,
        typer.Option(help="How vectors are kept.", show_default="as they are; at first float16"),
    ] = None,
    kind: Annotated[
        Literal["ivf-pq", "hnsw"] | None,
        typer.Option(help="Taken if it finds enough.", show_default="the quickest that does"),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Make a large gallery quick to search, with a recall@10 of at least 0.95, and say what was chosen.

    int8 is taken where it finds enough; float16 otherwise. A small gallery stays exact.
    """
    from index.large_index import EXACT_UP_TO
    from vernier.cli.output import note, say_json

    with _opened(gallery) as opened:
        tunings = opened.tune(vectors=vectors, kind=kind)
    if json:
        say_json([asdict(tuning) for tuning in tunings])
        return
    for tuning in tunings:
        effort = "" if tuning.effort is None else f" ({tuning.effort.breadth}, {tuning.effort.num_candidates})"
        note(
            f"{tuning.target}: {tuning.kind}{effort} over {tuning.num_vectors:,} vectors as {tuning.vectors}: "
            f"recall@10 {tuning.recall:.3f}, {tuning.queries_per_cpu_s:,.0f} queries per CPU-second; exact search "
            f"{tuning.exact_queries_per_cpu_s:,.0f}."
        )
    if not tunings:
        note(f"{gallery} has no more than {EXACT_UP_TO:,} vectors of a kind: its searches stay exact.")


def _opened(gallery: Path, *, read_only: bool = False) -> "LocalGallery":
    from index import open_folder

    return open_folder(gallery, read_only=read_only)
