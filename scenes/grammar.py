"""Sentence shapes, as templates.

`{0}` is a mention with "a", "an" or a number, `{the 0}` the same with "the", `{is 0}` the verb that agrees with it,
`{01}` the relation of thing 0 to thing 1, and `{012}` its relation to things 1 and 2. A shape mentions its things once
each and is grammatical whatever stands in its slots.
"""

import re
from dataclasses import dataclass
from functools import cached_property

SLOT = re.compile(r"\{(?P<word>the |is )?(?P<things>\d{1,3})\}")
"""A slot of a template: a mention, a verb, or a relation when there are several things."""

Edge = tuple[int, ...]
"""The thing of which a relation is said, and the one or two things seen from which it is."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A sentence with slots.

    Attributes:
        template: its text.
    """

    template: str

    @cached_property
    def num_mentions(self) -> int:
        """How many things it mentions: 0, 1, … in any order."""
        return 1 + max(int(digit) for slot in SLOT.finditer(self.template) for digit in slot["things"])

    @cached_property
    def edges(self) -> tuple[Edge, ...]:
        """The things of which it says a relation, as they come in the text."""
        return tuple(
            tuple(int(digit) for digit in slot["things"])
            for slot in SLOT.finditer(self.template)
            if len(slot["things"]) > 1
        )


def _shapes(*templates: str) -> tuple[Shape, ...]:
    return tuple(Shape(template=template) for template in templates)


SHAPE_GROUPS: tuple[tuple[int, tuple[Shape, ...]], ...] = (
    (
        8,
        _shapes(
            "{0}",
            "there {is 0} {0}",
            "a picture of {0}",
            "a drawing of {0}",
            "you can see {0}",
            "here {is 0} {0}",
            "this picture has {0} in it",
            "the artist drew {0}",
        ),
    ),
    (
        13,
        _shapes(
            "{0} and {1}",
            "there {is 0} {0} and {1}",
            "there {is 0} {0}, and there {is 1} {1}",
            "a picture of {0} and {1}",
            "an image with {0} and {1}",
            "you can see {0} and {1}",
            "this picture shows {0} together with {1}",
            "{0} as well as {1}",
            "{0} along with {1}",
            "{0}, and also {1}",
        ),
    ),
    (
        35,
        _shapes(
            "{0} {01} {1}",
            "{0} {is 0} {01} {1}",
            "{the 0} {is 0} {01} {the 1}",
            "there {is 0} {0} {01} {1}",
            "a picture of {0} {01} {1}",
            "you can see {0} {01} {1}",
            "{01} {1} {is 0} {0}",
            "{01} {the 1} there {is 0} {0}",
            "{01} {the 1} you can see {0}",
            "someone put {0} {01} {1}",
        ),
    ),
    (
        9,
        _shapes(
            "{0}, {1} and {2}",
            "there {is 0} {0}, {1} and {2}",
            "a picture of {0}, {1} and {2}",
            "you can see {0}, {1} and {2}",
            "this picture shows {0} together with {1} and {2}",
            "{0} and {1}, and also {2}",
            "here {is 0} {0} beside other things: {1} and {2}",
        ),
    ),
    (
        15,
        _shapes(
            "{0} {is 0} {01} {1}, and there {is 2} {2}",
            "there {is 2} {2}, and {0} {is 0} {01} {1}",
            "{0} {01} {1}, and also {2}",
            "{2}, and also {0} {01} {1}",
            "{the 0} {is 0} {01} {the 1}, and you can also see {2}",
            "{01} {the 1} there {is 0} {0}, and there {is 2} also {2}",
            "while {0} {is 0} {01} {1}, {2} can be seen elsewhere",
        ),
    ),
    (
        9,
        _shapes(
            "{0} {is 0} {01} {1}, which {is 1} {12} {2}",
            "{0} {01} {1}, which {is 1} {12} {2}",
            "{the 0} {is 0} {01} {the 1} and {02} {the 2}",
            "{0} {is 0} {01} {1} and {02} {2}",
            "there {is 0} {0} {01} {1} and {02} {2}",
            "{01} {the 1} {is 0} {0}, which {is 0} {02} {the 2}",
        ),
    ),
    (
        4,
        _shapes(
            "{0} {012} {1} and {2}",
            "{0} {is 0} {012} {1} and {2}",
            "{the 0} {is 0} {012} {the 1} and {the 2}",
            "there {is 0} {0} {012} {1} and {2}",
            "{012} {1} and {2} {is 0} {0}",
        ),
    ),
    (
        3,
        _shapes(
            "{0}, {1}, {2} and {3}",
            "there {is 0} {0}, {1}, {2} and {3}",
            "a picture with many things in it: {0}, {1}, {2} and {3}",
            "{0} and {1}, plus {2} and {3}",
        ),
    ),
    (
        4,
        _shapes(
            "{0} {is 0} {01} {1}, and {2} {is 2} {23} {3}",
            "{0} {01} {1}, and {2} {23} {3}",
            "there {is 0} {0} {01} {1}, but {2} {is 2} {23} {3}",
            "{the 0} {is 0} {01} {the 1} while {the 2} {is 2} {23} {the 3}",
        ),
    ),
)
"""Shapes that mention equally many things and relations, and how often in a hundred each group is taken."""
