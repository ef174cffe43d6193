"""Boxes and heat maps drawn on a picture."""

import base64
import binascii
import io
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from runtime.errors import UsageError
from runtime.preprocess.image import decode_image
from vernier.client.models import Box, GroundAnswer, Heatmap, Hit
from vernier.client.pictures import Picture, encoded

_COLOURS = ("#d6293e", "#0a6ed1", "#a85b00", "#1f7a1f", "#7a3fc4", "#007a7a", "#b81f5c", "#6b4f00")
"""One per phrase; white text on each has a contrast of at least 4.5."""

_LEAST_PX = 480
_HEAT_STRENGTH = 0.85


class _Label(NamedTuple):
    box: Box
    text: str
    colour: str


def draw(picture: Picture, found: GroundAnswer | Hit, *, heat: str | None = None) -> Image.Image:
    """Return the upright picture with every box that was found, each phrase in its colour with its name beside it.

    Small pictures are enlarged first, so that names can be read.

    Args:
        picture: the picture that was asked about; of a hit its stored picture.
        found: the answer of `ground`, or a hit of a search that was explained.
        heat: the phrase, or the word of the text, whose heat map is laid over the picture, and whose boxes alone are
            drawn; the answer must have come with heat maps.

    Raises:
        ImageError: the picture cannot be decoded.
        UsageError: the answer has no heat map of that phrase or word.
    """
    image = decode_image(encoded(picture))
    from_size = found.image_size or image.size
    enlarged = max(1.0, _LEAST_PX / max(image.size))
    image = image.resize((round(image.width * enlarged), round(image.height * enlarged)), Image.Resampling.LANCZOS)
    if heat is not None:
        image = _heated(image, _heatmap_of(found, heat), heat)
    scale = image.width / from_size[0], image.height / from_size[1]
    _draw_labels(image, [label for label in _labels(found, scale) if heat is None or label.text.startswith(f"{heat} ")])
    return image


def _heatmap_of(found: GroundAnswer | Hit, phrase: str) -> Heatmap:
    named: dict[str, Heatmap | None] = {word.word: word.heatmap for word in found.words or ()}
    if isinstance(found, GroundAnswer):
        named |= {grounding.phrase: grounding.heatmap for grounding in found.groundings}
    heatmap = named.get(phrase)
    if heatmap is not None:
        return heatmap
    raise UsageError(f"the answer has no heat map of {phrase!r}; ask for heat maps with ground(…, heatmap='png').")


def _heated(image: Image.Image, heatmap: Heatmap, phrase: str) -> Image.Image:
    """The picture under its heat, which glows from dark over orange to yellow."""
    warm = _heat_picture(heatmap, phrase).resize(image.size, Image.Resampling.BICUBIC)
    glow = ImageOps.colorize(warm, black="#2a0845", mid="#e8590c", white="#ffe066")
    return Image.composite(glow, image, warm.point(lambda value: int(value * _HEAT_STRENGTH)))


def _heat_picture(heatmap: Heatmap, phrase: str) -> Image.Image:
    if not isinstance(heatmap, str):
        return Image.fromarray((np.asarray(heatmap) * 255).round().astype(np.uint8))
    try:
        return Image.open(io.BytesIO(base64.b64decode(heatmap, validate=True))).convert("L")
    except (binascii.Error, OSError) as error:
        raise UsageError(f"the heat map of {phrase!r} is no picture ({error}).") from error


def _labels(found: GroundAnswer | Hit, scale: tuple[float, float]) -> Iterator[_Label]:
    if isinstance(found, GroundAnswer):
        boxes = [
            (number, grounding.phrase, scored.box, scored.score)
            for number, grounding in enumerate(found.groundings)
            for scored in grounding.boxes
        ]
    else:
        boxes = [(n, region.phrase, region.box, region.score) for n, region in enumerate(found.regions or ())]
    for number, phrase, (x0, y0, x1, y1), score in boxes:
        box = (x0 * scale[0], y0 * scale[1], x1 * scale[0], y1 * scale[1])
        yield _Label(box, f"{phrase} {score:.2f}", _COLOURS[number % len(_COLOURS)])


def _draw_labels(image: Image.Image, labels: Sequence[_Label]) -> None:
    line = max(2, round(max(image.size) / 240))
    font = ImageFont.load_default(size=max(12, round(max(image.size) / 36)))
    canvas = ImageDraw.Draw(image)
    for label in labels:
        canvas.rectangle(label.box, outline=label.colour, width=line)
    for label in labels:
        _write(canvas, label, font, image.width)


def _write(
    canvas: ImageDraw.ImageDraw, label: _Label, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width_px: int
) -> None:
    """The name above its box; inside its upper edge where there is no room above."""
    left, top, right, bottom = canvas.textbbox((0, 0), label.text, font=font)
    width, height = right - left + 6, bottom - top + 6
    x = max(0.0, min(label.box[0], width_px - width))
    y = label.box[1] - height if label.box[1] >= height else label.box[1]
    canvas.rectangle((x, y, x + width, y + height), fill=label.colour)
    canvas.text((x + 3 - left, y + 3 - top), label.text, fill="white", font=font)
