"""How every kind of thing looks.

A kind is drawn once per size as a stencil: integer coordinates on a square of 1000 units, four times as
large as it will be seen, then averaged down. Stencils are cached, so a scene costs a few pastes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from PIL import Image, ImageDraw

from scenes.world import Rgb

SUPERSAMPLING = 4
"""How many times finer than the picture a stencil is drawn, along each axis."""

_UNITS = 1000

_Point = tuple[int, int]


class _Sheet:
    """A square on which one kind is drawn, in units of a thousandth of its side.

    `body` is everything that is seen, `shade` the parts of it in a darker tone. Later strokes cover earlier ones.
    """

    def __init__(self, side: int) -> None:
        self.side = side
        self.body = Image.new("L", (side, side))
        self.shade = Image.new("L", (side, side))
        self._pens = (ImageDraw.Draw(self.body), ImageDraw.Draw(self.shade))

    def _at(self, point: _Point) -> _Point:
        x, y = point
        return x * (self.side - 1) // _UNITS, y * (self.side - 1) // _UNITS

    def polygon(self, *corners: _Point, tone: str = "body") -> None:
        points = [self._at(corner) for corner in corners]
        for pen, fill in zip(self._pens, _TONES[tone], strict=True):
            pen.polygon(points, fill=fill)

    def ellipse(self, x0: int, y0: int, x1: int, y1: int, tone: str = "body") -> None:
        box = (*self._at((x0, y0)), *self._at((x1, y1)))
        for pen, fill in zip(self._pens, _TONES[tone], strict=True):
            pen.ellipse(box, fill=fill)

    def rectangle(self, x0: int, y0: int, x1: int, y1: int, tone: str = "body") -> None:
        box = (*self._at((x0, y0)), *self._at((x1, y1)))
        for pen, fill in zip(self._pens, _TONES[tone], strict=True):
            pen.rectangle(box, fill=fill)


_TONES = {"body": (255, 0), "shade": (255, 255), "cut": (0, 0)}


def _circle(sheet: _Sheet) -> None:
    sheet.ellipse(0, 0, 1000, 1000)


def _square(sheet: _Sheet) -> None:
    sheet.rectangle(0, 0, 1000, 1000)


def _triangle(sheet: _Sheet) -> None:
    sheet.polygon((500, 60), (1000, 926), (0, 926))


def _star(sheet: _Sheet) -> None:
    sheet.polygon(
        *((500, 0), (636, 339), (1000, 363), (720, 598), (809, 952)),
        *((500, 757), (191, 952), (280, 598), (0, 363), (364, 339)),
    )


def _heart(sheet: _Sheet) -> None:
    sheet.ellipse(0, 40, 540, 580)
    sheet.ellipse(460, 40, 1000, 580)
    sheet.polygon((500, 230), (956, 450), (500, 960), (44, 450))


def _cross(sheet: _Sheet) -> None:
    sheet.rectangle(340, 0, 660, 1000)
    sheet.rectangle(0, 340, 1000, 660)


def _moon(sheet: _Sheet) -> None:
    sheet.ellipse(0, 0, 1000, 1000)
    sheet.ellipse(330, 40, 1250, 960, tone="cut")


def _ring(sheet: _Sheet) -> None:
    sheet.ellipse(0, 0, 1000, 1000)
    sheet.ellipse(250, 250, 750, 750, tone="cut")


def _arrow(sheet: _Sheet) -> None:
    sheet.polygon(
        *((0, 375), (520, 375), (520, 90), (1000, 500)),
        *((520, 910), (520, 625), (0, 625)),
    )


def _house(sheet: _Sheet) -> None:
    sheet.rectangle(720, 90, 840, 400, tone="shade")
    sheet.rectangle(110, 440, 890, 1000)
    sheet.polygon((500, 0), (1000, 470), (0, 470), tone="shade")
    sheet.rectangle(560, 620, 760, 1000, tone="shade")
    sheet.rectangle(220, 600, 440, 800, tone="cut")


def _tree(sheet: _Sheet) -> None:
    sheet.rectangle(420, 560, 580, 1000, tone="shade")
    sheet.ellipse(40, 250, 540, 720)
    sheet.ellipse(460, 250, 960, 720)
    sheet.ellipse(190, 0, 810, 580)


def _car(sheet: _Sheet) -> None:
    sheet.polygon((180, 470), (310, 230), (680, 230), (830, 470))
    sheet.rectangle(0, 450, 1000, 680)
    sheet.polygon((285, 450), (360, 300), (475, 300), (475, 450), tone="cut")
    sheet.polygon((535, 450), (535, 300), (650, 300), (740, 450), tone="cut")
    sheet.ellipse(120, 540, 360, 780, tone="shade")
    sheet.ellipse(640, 540, 880, 780, tone="shade")


def _boat(sheet: _Sheet) -> None:
    sheet.rectangle(480, 40, 530, 700, tone="shade")
    sheet.polygon((440, 90), (440, 620), (90, 620))
    sheet.polygon((570, 180), (570, 620), (880, 620))
    sheet.polygon((0, 680), (1000, 680), (820, 930), (180, 930), tone="shade")


def _fish(sheet: _Sheet) -> None:
    sheet.polygon((600, 500), (1000, 190), (930, 500), (1000, 810), tone="shade")
    sheet.polygon((250, 330), (420, 110), (620, 330), tone="shade")
    sheet.ellipse(0, 230, 780, 770)
    sheet.ellipse(140, 380, 250, 490, tone="cut")


def _cup(sheet: _Sheet) -> None:
    sheet.ellipse(560, 230, 1000, 690)
    sheet.ellipse(670, 340, 890, 580, tone="cut")
    sheet.polygon((0, 130), (740, 130), (650, 920), (90, 920))
    sheet.ellipse(0, 60, 740, 220, tone="shade")


def _flower(sheet: _Sheet) -> None:
    sheet.rectangle(465, 500, 535, 1000, tone="shade")
    sheet.ellipse(530, 760, 830, 900, tone="shade")
    for x, y in ((500, 160), (655, 250), (655, 430), (500, 520), (345, 430), (345, 250)):
        sheet.ellipse(x - 160, y - 160, x + 160, y + 160)
    sheet.ellipse(380, 220, 620, 460, tone="shade")


DRAWINGS: Mapping[str, Callable[[_Sheet], None]] = MappingProxyType(
    {
        "circle": _circle,
        "square": _square,
        "triangle": _triangle,
        "star": _star,
        "heart": _heart,
        "cross": _cross,
        "moon": _moon,
        "ring": _ring,
        "arrow": _arrow,
        "house": _house,
        "tree": _tree,
        "car": _car,
        "boat": _boat,
        "fish": _fish,
        "cup": _cup,
        "flower": _flower,
    }
)
"""How to draw every kind of `scenes.world.WORLD`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stencil:
    """A thing at the picture's own scale, cropped to what is seen of it.

    Attributes:
        body: coverage of the whole thing, mode L.
        shade: coverage of its darker parts, of the same extent.
    """

    body: Image.Image
    shade: Image.Image

    @property
    def extent(self) -> tuple[int, int]:
        """Width and height in pixels of the picture."""
        return self.body.size


@lru_cache(maxsize=2048)
def stencil(kind: str, side: int, mirrored: bool) -> Stencil:
    """Draw a kind.

    Args:
        kind: a kind of `scenes.world.WORLD`.
        side: its longest side, in supersampled pixels.
        mirrored: whether left and right are exchanged.
    """
    sheet = _Sheet(side)
    DRAWINGS[kind](sheet)
    layers = [sheet.body, sheet.shade]
    if mirrored:
        layers = [layer.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for layer in layers]
    tight = layers[0].getbbox()
    assert tight is not None, f"the drawing of {kind} is empty"
    body, shade = (layer.crop(_whole_pixels(tight)).reduce(SUPERSAMPLING) for layer in layers)
    return Stencil(body=body, shade=shade)


def _whole_pixels(box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """The box enlarged to the right and downwards, so that it becomes whole pixels of the picture."""
    x0, y0, x1, y1 = box
    return x0, y0, x1 + (x0 - x1) % SUPERSAMPLING, y1 + (y0 - y1) % SUPERSAMPLING


def paste(picture: Image.Image, shape: Stencil, *, left: int, top: int, rgb: Rgb) -> None:
    """Paint a stencil onto an RGB picture, in place, with its top left corner at (left, top)."""
    picture.paste(rgb, (left, top), shape.body)
    picture.paste(_shade_of(rgb), (left, top), shape.shade)


def _shade_of(rgb: Rgb) -> Rgb:
    """A tone of the same colour that is told from it: darker, or lighter where it is nearly black."""
    red, green, blue = rgb
    if max(rgb) < 60:
        return red + 75, green + 75, blue + 75
    return red * 16 // 25, green * 16 // 25, blue * 16 // 25
