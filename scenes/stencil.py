"""From a drawing of a kind to pixels: stencils at the picture's own scale, patterns over them, and painting.

A kind is drawn once per size as a stencil: integer coordinates on a square of 1000 units, four times as
large as it will be seen, then averaged down. Stencils are cached, so a scene costs a few pastes.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from scenes.drawings import DRAWINGS
from scenes.sheet import DETAILS, SUPERSAMPLING, Sheet
from scenes.world import Rgb

Bools = np.ndarray[tuple[int, int], np.dtype[np.bool_]]

_GLOW = (255, 214, 64)
_HALF_SEEN = 128


@dataclass(frozen=True, kw_only=True, eq=False)
class Stencil:
    """A thing at the picture's own scale, cropped to what is seen of it.

    Attributes:
        body: coverage of the whole thing, mode L.
        details: coverage of its parts in another tone, of the same extent; tones that are not used are left out.
        rim: coverage of the thing and one pixel around it, one pixel larger on every side.
        seen: which pixels it covers at least by half.
    """

    body: Image.Image
    details: tuple[tuple[str, Image.Image], ...]
    rim: Image.Image
    seen: Bools

    @property
    def extent(self) -> tuple[int, int]:
        """Width and height in pixels of the picture."""
        return self.body.size


@lru_cache(maxsize=8192)
def stencil(kind: str, side: int, mirrored: bool, state: str | None = None) -> Stencil:
    """Draw a kind.

    Args:
        kind: a kind of `scenes.world.WORLD`.
        side: its longest side, in supersampled pixels.
        mirrored: whether left and right are exchanged.
        state: one of the kind's states, or None when it has none.
    """
    layers = _tight_layers(kind, side, state)
    if mirrored:
        layers = [layer.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for layer in layers]
    whole = layers[0].getbbox()
    assert whole is not None
    body, *details = (layer.crop(_whole_pixels(whole)).reduce(SUPERSAMPLING) for layer in layers)
    framed = Image.new("L", (body.width + 2, body.height + 2))
    framed.paste(body, (1, 1))
    return Stencil(
        body=body,
        details=tuple((tone, layer) for tone, layer in zip(DETAILS, details, strict=True) if layer.getbbox()),
        rim=framed.filter(ImageFilter.MaxFilter(3)),
        seen=np.asarray(body) >= _HALF_SEEN,
    )


def _tight_layers(kind: str, side: int, state: str | None) -> list[Image.Image]:
    """Draw on a square whose side is chosen so that the longest side of what is seen is `side`."""
    sheet = Sheet(side)
    DRAWINGS[kind](sheet, state)
    tight = sheet.layers[0].getbbox()
    assert tight is not None, f"the drawing of {kind} is empty"
    longest = max(tight[2] - tight[0], tight[3] - tight[1])
    if longest < side:
        sheet = Sheet(side * side // longest)
        DRAWINGS[kind](sheet, state)
        tight = sheet.layers[0].getbbox()
        assert tight is not None
    return [layer.crop(tight) for layer in sheet.layers]


def _whole_pixels(box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """The box enlarged to the right and downwards, so that it becomes whole pixels of the picture."""
    x0, y0, x1, y1 = box
    return x0, y0, x1 + (x0 - x1) % SUPERSAMPLING, y1 + (y0 - y1) % SUPERSAMPLING


def paint(
    picture: Image.Image, shape: Stencil, *, left: int, top: int, rgb: Rgb, pattern: str, rim: Rgb | None = None
) -> None:
    """Paint a stencil onto an RGB picture, in place, with its top left corner at (left, top).

    Args:
        picture: painted on.
        shape: what is painted.
        left: first column of the picture that it covers.
        top: first row.
        rgb: its colour.
        pattern: a pattern of `scenes.world.WORLD`.
        rim: the colour of the line around it that sets it off from what it hides, or None for no line.
    """
    if rim is not None:
        picture.paste(rim, (left - 1, top - 1), shape.rim)
    picture.paste(rgb, (left, top), shape.body)
    if pattern != "plain":
        marks = ImageChops.multiply(_tile(pattern, *shape.extent), shape.body)
        picture.paste(_light_of(rgb), (left, top), marks)
    for tone, layer in shape.details:
        picture.paste(_tone_of(tone, rgb), (left, top), layer)


@lru_cache(maxsize=1024)
def _tile(pattern: str, width: int, height: int) -> Image.Image:
    """The marks of a pattern for a thing of this extent, mode L: 255 where they are."""
    fine = Image.new("L", (width * SUPERSAMPLING, height * SUPERSAMPLING))
    pen = ImageDraw.Draw(fine)
    longest = max(fine.size)
    if pattern == "striped":
        step = longest // 4
        for at in range(-longest, 2 * longest, step):
            pen.polygon([(at, 0), (at + step * 9 // 20, 0), (at + step * 9 // 20 - longest, longest),
                         (at - longest, longest)], fill=255)  # fmt: skip
    elif pattern == "dotted":
        step, radius = longest * 10 // 36, longest * 10 // 128
        for row, y in enumerate(range(step // 2, fine.height + step, step)):
            for x in range(step // 2 - (row % 2) * step // 2, fine.width + step, step):
                pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    elif pattern == "checked":
        step = longest // 4
        for row, y in enumerate(range(0, fine.height, step)):
            for x in range((row % 2) * step, fine.width, 2 * step):
                pen.rectangle((x, y, x + step - 1, y + step - 1), fill=255)
    else:
        assert pattern == "banded", pattern
        middle, half = fine.height // 2, fine.height * 14 // 100
        pen.rectangle((0, middle - half, fine.width, middle + half), fill=255)
    return fine.reduce(SUPERSAMPLING)


def _tone_of(tone: str, rgb: Rgb) -> Rgb:
    """The colour of a detail on a thing of a colour."""
    if tone == "glow":
        return _GLOW
    return _shade_of(rgb) if tone == "shade" else _light_of(rgb)


def _shade_of(rgb: Rgb) -> Rgb:
    """A tone of the same colour that is told from it: darker, or lighter where it is nearly black."""
    red, green, blue = rgb
    if max(rgb) < 60:
        return red + 75, green + 75, blue + 75
    return red * 16 // 25, green * 16 // 25, blue * 16 // 25


def _light_of(rgb: Rgb) -> Rgb:
    """Nearly white, with a little of the colour."""
    red, green, blue = rgb
    return 250 - (250 - red) // 8, 250 - (250 - green) // 8, 250 - (250 - blue) // 8
