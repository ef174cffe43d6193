"""What a scene will contain and what will be said of it, before anything has a place.

A draft comes first and the picture is laid out to fit it. So every slot of a caption (kind, colour, size,
relation) is uniform over its values whatever the rest of the caption says, which is what keeps an edited
caption from being told by its text alone (see `edits.py`).

Three rules hold in every draft and every edit keeps them:
no two things share both kind and colour; every mention says kind and colour; whether a thing's combination is
held out does not change.
"""

from dataclasses import dataclass

import numpy as np

from scenes.grammar import SHAPE_GROUPS, Shape
from scenes.world import WORLD, Combination

MOST_THINGS = 4
"""Things in the fullest scene; four large ones still fit."""

TURNS = 12
"""A word is picked among the n words of a name by a turn modulo n; every n that occurs divides this."""

_HELD_OUT = WORLD.combinations(held_out=True)
_ORDINARY = WORLD.combinations(held_out=False)
_SIZES = tuple(WORLD.sizes)
_BY_AXIS = tuple(tuple(name for name, rel in WORLD.relations.items() if rel.axis == axis) for axis in (0, 1))
_GROUP_ENDS = np.cumsum([weight for weight, _ in SHAPE_GROUPS]).tolist()


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What can be said of one thing, by the names of `scenes.world.WORLD`."""

    kind: str
    colour: str
    size: str

    @property
    def combination(self) -> Combination:
        """Kind and colour, which no other thing of the scene has."""
        return self.kind, self.colour

    @property
    def is_held_out(self) -> bool:
        """Whether only the compositional split draws this combination."""
        return self.combination in WORLD.held_out


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How a caption is worded, apart from what it says.

    Attributes:
        shape: the sentence.
        says_size: for each mention, whether its size is said. Mention i is of thing i.
        turns: for each mention, which word is taken for its size, colour and kind.
        forms: for each relation of the shape, which of its forms is taken.
        full_stop: whether the caption ends with one.
    """

    shape: Shape
    says_size: tuple[bool, ...]
    turns: tuple[tuple[int, int, int], ...]
    forms: tuple[int, ...]
    full_stop: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """A scene without places.

    Attributes:
        looks: the things; the first `plan.shape.num_mentions` of them are mentioned, in that order.
        relations: names of relations, one for each of `plan.shape.edges`.
        plan: the wording of the caption.
    """

    looks: tuple[Look, ...]
    relations: tuple[str, ...]
    plan: Plan


def new_draft(rng: np.random.Generator, *, held_out: bool) -> Draft:
    """Think of a scene.

    Args:
        rng: advanced by what is drawn from it.
        held_out: whether one of the mentioned things, any of them alike, has a held-out combination.
    """
    plan = _plan(rng)
    num_mentions = plan.shape.num_mentions
    num_things = int(rng.integers(max(2, num_mentions), MOST_THINGS + 1))
    novel = int(rng.integers(num_mentions)) if held_out else None
    looks = tuple(
        Look(kind=kind, colour=colour, size=_SIZES[rng.integers(len(_SIZES))])
        for kind, colour in _combinations(rng, num_things, novel)
    )
    return Draft(looks=looks, relations=_relations(rng, plan.shape), plan=plan)


def _plan(rng: np.random.Generator) -> Plan:
    ticket = int(rng.integers(_GROUP_ENDS[-1]))
    group = next(i for i, end in enumerate(_GROUP_ENDS) if ticket < end)
    shapes = SHAPE_GROUPS[group][1]
    shape = shapes[rng.integers(len(shapes))]
    choices = rng.integers(TURNS, size=(shape.num_mentions, 4)).tolist()
    return Plan(
        shape=shape,
        says_size=tuple(row[3] % 2 == 0 for row in choices),
        turns=tuple((row[0], row[1], row[2]) for row in choices),
        forms=tuple(rng.integers(TURNS, size=len(shape.edges)).tolist()),
        full_stop=int(rng.integers(4)) == 0,
    )


def _combinations(rng: np.random.Generator, count: int, novel: int | None) -> list[Combination]:
    """Different combinations, ordinary but for the one at position `novel`."""
    chosen: list[Combination] = []
    while len(chosen) < count:
        pool = _HELD_OUT if len(chosen) == novel else _ORDINARY
        candidate = pool[rng.integers(len(pool))]
        if candidate not in chosen:
            chosen.append(candidate)
    return chosen


def _relations(rng: np.random.Generator, shape: Shape) -> tuple[str, ...]:
    """Relations for the edges of a shape; a second one is always on the other axis, so that it can be laid out."""
    first_axis = int(rng.integers(2))
    return tuple(_BY_AXIS[(first_axis + i) % 2][rng.integers(2)] for i in range(len(shape.edges)))
