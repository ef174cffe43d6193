"""Minimal pairs: a caption with one thing made wrong, and the picture redrawn to fit the wrong caption.

A judge who sees only the text must be at chance, so an edited caption has to be exactly as likely as a true one.
Every edit is a move from one draft to another that the generator could as well have drafted: a slot takes another
of its values, all alike, or two things exchange one; everything else stays, the choice of words included. The way
back is as likely as the way there, and drafts are uniform, so edited drafts are uniform too. (An edit that cannot
be made, such as exchanging equal colours, is drawn again; what that adds is of second order.)

An edited caption is false of the old picture, since no two things share kind and colour and every mention says both.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from types import MappingProxyType

import numpy as np

from scenes.caption import Slot, caption_of
from scenes.draft import Draft, Look, Mention, any_state, keeps_rules
from scenes.layout import PixelBox, centred, move, place
from scenes.scene import Scene, draw, field_of
from scenes.world import World

WordRange = tuple[int, int]
"""Words [first, last) of `str.split()`."""

_REDRAWS = 12
"""Changes tried before things that are not concerned may be moved, too."""


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
        pos_words: the words of the old caption that are wrong now, a range for each place.
        neg_words: the words of the new caption that stand there.
    """

    scene: Scene
    kind: str
    caption: str
    pos_words: tuple[WordRange, ...]
    neg_words: tuple[WordRange, ...]


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

    def word_ranges(self, draft: Draft, world: World) -> tuple[WordRange, ...]:
        """Where the slots are in the caption of a draft, the old or the new."""
        caption = caption_of(draft, world)
        return tuple(caption.word_range(slot) for slot in self.slots)


_Move = Callable[[Draft, np.random.Generator, World], Change | None]
_Says = Callable[[Mention], bool]


def edit_caption(scene: Scene, rng: np.random.Generator, *, kinds: Sequence[str] | None = None) -> TextEdit:
    """Make one thing in the scene's caption wrong, with every kind of edit that the sentence allows alike.

    Args:
        scene: whose caption.
        rng: advanced by what is drawn from it.
        kinds: the kinds of edit; those of the scene's split when None, see `edits_of`.
    """
    change = change_of(scene.draft, rng, world=scene.world, kinds=edits_of(scene.split) if kinds is None else kinds)
    return TextEdit(
        caption=caption_of(change.draft, scene.world).text,
        kind=change.kind,
        pos_words=change.word_ranges(scene.draft, scene.world),
        neg_words=change.word_ranges(change.draft, scene.world),
    )


def edit_image(scene: Scene, rng: np.random.Generator, *, kinds: Sequence[str] | None = None) -> ImageEdit:
    """Change one thing in the picture so that the caption becomes wrong.

    Everything else keeps its place and look. Where a picture is too full for the change (a large thing in place of a
    small one), another change is drawn; where none of them fits, the others make room.

    Args:
        scene: which picture.
        rng: advanced by what is drawn from it.
        kinds: the kinds of edit; those of the scene's split when None, see `edits_of`.
    """
    wanted = edits_of(scene.split) if kinds is None else kinds
    tries = 0
    while True:
        change = change_of(scene.draft, rng, world=scene.world, kinds=wanted)
        redrawn = _redraw(scene, change, rng, may_move_all=tries >= _REDRAWS)
        tries += 1
        if redrawn is not None:
            return ImageEdit(
                scene=redrawn,
                kind=change.kind,
                caption=redrawn.caption,
                pos_words=change.word_ranges(scene.draft, scene.world),
                neg_words=change.word_ranges(change.draft, scene.world),
            )


def edits_of(split: str) -> tuple[str, ...]:
    """The kinds of edit of a split: all, those that training may use, or in "edit-type" the others alone."""
    if split == "edit-type":
        return UNSEEN_EDITS
    return TRAINING_EDITS if split == "train" else EDIT_KINDS


def change_of(draft: Draft, rng: np.random.Generator, *, world: World, kinds: Sequence[str]) -> Change:
    """Draw a move: a kind among those that the sentence allows, a place, and a new value, all alike."""
    allowed = [kind for kind in kinds if _ALLOWED[kind](draft, world)]
    while True:
        kind = allowed[rng.integers(len(allowed))]
        change = _MOVES[kind](draft, rng, world)
        if change is not None:
            return change


def _object(draft: Draft, rng: np.random.Generator, world: World) -> Change | None:
    number = int(rng.integers(draft.plan.shape.num_mentions))
    look, mention = draft.looks[number], draft.plan.mentions[number]
    others = [
        replace(look, kind=kind)
        for kind in mention.kinds(world)
        if kind != look.kind and not world.are_alike(kind, look.kind)
    ]
    change = _one_of(draft, number, others, "object", "kind", rng, world)
    if change is None:
        return None
    looks = list(change.draft.looks)
    looks[number] = _finished(looks[number], mention, rng, world)
    return replace(change, draft=replace(change.draft, looks=tuple(looks)))


def _finished(look: Look, mention: Mention, rng: np.random.Generator, world: World) -> Look:
    """A look whose kind is new: its pattern and state, where nothing is said of them, are such as the kind can have."""
    if not mention.says_pattern and look.kind not in world.pools["surface"]:
        look = replace(look, pattern="plain")
    if mention.state_family is None:
        look = replace(look, state=any_state(rng, world, look.kind))
    return look


def _attribute(name: str, among: Callable[[Mention, World], tuple[object, ...]], says: _Says) -> _Move:
    """The move that gives one thing another value of an attribute that is said of it."""

    def move_value(draft: Draft, rng: np.random.Generator, world: World) -> Change | None:
        said = _saying(draft, says)
        number = said[rng.integers(len(said))]
        look, mention = draft.looks[number], draft.plan.mentions[number]
        others = [
            replace(look, **{name: value})  # type: ignore[arg-type]
            for value in among(mention, world)
            if value != getattr(look, name)
        ]
        return _one_of(draft, number, others, name, name, rng, world)

    return move_value


def _relation(draft: Draft, rng: np.random.Generator, world: World) -> Change | None:
    edge = int(rng.integers(len(draft.relations)))
    relations = list(draft.relations)
    others = [name for name in world.in_family[draft.plan.families[edge]] if name != relations[edge]]
    relations[edge] = others[rng.integers(len(others))]
    return Change(draft=replace(draft, relations=tuple(relations)), kind="relation", slots=(("relation", edge),))


def _swap(name: str, says: _Says) -> _Move:
    """The move by which two things exchange an attribute that is said of both."""

    def exchange(draft: Draft, rng: np.random.Generator, world: World) -> Change | None:
        pairs = _swappable(draft, says)
        a, b = pairs[rng.integers(len(pairs))]
        first, second = draft.looks[a], draft.looks[b]
        if getattr(first, name) == getattr(second, name) or first.kind == second.kind:
            return None
        looks = {
            a: replace(first, **{name: getattr(second, name)}),
            b: replace(second, **{name: getattr(first, name)}),
        }
        return _changed(draft, looks, f"{name}_swap", ((name, a), (name, b)), world)

    return exchange


_SAYS: Mapping[str, _Says] = MappingProxyType(
    {
        "colour": lambda mention: True,
        "size": lambda mention: mention.says_size,
        "pattern": lambda mention: mention.says_pattern,
        "state": lambda mention: mention.state_family is not None,
        "count": lambda mention: mention.says_count,
    }
)

_MOVES: Mapping[str, _Move] = MappingProxyType(
    {
        "object": _object,
        "colour": _attribute("colour", lambda mention, world: tuple(world.colours), _SAYS["colour"]),
        "size": _attribute("size", lambda mention, world: mention.sizes, _SAYS["size"]),
        "pattern": _attribute("pattern", lambda mention, world: tuple(world.patterns), _SAYS["pattern"]),
        "count": _attribute("count", lambda mention, world: tuple(world.counts), _SAYS["count"]),
        "state": _attribute(
            "state",
            lambda mention, world: tuple(world.states[mention.state_family].states) if mention.state_family else (),
            _SAYS["state"],
        ),
        "relation": _relation,
        "colour_swap": _swap("colour", _SAYS["colour"]),
        "size_swap": _swap("size", _SAYS["size"]),
        "pattern_swap": _swap("pattern", _SAYS["pattern"]),
    }
)

EDIT_KINDS = tuple(_MOVES)
"""What can be made wrong."""

TRAINING_EDITS = ("object", "colour", "size", "relation", "colour_swap")
"""What training may make wrong: the edits of the split "train"."""

UNSEEN_EDITS = tuple(kind for kind in EDIT_KINDS if kind not in TRAINING_EDITS)
"""What training never makes wrong: the edits of the split "edit-type"."""

# Asked of the plan alone, which no edit changes: else what an edit makes possible would tell that it was made.
_ALLOWED: Mapping[str, Callable[[Draft, World], bool]] = MappingProxyType(
    {
        "object": lambda draft, world: True,
        "colour": lambda draft, world: True,
        "size": lambda draft, world: bool(_saying(draft, _SAYS["size"])),
        "pattern": lambda draft, world: bool(_saying(draft, _SAYS["pattern"])),
        "count": lambda draft, world: len(world.counts) > 1 and bool(_saying(draft, _SAYS["count"])),
        "state": lambda draft, world: bool(_saying(draft, _SAYS["state"])),
        "relation": lambda draft, world: len(draft.relations) > 0,
        "colour_swap": lambda draft, world: bool(_swappable(draft, _SAYS["colour"])),
        "size_swap": lambda draft, world: bool(_swappable(draft, _SAYS["size"])),
        "pattern_swap": lambda draft, world: len(world.patterns) > 2 and bool(_swappable(draft, _SAYS["pattern"])),
    }
)


def _saying(draft: Draft, says: _Says) -> list[int]:
    """The mentions that say something."""
    return [number for number, mention in enumerate(draft.plan.mentions) if says(mention)]


def _swappable(draft: Draft, says: _Says) -> list[tuple[int, int]]:
    """Pairs of mentions that say something; sizes are exchanged where both may have any.

    Of an attribute with two values no exchange is made: equal values could only become different, and be told by it.
    """
    mentions = draft.plan.mentions
    return [
        (a, b)
        for a, b in combinations(_saying(draft, says), 2)
        if says is not _SAYS["size"] or (mentions[a].sizes == mentions[b].sizes and len(mentions[a].sizes) > 2)
    ]


def _one_of(
    draft: Draft, number: int, others: list[Look], kind: str, slot: str, rng: np.random.Generator, world: World
) -> Change | None:
    """Give thing `number` one of the other looks that keep the rules of drafts, all alike."""
    changes = [_changed(draft, {number: look}, kind, ((slot, number),), world) for look in others]
    possible = [change for change in changes if change is not None]
    return possible[rng.integers(len(possible))] if possible else None


def _changed(
    draft: Draft, looks: Mapping[int, Look], kind: str, slots: tuple[Slot, ...], world: World
) -> Change | None:
    """Give things another look, unless that breaks a rule of drafts."""
    new = replace(draft, looks=tuple(looks.get(i, look) for i, look in enumerate(draft.looks)))
    return Change(draft=new, kind=kind, slots=slots) if keeps_rules(draft, new, world) else None


def _redraw(scene: Scene, change: Change, rng: np.random.Generator, *, may_move_all: bool) -> Scene | None:
    """Draw the changed draft with as little moved as can be, or None when it does not fit."""
    brushes = [thing.brush for thing in scene.objects]
    field = field_of(change.draft, brushes, scene.image.width, scene.world)
    old = [thing.box_px for thing in scene.objects]
    boxes = [centred(_around([old[i] for i in block.things]), block.extent) for block in field.blocks]
    places: list[PixelBox] | None = None
    for moved in _movable(scene, change, [block.things for block in field.blocks]):
        places = move(boxes, moved, field, rng)
        if places is not None:
            break
    if places is None and may_move_all:
        places = place(field, rng)
    if places is None:
        return None
    return draw(change.draft, brushes, field, places, background=scene.background, split=scene.split, world=scene.world)


def _around(boxes: Sequence[PixelBox]) -> PixelBox:
    """The smallest box around some boxes."""
    columns, rows = [x for box in boxes for x in box[::2]], [y for box in boxes for y in box[1::2]]
    return min(columns), min(rows), max(columns), max(rows)


def _movable(scene: Scene, change: Change, blocks: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Which blocks may be moved for a change: none if it fits, else each with a changed thing, else all of these."""
    touched = {i for i, look in enumerate(change.draft.looks) if look != scene.draft.looks[i]}
    if change.kind == "relation":
        touched = set(scene.draft.plan.shape.edges[change.slots[0][1]])
    concerned = tuple(number for number, things in enumerate(blocks) if touched & set(things))
    return [(), *((number,) for number in concerned), concerned]
