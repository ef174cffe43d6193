"""Where things go: apart from each other, inside the picture, and as the caption will say."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from scenes.geometry import relation_of, separation

PixelBox = tuple[int, int, int, int]
Extent = tuple[int, int]

_CLEARLY = 1.5
"""How dominant an axis is where a relation will be said: more than is asked for it to be true."""

_RESTARTS = 12
_TRIES = 24


@dataclass(frozen=True, kw_only=True, slots=True)
class Demand:
    """A relation that the layout must make true, between things by number."""

    subject: int
    object: int
    relation: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """The picture as a place to put things.

    Attributes:
        size_px: its side.
        demands: what must be true of the things in it.
    """

    size_px: int
    demands: tuple[Demand, ...]

    @property
    def gap(self) -> int:
        """The free pixels between two things, and between a thing and the border."""
        return max(1, self.size_px // 48)

    def accepts(self, boxes: Sequence[PixelBox | None]) -> bool:
        """Whether the things that have a place are inside, apart, and as demanded."""
        placed = [box for box in boxes if box is not None]
        limit = self.size_px - self.gap
        if any(x0 < self.gap or y0 < self.gap or x1 > limit or y1 > limit for x0, y0, x1, y1 in placed):
            return False
        if any(separation(a, b) < self.gap for i, a in enumerate(placed) for b in placed[:i]):
            return False
        for demand in self.demands:
            a, b = boxes[demand.subject], boxes[demand.object]
            if a is not None and b is not None and relation_of(a, b, dominance=_CLEARLY) != demand.relation:
                return False
        return True

    def somewhere(self, extent: Extent, rng: np.random.Generator) -> PixelBox:
        """A place for a thing, any alike."""
        left = int(rng.integers(self.gap, self.size_px - self.gap - extent[0] + 1))
        top = int(rng.integers(self.gap, self.size_px - self.gap - extent[1] + 1))
        return left, top, left + extent[0], top + extent[1]


def place(extents: Sequence[Extent], field: Field, rng: np.random.Generator) -> list[PixelBox]:
    """Place every thing.

    Places are drawn until they fit; a scene too full for that is put on a grid of two by two, where any four
    things and any two demands that are on different axes and share a thing fit.
    """
    for _ in range(_RESTARTS):
        boxes: list[PixelBox | None] = [None] * len(extents)
        if _fill(boxes, extents, field, rng):
            return [box for box in boxes if box is not None]
    return _on_grid(extents, field, rng)


def move(
    boxes: Sequence[PixelBox], moved: Sequence[int], extents: Sequence[Extent], field: Field, rng: np.random.Generator
) -> list[PixelBox] | None:
    """Give some things another place, or None when none is found.

    Args:
        boxes: where the things are.
        moved: those that may move, by number; none to ask whether all can stay.
        extents: what every thing measures now.
        field: what must be true afterwards.
        rng: advanced by what is drawn from it.
    """
    if not moved:
        return list(boxes) if field.accepts(boxes) else None
    for _ in range(_RESTARTS):
        trial: list[PixelBox | None] = [None if i in moved else box for i, box in enumerate(boxes)]
        if _fill(trial, extents, field, rng):
            return [box for box in trial if box is not None]
    return None


def centred(box: PixelBox, extent: Extent) -> PixelBox:
    """A box of another extent with the same middle."""
    left = (box[0] + box[2] - extent[0]) // 2
    top = (box[1] + box[3] - extent[1]) // 2
    return left, top, left + extent[0], top + extent[1]


def _fill(boxes: list[PixelBox | None], extents: Sequence[Extent], field: Field, rng: np.random.Generator) -> bool:
    """Place what has no place yet, one after the other; False when one finds none."""
    for i, extent in enumerate(extents):
        if boxes[i] is not None:
            continue
        for _ in range(_TRIES):
            boxes[i] = field.somewhere(extent, rng)
            if field.accepts(boxes):
                break
        else:
            return False
    return True


def _on_grid(extents: Sequence[Extent], field: Field, rng: np.random.Generator) -> list[PixelBox]:
    """Put each thing in the middle of a quarter of the picture, in an order that meets the demands."""
    half = field.size_px // 2
    orders = list(permutations(range(4), len(extents)))
    fitting: list[list[PixelBox]] = []
    for order in orders:
        cells = [(half * (cell % 2), half * (cell // 2)) for cell in order]
        boxes = [centred((x, y, x + half, y + half), extent) for (x, y), extent in zip(cells, extents, strict=True)]
        if field.accepts(boxes):
            fitting.append(boxes)
    assert fitting, "the world's largest things must fit into quarters of the picture"
    return fitting[rng.integers(len(fitting))]
