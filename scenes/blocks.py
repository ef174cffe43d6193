"""Blocks: like things in a group, and things that a close relation holds together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scenes.drawings import INTERIORS
from scenes.layout import Block, Demand, Extent, PixelBox
from scenes.stencil import Bools, Stencil

_LEAST_HIDDEN = 0.14
"""How much of the smaller of two things lies under or over the other where one is in front."""

_ROWS = {
    2: ((2,), (1, 1)),
    3: ((3,), (1, 2), (2, 1), (1, 1, 1)),
    4: ((2, 2),),
    5: ((3, 2), (2, 3)),
}
"""How many like things stand in each row, by their number: one of these."""

DIRECTIONS = ("left", "right", "above", "below")


@dataclass(frozen=True, kw_only=True, slots=True)
class Body:
    """A thing as a shape to be placed: one stencil, or several like ones.

    Attributes:
        kind: what it is.
        shape: the stencil of each piece.
        places: the top left corner of each piece, seen from that of the whole.
        extent: width and height of the whole.
        turn: a number that decides where several arrangements are as good.
    """

    kind: str
    shape: Stencil
    places: tuple[tuple[int, int], ...]
    extent: Extent
    turn: int


def body(kind: str, shape: Stencil, *, count: int, turn: int, size_px: int) -> Body:
    """Arrange like things in rows."""
    width, height = shape.extent
    if count == 1:
        return Body(kind=kind, shape=shape, places=((0, 0),), extent=shape.extent, turn=turn)
    rows = _ROWS[count][turn % len(_ROWS[count])]
    gap = max(2, size_px // 40)
    longest = max(rows)
    places = tuple(
        (column * (width + gap) + (longest - row) * (width + gap) // 2, line * (height + gap))
        for line, row in enumerate(rows)
        for column in range(row)
    )
    extent = longest * (width + gap) - gap, len(rows) * (height + gap) - gap
    return Body(kind=kind, shape=shape, places=places, extent=extent, turn=turn)


def arrange(
    bodies: Sequence[Body], edges: Sequence[tuple[int, ...]], relations: Sequence[str], size_px: int
) -> tuple[tuple[Block, ...], tuple[Demand, ...]]:
    """Make blocks of what close relations hold together, and demands of the other relations.

    Every thing is in one block; a block of several comes first.
    """
    blocks: list[Block] = []
    demands: list[Demand] = []
    for edge, relation in zip(edges, relations, strict=True):
        if relation in DIRECTIONS or relation == "far":
            demands.append(Demand(subject=edge[0], object=edge[1], relation=relation))
        elif relation != "outside":
            corners = _corners([bodies[i] for i in edge], relation, size_px)
            blocks.append(_block(edge, corners, [bodies[i].extent for i in edge]))
    held = {thing for block in blocks for thing in block.things}
    singles = [_block((i,), [(0, 0)], [one.extent]) for i, one in enumerate(bodies) if i not in held]
    return (*blocks, *singles), tuple(demands)


def _block(things: tuple[int, ...], corners: Sequence[tuple[int, int]], extents: Sequence[Extent]) -> Block:
    left, top = (min(corner[axis] for corner in corners) for axis in (0, 1))
    boxes: tuple[PixelBox, ...] = tuple(
        (x - left, y - top, x - left + width, y - top + height)
        for (x, y), (width, height) in zip(corners, extents, strict=True)
    )
    return Block(things=things, boxes=boxes, extent=(max(box[2] for box in boxes), max(box[3] for box in boxes)))


def _corners(bodies: Sequence[Body], relation: str, size_px: int) -> list[tuple[int, int]]:
    """Where the things of a close relation are, subject first, by their top left corners."""
    if relation == "inside":
        return _inside(*bodies)
    if relation == "on":
        return _stacked(bodies[0], bodies[1])
    if relation == "under":
        return _stacked(bodies[1], bodies[0])[::-1]
    if relation == "touching":
        return _touching(*bodies)
    if relation in ("front", "behind"):
        return _overlapping(*bodies)
    return _in_line(bodies, relation, size_px)


def _inside(inner: Body, outer: Body) -> list[tuple[int, int]]:
    x0, y0, x1, y1 = INTERIORS[outer.kind]
    width, height = outer.extent
    middle_x, middle_y = width * (x0 + x1) // 2000, height * (y0 + y1) // 2000
    return [(middle_x - inner.extent[0] // 2, middle_y - inner.extent[1] // 2), (0, 0)]


def _stacked(upper: Body, lower: Body) -> list[tuple[int, int]]:
    """The upper thing lowered onto the lower one until they touch."""
    shift = (lower.extent[0] - upper.extent[0]) // 2
    top = _slide(upper.shape.seen.T, lower.shape.seen.T, shift)
    return [(shift, 0), (0, top)]


def _touching(one: Body, other: Body) -> list[tuple[int, int]]:
    """Two things side by side, moved together until they touch."""
    left, right = (one, other) if one.turn % 2 == 0 else (other, one)
    shift = (right.extent[1] - left.extent[1]) // 2
    corners = [(0, shift), (_slide(left.shape.seen, right.shape.seen, shift), 0)]
    return corners if one.turn % 2 == 0 else corners[::-1]


def _slide(first: Bools, second: Bools, shift: int) -> int:
    """How far right of the first shape the second begins when they touch; row r of the first is row r + shift of it.

    They share a column of pixels, so that the contact is seen.
    """
    rows = [row for row in range(len(first)) if 0 <= row + shift < len(second)]
    ends = [
        int(first[row].nonzero()[0][-1]) - int(second[row + shift].nonzero()[0][0])
        for row in rows
        if first[row].any() and second[row + shift].any()
    ]
    return max(ends, default=first.shape[1] - 1)


def _overlapping(one: Body, other: Body) -> list[tuple[int, int]]:
    """Two things of which each hides a clear part of the other, if it is in front."""
    turn = one.turn
    (wide, tall), (wide_other, tall_other) = one.extent, other.extent
    least = _LEAST_HIDDEN * min(one.shape.seen.sum(), other.shape.seen.sum())
    corner = (0, 0)
    for tenths in (6, 5, 4, 3, 2):
        across = (wide + wide_other) * tenths // 20 * (1 if turn % 2 else -1)
        down = (tall + tall_other) * tenths // 60 * (turn // 2 % 3 - 1)
        corner = ((wide_other - wide) // 2 + across, (tall_other - tall) // 2 + down)
        if num_shared(one.shape.seen, other.shape.seen, corner) >= least:
            break
    return [corner, (0, 0)]


def num_shared(one: Bools, other: Bools, corner: tuple[int, int]) -> int:
    """How many pixels two shapes share when the first begins at (x, y) = `corner`, seen from the second."""
    x, y = corner
    x0, y0 = max(0, x), max(0, y)
    x1, y1 = min(x + one.shape[1], other.shape[1]), min(y + one.shape[0], other.shape[0])
    if x1 <= x0 or y1 <= y0:
        return 0
    return int(np.count_nonzero(one[y0 - y : y1 - y, x0 - x : x1 - x] & other[y0:y1, x0:x1]))


def _in_line(bodies: Sequence[Body], relation: str, size_px: int) -> list[tuple[int, int]]:
    """Three things in a row or a column, the first where the relation puts it."""
    turn = bodies[0].turn
    others = [1, 2] if turn % 2 else [2, 1]
    if relation == "between":
        order = [others[0], 0, others[1]]
        axis = turn // 2 % 2
    else:
        order = [0, *others] if relation in ("left-of-both", "above-both") else [*others, 0]
        axis = 0 if relation in ("left-of-both", "right-of-both") else 1
    gap = size_px // 20
    deepest = max(one.extent[1 - axis] for one in bodies)
    corners = [(0, 0)] * 3
    start = 0
    for number in order:
        extent = bodies[number].extent
        side = (deepest - extent[1 - axis]) // 2
        corners[number] = (start, side) if axis == 0 else (side, start)
        start += extent[axis] + gap
    return corners
