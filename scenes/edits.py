"""Minimal pairs: a caption with one thing made wrong, and the picture redrawn to fit the wrong caption.

A judge who sees only the text must be at chance, so an edited caption has to be exactly as likely as a true one.
Every edit is a move from one draft to another that the generator could as well have drafted: a slot takes another
of its values, all alike, or two things exchange one; everything else stays, the choice of words included. The way
back is as likely as the way there, and drafts are uniform, so edited drafts are uniform too. (An edit that cannot
be made, such as exchanging equal colours, is drawn again; what that adds is of second order.)

An edited caption is false of the old picture, since no two things share kind and colour and every mention says both.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from types import MappingProxyType

import numpy as np

from scenes.caption import Slot, caption_of
from scenes.draft import Draft, Look
from scenes.layout import PixelBox, centred, move
from scenes.scene import Brush, Scene, any_step, draw, field_of, shape_of, side_of
from scenes.world import WORLD

WordRange = tuple[int, int]
"""Words [first, last) of `str.split()`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TextEdit:
    """A caption with one thing made wrong.

    Attributes:
        caption: the edited caption, false of the picture.
        kind: one of `EDIT_KINDS`.
        pos_words: the words of the true caption that were replaced, a range for each place: two for a swap.
        neg_words: the words of the edited caption that stand there now, in the same order. An article that
            follows suit ("a red", "an orange") is not counted.
    """

    caption: str
    kind: str
    pos_words: tuple[WordRange, ...]
    neg_words: tuple[WordRange, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageEdit:
    """A picture with one thing changed.

    Attributes:
        scene: the changed scene; the old caption is false of it.
        kind: one of `EDIT_KINDS`.
        caption: the scene's caption, worded as the old one and false of the old picture.
    """

    scene: Scene
    kind: str
    caption: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A move from one draft to another.

    Attributes:
        draft: the new draft.
        kind: one of `EDIT_KINDS`.
        slots: the slots of the caption that say something else now.
    """

    draft: Draft
    kind: str
    slots: tuple[Slot, ...]


def edit_caption(scene: Scene, rng: np.random.Generator) -> TextEdit:
    """Make one thing in the scene's caption wrong, with every kind of edit that the sentence allows alike.

    Args:
        scene: whose caption.
        rng: advanced by what is drawn from it.
    """
    change = change_of(scene.draft, rng)
    before, after = caption_of(scene.draft), caption_of(change.draft)
    return TextEdit(
        caption=after.text,
        kind=change.kind,
        pos_words=tuple(before.word_range(slot) for slot in change.slots),
        neg_words=tuple(after.word_range(slot) for slot in change.slots),
    )


def edit_image(scene: Scene, rng: np.random.Generator) -> ImageEdit:
    """Change one thing in the picture so that the caption becomes wrong.

    Everything else keeps its place and look. Where a picture is too full for the change (a large thing in place of a
    small one), another change is drawn.

    Args:
        scene: which picture.
        rng: advanced by what is drawn from it.
    """
    while True:
        change = change_of(scene.draft, rng)
        redrawn = _redraw(scene, change, rng)
        if redrawn is not None:
            return ImageEdit(scene=redrawn, kind=change.kind, caption=redrawn.caption)


def change_of(draft: Draft, rng: np.random.Generator) -> Change:
    """Draw a move: a kind among those that the sentence allows, a place, and a new value, all alike."""
    kinds = [kind for kind, is_allowed in _ALLOWED.items() if is_allowed(draft)]
    while True:
        kind = kinds[rng.integers(len(kinds))]
        change = _MOVES[kind](draft, rng)
        if change is not None:
            return change


def _object(draft: Draft, rng: np.random.Generator) -> Change | None:
    number = int(rng.integers(draft.plan.shape.num_mentions))
    look = draft.looks[number]
    others = [replace(look, kind=kind) for kind in WORLD.kinds if kind != look.kind]
    return _one_of(draft, number, others, "object", ("kind", number), rng)


def _colour(draft: Draft, rng: np.random.Generator) -> Change | None:
    number = int(rng.integers(draft.plan.shape.num_mentions))
    look = draft.looks[number]
    others = [replace(look, colour=colour) for colour in WORLD.colours if colour != look.colour]
    return _one_of(draft, number, others, "colour", ("colour", number), rng)


def _size(draft: Draft, rng: np.random.Generator) -> Change | None:
    sized = _sized(draft)
    number = sized[rng.integers(len(sized))]
    look = draft.looks[number]
    others = [replace(look, size=size) for size in WORLD.sizes if size != look.size]
    return _one_of(draft, number, others, "size", ("size", number), rng)


def _relation(draft: Draft, rng: np.random.Generator) -> Change | None:
    edge = int(rng.integers(len(draft.relations)))
    relations = list(draft.relations)
    relations[edge] = WORLD.relations[relations[edge]].opposite
    return Change(draft=replace(draft, relations=tuple(relations)), kind="relation", slots=(("relation", edge),))


def _colour_swap(draft: Draft, rng: np.random.Generator) -> Change | None:
    a, b = _two_of(list(range(draft.plan.shape.num_mentions)), rng)
    first, second = draft.looks[a], draft.looks[b]
    if first.colour == second.colour or first.kind == second.kind:
        return None
    looks = {a: replace(first, colour=second.colour), b: replace(second, colour=first.colour)}
    return _changed(draft, looks, "colour_swap", (("colour", a), ("colour", b)))


def _size_swap(draft: Draft, rng: np.random.Generator) -> Change | None:
    a, b = _two_of(_sized(draft), rng)
    first, second = draft.looks[a], draft.looks[b]
    if first.size == second.size:
        return None
    looks = {a: replace(first, size=second.size), b: replace(second, size=first.size)}
    return _changed(draft, looks, "size_swap", (("size", a), ("size", b)))


_MOVES: Mapping[str, Callable[[Draft, np.random.Generator], Change | None]] = MappingProxyType(
    {
        "object": _object,
        "colour": _colour,
        "size": _size,
        "relation": _relation,
        "colour_swap": _colour_swap,
        "size_swap": _size_swap,
    }
)

EDIT_KINDS = tuple(_MOVES)
"""What can be made wrong."""

# Asked of the plan alone, which no edit changes: else what an edit makes possible would tell that it was made.
_ALLOWED: Mapping[str, Callable[[Draft], bool]] = MappingProxyType(
    {
        "object": lambda draft: True,
        "colour": lambda draft: True,
        "size": lambda draft: len(_sized(draft)) > 0,
        "relation": lambda draft: len(draft.relations) > 0,
        "colour_swap": lambda draft: draft.plan.shape.num_mentions > 1,
        "size_swap": lambda draft: len(_sized(draft)) > 1,
    }
)


def _sized(draft: Draft) -> list[int]:
    """The mentions whose size is said."""
    return [number for number, said in enumerate(draft.plan.says_size) if said]


def _two_of(numbers: list[int], rng: np.random.Generator) -> tuple[int, int]:
    pairs = list(combinations(numbers, 2))
    return pairs[rng.integers(len(pairs))]


def _one_of(
    draft: Draft, number: int, others: list[Look], kind: str, slot: Slot, rng: np.random.Generator
) -> Change | None:
    """Give thing `number` one of the other looks that keep the rules of drafts, all alike."""
    changes = [_changed(draft, {number: look}, kind, (slot,)) for look in others]
    possible = [change for change in changes if change is not None]
    return possible[rng.integers(len(possible))] if possible else None


def _changed(draft: Draft, looks: Mapping[int, Look], kind: str, slots: tuple[Slot, ...]) -> Change | None:
    """Give things another look, unless that breaks a rule of drafts."""
    new = tuple(looks.get(i, look) for i, look in enumerate(draft.looks))
    if len({look.combination for look in new}) < len(new):
        return None
    if any(a.is_held_out != b.is_held_out for a, b in zip(draft.looks, new, strict=True)):
        return None
    return Change(draft=replace(draft, looks=new), kind=kind, slots=slots)


def _redraw(scene: Scene, change: Change, rng: np.random.Generator) -> Scene | None:
    """Draw the changed draft with as little moved as can be, or None when it does not fit."""
    size_px = scene.image.width
    looks = change.draft.looks
    brushes = tuple(
        _new_brush(thing.brush, thing.look, look, size_px, rng)
        for thing, look in zip(scene.objects, looks, strict=True)
    )
    extents = [shape_of(look, brush).extent for look, brush in zip(looks, brushes, strict=True)]
    boxes = [centred(thing.box_px, extent) for thing, extent in zip(scene.objects, extents, strict=True)]
    field = field_of(change.draft, size_px)
    for moved in _movable(scene, change):
        places: list[PixelBox] | None = move(boxes, moved, extents, field, rng)
        if places is not None:
            return draw(change.draft, brushes, places, background=scene.background, size_px=size_px)
    return None


def _new_brush(brush: Brush, old: Look, new: Look, size_px: int, rng: np.random.Generator) -> Brush:
    if new.size == old.size:
        return brush
    return replace(brush, side=side_of(new.size, any_step(rng), size_px))


def _movable(scene: Scene, change: Change) -> list[tuple[int, ...]]:
    """Which things may be moved for a change: none if it fits, else each that changed, else all that did."""
    touched: tuple[int, ...] = tuple(i for i, look in enumerate(change.draft.looks) if look != scene.draft.looks[i])
    if change.kind == "relation":
        touched = scene.draft.plan.shape.edges[change.slots[0][1]]
    return [(), *((i,) for i in touched), touched]
