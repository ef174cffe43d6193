"""Where things go: inside the picture, apart from each other, and as the caption will say.

What a close relation holds together is one block and moves as one; see `blocks.py`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from scenes.geometry import FAR, direction_of, separation

PixelBox = tuple[int, int, int, int]
Extent = tuple[int, int]

_CLEARLY = 1.5
"""How dominant an axis is where a direction will be said: more than is asked for it to be true."""

_RESTARTS = 6
_TRIES = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """Things that keep their places relative to each other.

    Attributes:
        things: their numbers in the scene.
        boxes: their boxes, seen from the block's top left corner.
        extent: width and height of the block.
    """

    things: tuple[int, ...]
    boxes: tuple[PixelBox, ...]
    extent: Extent


@dataclass(frozen=True, kw_only=True, slots=True)
class Demand:
    """A relation that the layout must make true between things of different blocks, by number: a direction or "far"."""

    subject: int
    object: int
    relation: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """The picture as a place to put blocks.

    Attributes:
        size_px: its side.
        blocks: what is put there.
        demands: what must be true of the things.
    """

    size_px: int
    blocks: tuple[Block, ...]
    demands: tuple[Demand, ...]

    @property
    def gap(self) -> int:
        """The free pixels between two blocks, and between a block and the border."""
        return max(1, self.size_px // 48)

    def accepts(self, boxes: Sequence[PixelBox | None]) -> bool:
        """Whether the blocks that have a place are inside, apart, and as demanded."""
        placed = [box for box in boxes if box is not None]
        gap, limit = self.gap, self.size_px - self.gap
        if any(x0 < gap or y0 < gap or x1 > limit or y1 > limit for x0, y0, x1, y1 in placed):
            return False
        if any(separation(a, b) < gap for i, a in enumerate(placed) for b in placed[:i]):
            return False
        if not self.demands:
            return True
        where = self.things(boxes)
        return all(
            demand.subject not in where
            or demand.object not in where
            or self._is_met(where[demand.subject], where[demand.object], demand.relation)
            for demand in self.demands
        )

    def things(self, boxes: Sequence[PixelBox | None]) -> dict[int, PixelBox]:
        """The boxes of the things whose blocks have a place, by number."""
        return {
            thing: (place[0] + x0, place[1] + y0, place[0] + x1, place[1] + y1)
            for block, place in zip(self.blocks, boxes, strict=True)
            if place is not None
            for thing, (x0, y0, x1, y1) in zip(block.things, block.boxes, strict=True)
        }

    def somewhere(self, extent: Extent, rng: np.random.Generator) -> PixelBox | None:
        """A place for a block, any alike, or None when it is too large for the picture."""
        room_x, room_y = (self.size_px - 2 * self.gap - side + 1 for side in extent)
        if room_x < 1 or room_y < 1:
            return None
        left, top = self.gap + int(rng.random() * room_x), self.gap + int(rng.random() * room_y)
        return left, top, left + extent[0], top + extent[1]

    def _is_met(self, a: PixelBox, b: PixelBox, relation: str) -> bool:
        if relation == "far":
            return separation(a, b) > FAR * self.size_px + 1
        return direction_of(a, b, dominance=_CLEARLY) == relation


def place(field: Field, rng: np.random.Generator) -> list[PixelBox] | None:
    """Place every block: at random until they fit, else on shelves; None when they do not fit there either."""
    for _ in range(_RESTARTS):
        boxes: list[PixelBox | None] = [None] * len(field.blocks)
        if _fill(boxes, field, rng):
            return [box for box in boxes if box is not None]
    if len(field.blocks) > 4:
        return None
    fitting = [boxes for boxes in _on_shelves(field) if field.accepts(boxes)]
    return fitting[rng.integers(len(fitting))] if fitting else None


def move(
    boxes: Sequence[PixelBox], moved: Sequence[int], field: Field, rng: np.random.Generator
) -> list[PixelBox] | None:
    """Give some blocks another place, or None when none is found.

    Args:
        boxes: where the blocks are.
        moved: those that may move, by number; none to ask whether all can stay.
        field: what must be true afterwards.
        rng: advanced by what is drawn from it.
    """
    if not moved:
        return list(boxes) if field.accepts(boxes) else None
    for _ in range(_RESTARTS):
        trial: list[PixelBox | None] = [None if i in moved else box for i, box in enumerate(boxes)]
        if _fill(trial, field, rng):
            return [box for box in trial if box is not None]
    return None


def centred(box: PixelBox, extent: Extent) -> PixelBox:
    """A box of another extent with the same middle."""
    left = (box[0] + box[2] - extent[0]) // 2
    top = (box[1] + box[3] - extent[1]) // 2
    return left, top, left + extent[0], top + extent[1]


def _fill(boxes: list[PixelBox | None], field: Field, rng: np.random.Generator) -> bool:
    """Place what has no place yet, one after the other; False when one finds none."""
    for i, block in enumerate(field.blocks):
        if boxes[i] is not None:
            continue
        for _ in range(_TRIES):
            boxes[i] = field.somewhere(block.extent, rng)
            if boxes[i] is not None and field.accepts(boxes):
                break
        else:
            return False
    return True


def _on_shelves(field: Field) -> Iterator[list[PixelBox]]:
    """Every way to put the blocks in one, two or three rows or columns that reach from border to border."""
    blocks = field.blocks
    for order in permutations(range(len(blocks))):
        for cuts in range(1 << (len(blocks) - 1)):
            rows: list[list[int]] = [[]]
            for at, block in enumerate(order):
                rows[-1].append(block)
                if cuts >> at & 1 and at < len(order) - 1:
                    rows.append([])
            for along in (0, 1):
                for lean in (0, 1, 2):
                    yield _spread(field, rows, along, lean)


def _spread(field: Field, rows: list[list[int]], along: int, lean: int) -> list[PixelBox]:
    """Spread rows over the picture, and the blocks over each row; what is alone leans to the start, middle or end."""
    extents = [block.extent for block in field.blocks]
    boxes: list[PixelBox] = [(0, 0, 0, 0)] * len(extents)
    depths = [max(extents[i][1 - along] for i in row) for row in rows]
    for row, depth, across in zip(rows, depths, _starts(field, depths, 1), strict=True):
        lengths = [extents[i][along] for i in row]
        for i, start in zip(row, _starts(field, lengths, lean), strict=True):
            place = [0, 0]
            place[along], place[1 - along] = start, across + (depth - extents[i][1 - along]) // 2
            boxes[i] = (place[0], place[1], place[0] + extents[i][0], place[1] + extents[i][1])
    return boxes


def _starts(field: Field, lengths: list[int], lean: int) -> list[int]:
    """Where pieces of these lengths begin when they reach from border to border."""
    free = field.size_px - 2 * field.gap - sum(lengths)
    if len(lengths) == 1:
        return [field.gap + free * lean // 2]
    return [
        field.gap + sum(lengths[:at]) + free * at // (len(lengths) - 1) if free > 0 else field.gap
        for at in range(len(lengths))
    ]
