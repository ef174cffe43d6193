"""What may be in a drawn scene, and by which words it is called.

This file only names things. How a kind looks is in `things.py`, how a sentence is built in `grammar.py`.
Names are what the code compares; words are what captions say. The first word of a name is the name itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

Rgb = tuple[int, int, int]
Combination = tuple[str, str]
"""A kind and a colour, by name."""


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
class Relation:
    """Where one thing is, seen from another.

    Attributes:
        opposite: the name of the relation that is never true at the same time.
        axis: 0 when it speaks of left and right, 1 when it speaks of up and down.
        forms: how it is said, as (before, word, after); only `word` tells it from its opposite, whose
            forms stand in the same order.
    """

    opposite: str
    axis: int
    forms: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """Everything that can be drawn and said.

    Attributes:
        kinds: words by kind.
        colours: colours by name.
        sizes: sizes by name, smallest first; their ranges do not touch.
        relations: relations by name.
        backgrounds: light tints, each far from every colour.
        held_out: combinations that only the compositional split draws.
    """

    kinds: Mapping[str, tuple[str, ...]]
    colours: Mapping[str, Colour]
    sizes: Mapping[str, Size]
    relations: Mapping[str, Relation]
    backgrounds: tuple[Rgb, ...]
    held_out: frozenset[Combination]

    def combinations(self, *, held_out: bool) -> tuple[Combination, ...]:
        """The combinations that are held out, or those that are not, in a fixed order."""
        return tuple(
            (kind, colour)
            for kind in self.kinds
            for colour in self.colours
            if ((kind, colour) in self.held_out) == held_out
        )


_KINDS = {
    "circle": ("circle", "disc"),
    "square": ("square",),
    "triangle": ("triangle",),
    "star": ("star",),
    "heart": ("heart",),
    "cross": ("cross",),
    "moon": ("moon", "crescent"),
    "ring": ("ring", "hoop"),
    "arrow": ("arrow",),
    "house": ("house", "cottage"),
    "tree": ("tree",),
    "car": ("car", "automobile"),
    "boat": ("boat", "ship"),
    "fish": ("fish",),
    "cup": ("cup", "mug"),
    "flower": ("flower", "blossom"),
}

_COLOURS = {
    "red": Colour(words=("red",), rgb=(214, 34, 38)),
    "orange": Colour(words=("orange",), rgb=(246, 130, 18)),
    "yellow": Colour(words=("yellow",), rgb=(240, 204, 20)),
    "green": Colour(words=("green",), rgb=(38, 150, 58)),
    "blue": Colour(words=("blue",), rgb=(28, 88, 216)),
    "purple": Colour(words=("purple", "violet"), rgb=(128, 44, 170)),
    "pink": Colour(words=("pink",), rgb=(244, 132, 190)),
    "brown": Colour(words=("brown",), rgb=(122, 72, 34)),
    "black": Colour(words=("black",), rgb=(26, 26, 28)),
}

_SIZES = {
    "small": Size(words=("small", "little", "tiny"), least=165, most=185),
    "medium": Size(words=("medium",), least=240, most=265),
    "large": Size(words=("large", "big", "huge"), least=345, most=380),
}

_RELATIONS = {
    "left": Relation(
        opposite="right",
        axis=0,
        forms=(("", "left", " of"), ("to the ", "left", " of"), ("on the ", "left", " of")),
    ),
    "right": Relation(
        opposite="left",
        axis=0,
        forms=(("", "right", " of"), ("to the ", "right", " of"), ("on the ", "right", " of")),
    ),
    "above": Relation(opposite="below", axis=1, forms=(("", "above", ""), ("", "over", ""), ("", "above", ""))),
    "below": Relation(opposite="above", axis=1, forms=(("", "below", ""), ("", "under", ""), ("", "beneath", ""))),
}

_BACKGROUNDS = (
    (250, 250, 247),
    (230, 239, 250),
    (236, 247, 230),
    (252, 240, 226),
    (238, 233, 247),
    (226, 230, 234),
)


def _held_out() -> frozenset[Combination]:
    """Two colours of every kind, spread so that every colour is held out for three or four kinds."""
    return frozenset(
        (kind, colour)
        for row, kind in enumerate(_KINDS)
        for column, colour in enumerate(_COLOURS)
        if (column + 2 * row) % len(_COLOURS) in (0, 4)
    )


WORLD = World(
    kinds=MappingProxyType(_KINDS),
    colours=MappingProxyType(_COLOURS),
    sizes=MappingProxyType(_SIZES),
    relations=MappingProxyType(_RELATIONS),
    backgrounds=_BACKGROUNDS,
    held_out=_held_out(),
)
