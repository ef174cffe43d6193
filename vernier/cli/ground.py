"""`vernier ground`: where phrases are in a picture."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.errors import UsageError
from vernier.cli.source import ApiKeyOption, BundleOption, JsonOption, Source, UrlOption

if TYPE_CHECKING:
    from vernier.client.models import GroundAnswer


def ground(
    image: Annotated[Path, typer.Argument(help="The picture.")],
    phrases: Annotated[list[str], typer.Argument(help="What to find in it.")],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the picture with the boxes drawn.")] = None,
    top_k: Annotated[int, typer.Option(metavar="N", help="Most boxes per phrase.", min=1)] = 1,
    url: UrlOption = None,
    bundle: BundleOption = None,
    api_key: ApiKeyOption = None,
    json: JsonOption = False,
) -> None:
    """Find phrases in a picture. Boxes are left, top, right, bottom in pixels."""
    from vernier.cli.output import note, say_json

    if out is not None:
        _check_writable(out)
    source = Source(url=url, api_key=api_key, bundle=bundle)
    answer = source.ask(lambda client: client.ground(image, phrases, top_k=top_k))
    if json:
        say_json(answer.model_dump(mode="json", exclude_none=True))
    else:
        _say(answer)
    if out is not None:
        from vernier.cli.overlay import draw

        draw(image, answer).save(out)
        note(f"The boxes are drawn in {out}.")


def _check_writable(out: Path) -> None:
    from PIL import Image

    if out.suffix.lower() not in Image.registered_extensions():
        raise UsageError(f"--out {out} names no picture format; end it in .png or .jpg.")
    if not out.parent.is_dir():
        raise UsageError(f"--out {out} names a folder that is not there.")


def _say(answer: "GroundAnswer") -> None:
    from vernier.cli.output import say_table

    rows = []
    for grounding in answer.groundings:
        if not grounding.boxes:
            rows.append([grounding.phrase, "", "nowhere"])
        for found in grounding.boxes:
            rows.append([grounding.phrase, f"{found.score:.3f}", " ".join(f"{edge:.0f}" for edge in found.box)])
    say_table(rows)
