"""`vernier ground`: where phrases are in a picture."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.errors import UsageError
from vernier.cli.pictures import PicturesOption
from vernier.cli.source import ApiKeyOption, BundleOption, JsonOption, Source, UrlOption

if TYPE_CHECKING:
    from vernier.client.models import GroundAnswer

_METHODS = {
    "grad_cam": "Grad-CAM: what raises the match",
    "attention": "attention: where the words look; the bundle has no word_maps graph",
    "patch_similarity": "similarity of the patches; the bundle has no fusion encoder",
}
"""How heat maps are made, for people."""


def ground(
    image: Annotated[Path, typer.Argument(help="The picture.")],
    phrases: Annotated[list[str], typer.Argument(help="What to find in it.")],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the picture with the boxes drawn.")] = None,
    heat: Annotated[
        str | None, typer.Option(metavar="PHRASE", help="Lay the heat map of this one of the phrases over the picture.")
    ] = None,
    top_k: Annotated[int, typer.Option(metavar="N", help="Most boxes per phrase.", min=1)] = 1,
    threshold: Annotated[
        float | None, typer.Option(metavar="P", help="Give no box of a lower score.", min=0, max=1)
    ] = None,
    budget: Annotated[
        int | None,
        typer.Option(metavar="N", help="Masked pictures to look at where the bundle is two encoders alone.", min=0),
    ] = None,
    url: UrlOption = None,
    bundle: BundleOption = None,
    pictures: PicturesOption = None,
    api_key: ApiKeyOption = None,
    json: JsonOption = False,
) -> None:
    """Find phrases in a picture. Boxes are left, top, right, bottom in pixels."""
    from vernier.cli.output import note, say_json
    from vernier.cli.pictures import Screen

    if out is not None:
        _check_writable(out)
    if heat is not None and heat not in phrases:
        raise UsageError(f"--heat {heat!r} is none of the phrases: {', '.join(map(repr, phrases))}.")
    screen = Screen(False if json else pictures)
    source = Source(url=url, api_key=api_key, bundle=bundle)
    answer = source.ask(
        lambda client: client.ground(
            image,
            phrases,
            top_k=top_k,
            threshold=threshold,
            budget=budget,
            heatmap="none" if heat is None else "grid",
        )
    )
    if json:
        say_json(answer.model_dump(mode="json", exclude_none=True))
    else:
        _say(answer)
    if out is None and not screen.shows:
        return
    from vernier.client.drawing import draw

    drawn = draw(image, answer, heat=heat)
    screen.show(drawn)
    if out is not None:
        drawn.save(out)
        note(f"The boxes are drawn in {out}.")
    if heat is not None and answer.heatmap_method is not None:
        note(f"The heat map of {heat!r} is by {_METHODS.get(answer.heatmap_method, answer.heatmap_method)}.")


def _check_writable(out: Path) -> None:
    from PIL import Image

    if out.suffix.lower() not in Image.registered_extensions():
        raise UsageError(f"--out {out} names no picture format; end it in .png or .jpg.")
    if not out.parent.is_dir():
        raise UsageError(f"--out {out} names a folder that is not there.")


def _say(answer: "GroundAnswer") -> None:
    from vernier.cli.output import Coloured, say_table

    rows: list[list[str | Coloured]] = []
    for grounding in answer.groundings:
        if not grounding.boxes:
            rows.append([Coloured(grounding.phrase, "cyan"), "", "not in the picture"])
        for found in grounding.boxes:
            box = " ".join(f"{edge:.0f}" for edge in found.box)
            rows.append([Coloured(grounding.phrase, "cyan"), f"{found.score:.3f}", box])
    say_table(rows)
