"""Sentence shapes, as templates.

`{0}` is a mention with "a" or "an", `{the 0}` the same with "the", and `{01}` the relation of thing 0 to thing 1.
A shape mentions its things once each and is grammatical whatever stands in its slots.
"""

import re
from dataclasses import dataclass
from functools import cached_property

SLOT = re.compile(r"\{(?P<the>the )?(?P<subject>\d)(?P<object>\d)?\}")
"""A slot of a template: a mention, or a relation when `object` is there."""


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
        return len(SLOT.findall(self.template)) - len(self.edges)

    @cached_property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """Pairs (subject, object) of which it says a relation, as they come in the text."""
        return tuple(
            (int(slot["subject"]), int(slot["object"]))
            for slot in SLOT.finditer(self.template)
            if slot["object"] is not None
        )


def _shapes(*templates: str) -> tuple[Shape, ...]:
    return tuple(Shape(template=template) for template in templates)


SHAPE_GROUPS: tuple[tuple[int, tuple[Shape, ...]], ...] = (
    (
        4,
        _shapes(
            "{0}",
            "there is {0}",
            "a picture of {0}",
            "you can see {0}",
            "this picture has {0} in it",
        ),
    ),
    (
        14,
        _shapes(
            "{0} and {1}",
            "there is {0} and {1}",
            "there is {0}, and there is {1}",
            "a picture of {0} and {1}",
            "you can see {0} and {1}",
            "this picture shows {0} together with {1}",
            "{0}, and also {1}",
        ),
    ),
    (
        32,
        _shapes(
            "{0} {01} {1}",
            "{0} is {01} {1}",
            "{the 0} is {01} {the 1}",
            "there is {0} {01} {1}",
            "a picture of {0} {01} {1}",
            "you can see {0} {01} {1}",
            "{01} {1} is {0}",
            "{01} {the 1} there is {0}",
            "{01} {the 1} you can see {0}",
        ),
    ),
    (
        16,
        _shapes(
            "{0}, {1} and {2}",
            "there is {0}, {1} and {2}",
            "a picture of {0}, {1} and {2}",
            "you can see {0}, {1} and {2}",
            "this picture shows {0} together with {1} and {2}",
            "{0} and {1}, and also {2}",
        ),
    ),
    (
        20,
        _shapes(
            "{0} is {01} {1}, and there is {2}",
            "there is {2}, and {0} is {01} {1}",
            "{0} {01} {1}, and also {2}",
            "{2}, and also {0} {01} {1}",
            "{the 0} is {01} {the 1}, and you can also see {2}",
            "{01} {the 1} there is {0}, and there is also {2}",
        ),
    ),
    (
        14,
        _shapes(
            "{0} is {01} {1}, which is {12} {2}",
            "{0} {01} {1}, which is {12} {2}",
            "{the 0} is {01} {the 1} and {02} {the 2}",
            "{0} is {01} {1} and {02} {2}",
            "there is {0} {01} {1} and {02} {2}",
            "{01} {the 1} is {0}, which is {02} {the 2}",
        ),
    ),
)
"""Shapes that mention equally many things and relations, and how often in a hundred each group is taken."""
