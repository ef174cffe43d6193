"""Boxes drawn on a picture."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image, ImageDraw, ImageFont

from runtime.preprocess.image import decode_image

if TYPE_CHECKING:
    from vernier.client.models import Box, GroundAnswer

_COLOURS = ("#e6194b", "#0a84ff", "#f5a300", "#2ca02c", "#9b5de5", "#00a6a6", "#d6336c", "#7a5c00")


class _Label(NamedTuple):
    box: "Box"
    text: str
    colour: str


def draw(picture: Path, answer: "GroundAnswer") -> Image.Image:
    """Return the upright picture with every box of the answer, each phrase in its colour with its name beside it.

    Small pictures are enlarged first, so that names can be read.

    Raises:
        ImageError: the picture cannot be decoded.
    """
    image = decode_image(picture.read_bytes())
    scale = max(1.0, 480 / max(image.size))
    if scale > 1:
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    line = max(2, round(max(image.size) / 240))
    font = ImageFont.load_default(size=max(12, round(max(image.size) / 36)))
    canvas = ImageDraw.Draw(image)
    labels = list(_labels(answer, scale))
    for label in labels:
        canvas.rectangle(label.box, outline=label.colour, width=line)
    for label in labels:
        _write(canvas, label, font)
    return image


def _labels(answer: "GroundAnswer", scale: float) -> Iterator[_Label]:
    for number, grounding in enumerate(answer.groundings):
        for found in grounding.boxes:
            x0, y0, x1, y1 = (edge * scale for edge in found.box)
            text = f"{grounding.phrase} {found.score:.2f}"
            yield _Label((x0, y0, x1, y1), text, _COLOURS[number % len(_COLOURS)])


def _write(canvas: ImageDraw.ImageDraw, label: _Label, font: "ImageFont.FreeTypeFont | ImageFont.ImageFont") -> None:
    """The name above its box; inside its upper edge where there is no room above."""
    left, top, right, bottom = canvas.textbbox((0, 0), label.text, font=font)
    width, height = right - left + 6, bottom - top + 6
    x = max(0.0, min(label.box[0], canvas.im.size[0] - width))
    y = label.box[1] - height if label.box[1] >= height else label.box[1]
    canvas.rectangle((x, y, x + width, y + height), fill=label.colour)
    canvas.text((x + 3 - left, y + 3 - top), label.text, fill="white", font=font)
