"""Whether a caption is true of a picture, by looking at what is in it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from scenes.blocks import num_shared
from scenes.draft import Draft, Look, Mention
from scenes.geometry import FAR, among, direction_of, is_within, separation
from scenes.layout import PixelBox
from scenes.stencil import Bools

if TYPE_CHECKING:
    from scenes.scene import Thing

LEAST_HIDDEN = 0.1
"""Things overlap when they share so much of the smaller one."""


def is_true(draft: Draft, things: "Sequence[Thing]", *, size_px: int) -> bool:
    """Whether the caption of a draft is true of these things.

    Args:
        draft: what is said; that it was drafted for the same picture is not assumed.
        things: what is in the picture, no two of the same kind and colour.
        size_px: side of the picture.
    """
    by_combination = {thing.look.combination: thing for thing in things}
    meant: list[Thing] = []
    for look, mention in zip(draft.looks, draft.plan.mentions, strict=False):
        thing = by_combination.get(look.combination)
        if thing is None or not _fits(look, mention, thing.look):
            return False
        meant.append(thing)
    return all(
        holds(relation, [meant[i] for i in edge], size_px=size_px)
        for edge, relation in zip(draft.plan.shape.edges, draft.relations, strict=True)
    )


def holds(relation: str, things: "Sequence[Thing]", *, size_px: int) -> bool:
    """Whether a relation is true of things, subject first.

    Directions are those of `geometry.direction_of`. "On" and "under": the upper one touches the other's top, not beyond
    its sides. "Inside": its box lies in the other's and it is nearer. "Outside": the boxes are apart. "Touching": they
    have neighbouring pixels. "Far": at least `geometry.FAR` of the picture lies between the boxes. "Front" and
    "behind": a tenth of the smaller one lies over or under the other.
    """
    a, b = things[0], things[1]
    if len(things) == 3:
        return among(a.box_px, b.box_px, things[2].box_px) == relation
    if relation in ("on", "under"):
        upper, lower = (a, b) if relation == "on" else (b, a)
        return _rests(upper.box_px, lower.box_px) and _touch(upper, lower)
    if relation == "inside":
        return is_within(a.box_px, b.box_px) and a.depth > b.depth
    if relation == "outside":
        return separation(a.box_px, b.box_px) >= 0
    if relation == "touching":
        return _touch(a, b)
    if relation == "far":
        return separation(a.box_px, b.box_px) >= FAR * size_px
    if relation in ("front", "behind"):
        return _overlap(a, b) and (a.depth > b.depth) == (relation == "front")
    return direction_of(a.box_px, b.box_px) == relation


def _fits(said: Look, mention: Mention, seen: Look) -> bool:
    """Whether what is said of a thing is true, its kind and colour apart.

    One thing said without a number is not several.
    """
    return (
        said.count == seen.count
        and (not mention.says_size or said.size == seen.size)
        and (not mention.says_pattern or said.pattern == seen.pattern)
        and (mention.state_family is None or said.state == seen.state)
    )


def _rests(upper: PixelBox, lower: PixelBox) -> bool:
    """Whether one box ends about where the other begins, with its middle over it."""
    middle = (upper[0] + upper[2]) / 2
    return lower[0] <= middle <= lower[2] and upper[3] <= lower[1] + (lower[3] - lower[1]) / 4 + 2


def _touch(a: "Thing", b: "Thing") -> bool:
    if separation(a.box_px, b.box_px) > 0:
        return False
    grown = _grown(a.shape.seen)
    return any(
        num_shared(grown, b.shape.seen, (x - 1 - u, y - 1 - v)) > 0
        for x, y, _, _ in a.boxes_px
        for u, v, _, _ in b.boxes_px
    )


def _overlap(a: "Thing", b: "Thing") -> bool:
    smaller = min(np.count_nonzero(a.shape.seen), np.count_nonzero(b.shape.seen))
    (x, y, _, _), (u, v, _, _) = a.boxes_px[0], b.boxes_px[0]
    return num_shared(a.shape.seen, b.shape.seen, (x - u, y - v)) >= LEAST_HIDDEN * int(smaller)


def _grown(seen: Bools) -> Bools:
    """A shape and its neighbouring pixels, one larger on every side."""
    framed = np.pad(seen, 1)
    grown = framed.copy()
    for axis in (0, 1):
        grown |= np.roll(framed, 1, axis) | np.roll(framed, -1, axis)
    return grown
