"""Pictures in the terminal: real ones where it shows them (kitty's protocol, sixel), half blocks where asked for."""

import io
import logging
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from PIL import Image

    from vernier.client import AsyncClient
    from vernier.client.models import Hit

PicturesOption = Annotated[
    bool | None,
    typer.Option(
        "--pictures/--no-pictures",
        help="Show pictures in the terminal, in half blocks if need be.",
        show_default="where it shows real ones (kitty's protocol, sixel)",
    ),
]

_THUMBNAIL_PX = 160
_GAP_PX = 8
_IN_A_ROW = 5


class Screen:
    """The terminal, as far as it shows pictures.

    Args:
        asked: True for pictures in any form, False for none, None for none but real ones.
    """

    def __init__(self, asked: bool | None) -> None:
        self._renderable = None if asked is False else _renderable(is_asked=asked is True)

    @property
    def shows(self) -> bool:
        """Whether a picture given to `show` will be seen."""
        return self._renderable is not None

    def show(self, image: "Image.Image") -> None:
        """Print a picture no wider than the terminal and no larger than it is."""
        if self._renderable is None:
            return
        from rich.console import Console

        console = Console(file=sys.stdout)
        cell_px = 8
        width = min(console.width, max(8, image.width // cell_px))
        console.print(self._renderable(image, width=width, height="auto"))


def _renderable(*, is_asked: bool) -> Any:  # noqa: ANN401  a class of a package that is imported late
    from vernier.cli.output import note

    if not (sys.stdout.isatty() and sys.stdin.isatty() and os.get_terminal_size().columns):
        if is_asked:
            note("pictures are not shown: this is no terminal of a known size. `ground --out FILE` writes one.")
        return None
    logging.getLogger("textual_image").setLevel(logging.ERROR)  # that a terminal does not tell its sizes is no news
    # The import asks the terminal what it can, and waits a moment for its answer.
    from textual_image.renderable import HalfcellImage, Image, SixelImage, TGPImage

    if Image in (SixelImage, TGPImage):
        return Image
    return HalfcellImage if is_asked else None


async def contact_sheet(client: "AsyncClient", hits: Sequence["Hit"], *, gallery: str) -> "Image.Image | None":
    """Return the hits' pictures row by row, best first, with their regions; None when no hit has a picture."""
    from PIL import Image

    from vernier.client import ApiError
    from vernier.client.drawing import draw

    thumbnails = []
    for hit in hits:
        try:
            data = await client.item_picture(hit.id, gallery=gallery)
        except ApiError as error:
            if error.code not in ("picture_missing", "unknown_item"):
                raise
            continue
        image = draw(data, hit) if hit.regions else Image.open(io.BytesIO(data)).convert("RGB")
        image.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX))
        thumbnails.append(image)
    if not thumbnails:
        return None
    step = _THUMBNAIL_PX + _GAP_PX
    columns, rows = min(_IN_A_ROW, len(thumbnails)), -(-len(thumbnails) // _IN_A_ROW)
    sheet = Image.new("RGB", (columns * step, rows * step), "white")
    for number, image in enumerate(thumbnails):
        sheet.paste(image, (number % _IN_A_ROW * step, number // _IN_A_ROW * step))
    return sheet
