"""What may be in a drawn scene, and by which words it is called: worlds are values.

This file only describes a world; `worlds.py` holds the two there are. How a kind looks is in `drawings.py`, how a
sentence is built in `grammar.py`. Names are what the code compares; words are what captions say. The first word of a
name is the name itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

Rgb = tuple[int, int, int]
Combination = tuple[str, str]
"""A kind and a colour, by name."""

KindFamily = tuple[str, str]
"""A kind and a family of relations, by name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Colour:
    """A colour: the words for it and its middle value in sRGB."""

    words: tuple[str, ...]
    rgb: Rgb


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """A size: the words for it and the longest side it stands for, in thousandths of the picture's side."""

    words: tuple[str, ...]
    least: int
    most: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StateFamily:
    """Two states that exclude each other, and the kinds that are always in one of them.

    Attributes:
        states: words by state.
        kinds: the kinds.
    """

    states: Mapping[str, tuple[str, ...]]
    kinds: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Relation:
    """Where a thing is, seen from another one or from two others.

    Attributes:
        family: relations of which at most one is true of the same things; an edit takes another of the family.
        forms: how it is said, as (before, words, after); only `words` tell it from the others of its family, whose
            forms stand in the same order.
    """

    family: str
    forms: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Family:
    """What a sentence may say with one family of relations.

    Attributes:
        pools: for each thing, subject first, the pool of `World.pools` its kind is taken from, and the sizes it may
            have. None leaves both free, and only then may the thing be one of several.
        weight: how often the family is taken among those of the same number of things.
    """

    pools: tuple[tuple[str, tuple[str, ...]] | None, ...]
    weight: int


@dataclass(frozen=True, kw_only=True, eq=False)
class World:
    """Everything that can be drawn and said.

    Attributes:
        name: what it is called on the command line.
        kinds: words by kind.
        plurals: the plural of every word of a kind.
        colours: colours by name.
        sizes: sizes by name, smallest first; their ranges do not touch.
        patterns: words by surface pattern; "plain" has none.
        counts: words by number of like things that are counted.
        states: families of states by name.
        relations: relations by name.
        families: families of relations by name.
        pools: kinds by what they are suited for; "any" is all.
        alike: groups of kinds that a person could call by each other's name; no edit exchanges them.
        tints: light backgrounds, each far from every colour.
        sceneries: light pairs of a further and a nearer ground, as far.
        held_out: combinations that only the compositional split draws.
        held_out_families: kinds that only the compositional split says a relation of this family of.
    """

    name: str
    kinds: Mapping[str, tuple[str, ...]]
    plurals: Mapping[str, str]
    colours: Mapping[str, Colour]
    sizes: Mapping[str, Size]
    patterns: Mapping[str, tuple[str, ...]]
    counts: Mapping[int, tuple[str, ...]]
    states: Mapping[str, StateFamily]
    relations: Mapping[str, Relation]
    families: Mapping[str, Family]
    pools: Mapping[str, tuple[str, ...]]
    alike: tuple[frozenset[str], ...]
    tints: tuple[Rgb, ...]
    sceneries: tuple[tuple[Rgb, Rgb], ...]
    held_out: frozenset[Combination]
    held_out_families: frozenset[KindFamily]

    def combinations(self, *, held_out: bool) -> tuple[Combination, ...]:
        """The combinations that are held out, or those that are not, in a fixed order."""
        return tuple(
            (kind, colour)
            for kind in self.kinds
            for colour in self.colours
            if ((kind, colour) in self.held_out) == held_out
        )

    def are_alike(self, one: str, other: str) -> bool:
        """Whether a person could call one kind by the other's name."""
        return any(one in group and other in group for group in self.alike)

    @cached_property
    def family_of_kind(self) -> Mapping[str, str]:
        """The family of states of each kind that has one."""
        return {kind: name for name, family in self.states.items() for kind in family.kinds}

    @cached_property
    def in_family(self) -> Mapping[str, tuple[str, ...]]:
        """The relations of each family."""
        return {
            name: tuple(relation for relation, what in self.relations.items() if what.family == name)
            for name in self.families
        }

    @cached_property
    def state_words(self) -> Mapping[str, tuple[str, ...]]:
        """Words by state, of all families."""
        return {state: words for family in self.states.values() for state, words in family.states.items()}
