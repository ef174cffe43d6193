"""What a scene will contain and what will be said of it, before anything has a place.

A draft comes first and the picture is laid out to fit it. First the plan: which sentence, which attributes are said of
which mention, and from which values each is taken. Then the values: every slot of a caption is uniform over its values
whatever the rest of the caption says, which is what keeps an edited caption from being told by its text alone (see
`edits.py`).

The rules of `keeps_rules` hold in every draft, and every edit keeps them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Self, TypeVar

import numpy as np

from scenes.grammar import SHAPE_GROUPS, Edge, Shape
from scenes.world import Combination, KindFamily, World

MOST_THINGS = 5
"""Different things in the fullest scene; like things that are counted are one."""

TURNS = 12
"""A word is picked among the n words of a name by a turn modulo n; every n that occurs divides this."""

DIRECTIONS = ("across", "upright")
"""The families of which two can be said of one thing, one each."""

T = TypeVar("T")

_SIZE_SAID, _PATTERN_SAID, _STATE_SAID, _COUNT_SAID = 40, 35, 18, 12
_PATTERNED, _MULTIPLE = 30, 12
_CLOSE_LOOK = ("medium", "large")
_GROUP_ENDS = np.cumsum([weight for weight, _ in SHAPE_GROUPS]).tolist()


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What can be said of one thing, or of several alike, by the names of a world.

    Attributes:
        kind: what it is.
        colour: its colour.
        size: its size.
        pattern: its surface pattern.
        state: its state, or None when its kind has none.
        count: how many there are.
    """

    kind: str
    colour: str
    size: str
    pattern: str = "plain"
    state: str | None = None
    count: int = 1

    @property
    def combination(self) -> Combination:
        """Kind and colour, which no other thing of the scene has."""
        return self.kind, self.colour


@dataclass(frozen=True, kw_only=True, slots=True)
class Mention:
    """How one thing is spoken of, and from which values its look is taken.

    Attributes:
        pool: the pool of kinds.
        sizes: the sizes it may have.
        state_family: the family of states of which one is said, or None; then the pool has that family's name.
        says_size: whether the size is said.
        says_pattern: whether the pattern is said.
        says_count: whether there are several, and how many is said.
        turns: which word is taken for each of its slots: size, state, pattern, colour, kind.
    """

    pool: str
    sizes: tuple[str, ...]
    state_family: str | None
    says_size: bool
    says_pattern: bool
    says_count: bool
    turns: tuple[int, ...]

    def kinds(self, world: World) -> tuple[str, ...]:
        """The kinds it may be."""
        return world.states[self.state_family].kinds if self.state_family else world.pools[self.pool]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How a caption is worded, apart from what it says.

    Attributes:
        shape: the sentence.
        mentions: mention i is of thing i.
        families: for each relation of the shape, its family.
        forms: for each relation of the shape, which of its forms is taken.
        full_stop: whether the caption ends with one.
    """

    shape: Shape
    mentions: tuple[Mention, ...]
    families: tuple[str, ...]
    forms: tuple[int, ...]
    full_stop: bool

    def families_at(self, number: int) -> tuple[str, ...]:
        """The families of the relations that a mention takes part in."""
        return _families_at(self.shape.edges, self.families, number)


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

    def without_distractors(self) -> Self:
        """The same caption of a scene in which nothing else is."""
        return type(self)(looks=self.looks[: self.plan.shape.num_mentions], relations=self.relations, plan=self.plan)


def new_draft(rng: np.random.Generator, *, world: World, held_out: bool, says: Sequence[str] = ()) -> Draft:
    """Think of a scene.

    Args:
        rng: advanced by what is drawn from it.
        world: what there is.
        held_out: whether one mention, any alike, has a held-out combination of kind and colour, or one relation is said
            of a kind it is held out for; the plans that allow both have either, half of them each.
        says: when given, the caption says an attribute of at least one of these names: "pattern", "state", "count".
    """
    while True:
        plan = _plan(rng, world)
        if not says or any(_says(mention, name, world) for mention in plan.mentions for name in says):
            break
    novel_colour, novel_edge = _novelty(rng, plan, world) if held_out else (None, None)
    looks: list[Look] = []
    for number, mention in enumerate(plan.mentions):
        held = novel_edge[1] if novel_edge is not None and novel_edge[0] == number else None
        pool = _pool(world, mention.kinds(world), plan.families_at(number), held, number == novel_colour)
        looks.append(_look(rng, world, mention, _pick_new(rng, pool, looks)))
    ordinary = _pool(world, world.pools["any"], (), None, False)
    for _ in range(int(rng.integers(max(2, len(looks)), MOST_THINGS + 1)) - len(looks)):
        looks.append(_distractor(rng, world, _pick_new(rng, ordinary, looks)))
    relations = tuple(_one(rng, world.in_family[family]) for family in plan.families)
    return Draft(looks=tuple(looks), relations=relations, plan=plan)


def keeps_rules(before: Draft, after: Draft, world: World) -> bool:
    """Whether a changed draft is one that could have been drafted in the same split.

    No two things share both kind and colour; of no thing does it change whether its combination is held out, nor
    whether the relations it takes part in are held out for its kind.
    """
    if len({look.combination for look in after.looks}) < len(after.looks):
        return False
    for number, (old, new) in enumerate(zip(before.looks, after.looks, strict=True)):
        if (old.combination in world.held_out) != (new.combination in world.held_out):
            return False
        if old.kind != new.kind and any(
            ((old.kind, family) in world.held_out_families) != ((new.kind, family) in world.held_out_families)
            for family in before.plan.families_at(number)
        ):
            return False
    return True


def any_state(rng: np.random.Generator, world: World, kind: str) -> str | None:
    """A state of a kind, all alike, or None when it has none."""
    family = world.family_of_kind.get(kind)
    return None if family is None else _one(rng, tuple(world.states[family].states))


def _plan(rng: np.random.Generator, world: World) -> Plan:
    while True:
        ticket = int(rng.integers(_GROUP_ENDS[-1]))
        group = next(i for i, end in enumerate(_GROUP_ENDS) if ticket < end)
        shape = _one(rng, SHAPE_GROUPS[group][1])
        if all(len(edge) < 3 for edge in shape.edges) or "among" in world.families:
            break
    families = _families(rng, shape, world)
    counted = int(rng.integers(shape.num_mentions)) if rng.integers(100) < _COUNT_SAID * shape.num_mentions else None
    if shape.num_mentions > 3:
        counted = None
    return Plan(
        shape=shape,
        mentions=tuple(
            _mention(rng, world, _demanded(world, shape.edges, families, number), counted=number == counted)
            for number in range(shape.num_mentions)
        ),
        families=families,
        forms=tuple(rng.integers(TURNS, size=len(shape.edges)).tolist()),
        full_stop=int(rng.integers(4)) == 0,
    )


def _families(rng: np.random.Generator, shape: Shape, world: World) -> tuple[str, ...]:
    """A family for each edge; of two edges that share a thing, at most the first is close and no two say one axis."""
    families: list[str] = []
    for edge in shape.edges:
        sharing = {family for other, family in zip(shape.edges, families, strict=False) if set(other) & set(edge)}
        if len(edge) == 3:
            families.append("among")
            continue
        possible = [
            name
            for name, family in world.families.items()
            if len(family.pools) == 2 and (not families or name in DIRECTIONS) and name not in sharing
        ]
        ends = np.cumsum([world.families[name].weight for name in possible])
        families.append(possible[int(np.searchsorted(ends, rng.integers(ends[-1]), side="right"))])
    return tuple(families)


def _families_at(edges: tuple[Edge, ...], families: tuple[str, ...], number: int) -> tuple[str, ...]:
    return tuple(family for edge, family in zip(edges, families, strict=True) if number in edge)


def _demanded(
    world: World, edges: tuple[Edge, ...], families: tuple[str, ...], number: int
) -> tuple[str, tuple[str, ...]] | None:
    """The pool and sizes that the relations demand of a mention, or None when they demand nothing."""
    for edge, family in zip(edges, families, strict=True):
        if number in edge:
            demanded = world.families[family].pools[edge.index(number)]
            if demanded is not None:
                return demanded
    return None


def _mention(
    rng: np.random.Generator, world: World, demanded: tuple[str, tuple[str, ...]] | None, *, counted: bool
) -> Mention:
    *turns, size, more, family = rng.integers([TURNS] * 5 + [100, 100, max(1, len(world.states))]).tolist()
    pool, sizes = demanded or ("any", tuple(world.sizes))
    state_family = None
    says_count = counted and demanded is None
    says_pattern = False
    if says_count:
        sizes = sizes[:1]
    elif demanded is None and more < _PATTERN_SAID:
        says_pattern, pool = True, "surface"
    elif demanded is None and world.states and more < _PATTERN_SAID + _STATE_SAID:
        state_family = pool = tuple(world.states)[family]
    if says_pattern or state_family is not None:
        sizes = _CLOSE_LOOK
    return Mention(
        pool=pool,
        sizes=sizes,
        state_family=state_family,
        says_size=size < _SIZE_SAID and len(sizes) > 1,
        says_pattern=says_pattern,
        says_count=says_count,
        turns=tuple(turns),
    )


def _says(mention: Mention, name: str, world: World) -> bool:
    """Whether an attribute is said that has another value to be mistaken for."""
    if name == "count":
        return mention.says_count and len(world.counts) > 1
    return mention.says_pattern if name == "pattern" else mention.state_family is not None


def _novelty(rng: np.random.Generator, plan: Plan, world: World) -> tuple[int | None, tuple[int, str] | None]:
    """What is held out: a mention with its colour, or a mention with a family of relations."""
    places = [
        (number, family)
        for edge, family in zip(plan.shape.edges, plan.families, strict=True)
        for number in edge
        if any((kind, family) in world.held_out_families for kind in plan.mentions[number].kinds(world))
    ]
    if places and rng.integers(2):
        return None, places[rng.integers(len(places))]
    return int(rng.integers(plan.shape.num_mentions)), None


@lru_cache(maxsize=4096)
def _pool(
    world: World, kinds: tuple[str, ...], families: tuple[str, ...], novel_family: str | None, novel_colour: bool
) -> tuple[Combination, ...]:
    """The combinations of some kinds that are ordinary, but for what is to be held out."""

    def is_wanted(kind: str) -> bool:
        held: list[KindFamily] = [(kind, family) for family in families]
        return all((pair in world.held_out_families) == (pair[1] == novel_family) for pair in held)

    wanted = {kind for kind in kinds if is_wanted(kind)}
    return tuple(pair for pair in world.combinations(held_out=novel_colour) if pair[0] in wanted)


def _pick_new(rng: np.random.Generator, pool: tuple[Combination, ...], looks: Sequence[Look]) -> Combination:
    """One of the combinations that no thing has yet, all alike."""
    taken = [look.combination for look in looks]
    while True:
        candidate = pool[rng.integers(len(pool))]
        if candidate not in taken:
            return candidate


def _look(rng: np.random.Generator, world: World, mention: Mention, combination: Combination) -> Look:
    kind, colour = combination
    return Look(
        kind=kind,
        colour=colour,
        size=_one(rng, mention.sizes),
        pattern=_one(rng, tuple(world.patterns)) if mention.says_pattern else _any_pattern(rng, world, kind),
        state=any_state(rng, world, kind),
        count=_one(rng, tuple(world.counts)) if mention.says_count else 1,
    )


def _distractor(rng: np.random.Generator, world: World, combination: Combination) -> Look:
    kind, colour = combination
    several = int(rng.integers(100)) < _MULTIPLE
    return Look(
        kind=kind,
        colour=colour,
        size=next(iter(world.sizes)) if several else _one(rng, tuple(world.sizes)),
        pattern=_any_pattern(rng, world, kind),
        state=any_state(rng, world, kind),
        count=2 if several else 1,
    )


def _any_pattern(rng: np.random.Generator, world: World, kind: str) -> str:
    """A pattern of which nothing will be said."""
    if int(rng.integers(100)) >= _PATTERNED or kind not in world.pools["surface"]:
        return "plain"
    return _one(rng, tuple(world.patterns))


def _one(rng: np.random.Generator, values: Sequence[T]) -> T:
    return values[int(rng.integers(len(values)))]
