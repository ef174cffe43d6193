"""The square on which a kind is drawn."""

from PIL import Image, ImageDraw

SUPERSAMPLING = 4
"""How many times finer than the picture a stencil is drawn, along each axis."""

DETAILS = ("shade", "light", "glow")
"""Tones of a thing's parts: darker than its colour, nearly white, and the warm yellow of a lamp."""

Point = tuple[int, int]

_UNITS = 1000
_TONES = {
    "body": (255, 0, 0, 0),
    "shade": (255, 255, 0, 0),
    "light": (255, 0, 255, 0),
    "glow": (255, 0, 0, 255),
    "cut": (0, 0, 0, 0),
}


class Sheet:
    """A square on which one kind is drawn, in units of a thousandth of its side.

    The first of `layers` is everything that is seen, the others are the parts of it in each of `DETAILS`. Later strokes
    cover earlier ones; the tone "cut" takes away.
    """

    def __init__(self, side: int) -> None:
        self._side = side
        self.layers = [Image.new("L", (side, side)) for _ in range(1 + len(DETAILS))]
        self._pens = [ImageDraw.Draw(layer) for layer in self.layers]

    def polygon(self, *corners: Point, tone: str = "body") -> None:
        """Fill a polygon."""
        points = [self._at(corner) for corner in corners]
        for pen, fill in zip(self._pens, _TONES[tone], strict=True):
            pen.polygon(points, fill=fill)

    def ellipse(self, x0: int, y0: int, x1: int, y1: int, tone: str = "body") -> None:
        """Fill the ellipse in a box."""
        for pen, fill in zip(self._pens, _TONES[tone], strict=True):
            pen.ellipse((*self._at((x0, y0)), *self._at((x1, y1))), fill=fill)

    def rectangle(self, x0: int, y0: int, x1: int, y1: int, tone: str = "body") -> None:
        """Fill a box."""
        for pen, fill in zip(self._pens, _TONES[tone], strict=True):
            pen.rectangle((*self._at((x0, y0)), *self._at((x1, y1))), fill=fill)

    def pie(self, x0: int, y0: int, x1: int, y1: int, first: int, last: int, tone: str = "body") -> None:
        """Fill a slice of the ellipse in a box, from `first` to `last` degrees clockwise from the right."""
        for pen, fill in zip(self._pens, _TONES[tone], strict=True):
            pen.pieslice((*self._at((x0, y0)), *self._at((x1, y1))), first, last, fill=fill)

    def line(self, *points: Point, width: int, tone: str = "body") -> None:
        """Draw a line of a width along points, with round corners."""
        places = [self._at(point) for point in points]
        thick = max(1, width * self._side // _UNITS)
        half = width // 2
        for pen, fill in zip(self._pens, _TONES[tone], strict=True):
            pen.line(places, fill=fill, width=thick)
        for x, y in points:
            self.ellipse(x - half, y - half, x + half, y + half, tone)

    def _at(self, point: Point) -> Point:
        x, y = point
        return x * (self._side - 1) // _UNITS, y * (self._side - 1) // _UNITS
