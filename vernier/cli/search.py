"""`vernier search`: the pictures that a text, a picture, or both describe."""

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from runtime.errors import GalleryError, UsageError
from vernier.cli.pictures import PicturesOption
from vernier.cli.source import ApiKeyOption, BundleOption, JsonOption, Source, UrlOption

if TYPE_CHECKING:
    from PIL import Image

    from vernier.client import AsyncClient
    from vernier.client.models import SearchAnswer


def search(
    text: Annotated[str | None, typer.Argument(help="What to look for.")] = None,
    image: Annotated[Path | None, typer.Option(metavar="FILE", help="A picture to look like.")] = None,
    url: UrlOption = None,
    gallery: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Search this gallery in this process; with --url its name on the server."),
    ] = None,
    bundle: BundleOption = None,
    top_k: Annotated[int, typer.Option(metavar="N", help="Most hits.", min=1)] = 10,
    target: Annotated[
        Literal["image", "text"], typer.Option(help="Whether the items' pictures or their texts are searched.")
    ] = "image",
    filter: Annotated[
        str | None, typer.Option(metavar="JSON", help="""Condition on the metadata, as '{"year": {"gte": 2020}}'.""")
    ] = None,
    rerank: Annotated[int, typer.Option(metavar="N", help="Best hits that are scored again, by both together.")] = 0,
    min_match: Annotated[
        float | None,
        typer.Option(
            metavar="P", help="Leave out hits of a lower match; all are scored again without --rerank.", min=0, max=1
        ),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say where phrases are and which words do not fit.")
    ] = False,
    pictures: PicturesOption = None,
    api_key: ApiKeyOption = None,
    json: JsonOption = False,
) -> None:
    """Search a gallery: on a server (--url), or a gallery's directory in this process (--gallery and --bundle).

    With none of these the demo gallery is searched, which is drawn when it is not there yet.
    """
    from vernier.cli.output import say_json
    from vernier.cli.pictures import Screen, contact_sheet

    if text is None and image is None:
        raise UsageError("give a text to search for, or a picture with --image.")
    source, name = _source(url=url, api_key=api_key, gallery=gallery, bundle=bundle)
    wanted = _parsed(filter)
    screen = Screen(False if json else pictures)

    async def question(client: "AsyncClient") -> tuple["SearchAnswer", "Image.Image | None"]:
        answer = await client.search(
            text,
            image=image,
            gallery=name,
            top_k=top_k,
            target=target,
            filter=wanted,
            rerank=rerank,
            min_match=min_match,
            explain=explain,
            include=("metadata", "text"),
        )
        return answer, await contact_sheet(client, answer.hits, gallery=name) if screen.shows else None

    answer, sheet = source.ask(question)
    if json:
        say_json(answer.model_dump(mode="json", exclude_none=True))
        return
    _say(answer)
    if sheet is not None:
        screen.show(sheet)


def _source(*, url: str | None, api_key: str | None, gallery: str | None, bundle: Path | None) -> tuple[Source, str]:
    """Who is asked, and the gallery's name there."""
    if url is not None:
        return Source(url=url, api_key=api_key, bundle=bundle), gallery or "default"
    if gallery is not None:
        from index.items import FILE

        if not (Path(gallery) / FILE).is_file():
            raise GalleryError(
                f"there is no gallery at {gallery}; `vernier index add` makes one.", code="unknown_gallery"
            )
        return Source(bundle=bundle, gallery=Path(gallery)), "default"
    if bundle is not None:
        raise UsageError("name the gallery to search with --gallery.")
    from vernier.demo import demo_bundle, demo_gallery
    from vernier.progress import progress

    chosen = demo_bundle()
    with progress("Drawing the demo gallery") as hook:
        return Source(bundle=chosen, gallery=demo_gallery(chosen, progress=hook)), "default"


def _parsed(filter: str | None) -> dict[str, Any] | None:
    if filter is None:
        return None
    try:
        wanted = json_module.loads(filter)
    except ValueError as error:
        raise UsageError(f"--filter is not JSON ({error}).") from error
    if not isinstance(wanted, dict):
        raise UsageError("--filter must be a JSON object.")
    return wanted


def _say(answer: "SearchAnswer") -> None:
    from vernier.cli.output import Coloured, note, say, say_table

    if not answer.hits:
        note(f"Nothing found among {answer.gallery.items} items.")
    if answer.left_out:
        note(f"{answer.left_out} hits do not fit well enough and are left out.")
    if answer.pictures_read:
        note(f"{answer.pictures_read} pictures were looked at anew; `vernier index features` spares that.")
    rows: list[list[str | Coloured]] = []
    for hit in answer.hits:
        score = f"{hit.score:.4f}" if hit.match is None else f"{hit.score:.4f} match {hit.match:.3f}"
        about = hit.text or json_module.dumps(hit.metadata or {}, ensure_ascii=False)
        name = hit.id if hit.time_seconds is None else f"{hit.id} at {hit.time_seconds:.1f} s"
        rows.append([Coloured(score, "green"), Coloured(name, "cyan"), about if about != "{}" else ""])
    say_table(rows)
    for hit in answer.hits:
        for region in hit.regions or ():
            box = " ".join(f"{edge:.0f}" for edge in region.box)
            say(f"{hit.id}: {region.phrase!r} at {box} ({region.score:.2f})")
        wrong = [word for word in hit.words or () if word.error_probability >= 0.5]
        if wrong:
            say(
                f"{hit.id}: does not fit: " + ", ".join(f"{word.word} ({word.error_probability:.2f})" for word in wrong)
            )
