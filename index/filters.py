"""Filters on metadata: read from JSON, asked of one item, or turned into SQL. Refused or obeyed, never ignored.

A filter is one of

    {"field": value}                                   the field has this value
    {"field": {"in": […], "gte": n, "lt": n, …}}       one value of the field meets all these conditions
    {"field": {"exists": true}}                        the field has a value (null is a value, an empty list is none)
    {"and": […]}, {"or": […]}, {"not": {…}}            other filters put together

and several keys in one object must all hold. Numbers, texts, booleans and null are different kinds of values: `1` is
not `"1"` and not `true`, and a comparison holds only between two numbers or between two texts (by code point). A field
that holds a list matches when one of its members does; a field within an object is written `outer.inner`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from index.records import Metadata, leaves
from runtime.errors import GalleryError

Scalar = str | int | float | bool | None
Comparison = Literal["gt", "gte", "lt", "lte"]

MAX_DEPTH = 16
MAX_VALUES = 10_000
MAX_FIELD_LENGTH = 256
MAX_INTEGER = 2**63 - 1

_SQL_COMPARISONS: dict[str, str] = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_CONDITIONS = ("in", *_SQL_COMPARISONS, "exists")


NULL = b""
"""Stands for JSON null where values are stored: a primary key holds no NULL, and nothing equals one."""


def kind_of(value: object) -> int:
    """Return the kind of a scalar, as it is stored beside it: 0 null, 1 boolean, 2 number, 3 text."""
    if value is None:
        return 0
    if isinstance(value, bool):
        return 1
    return 2 if isinstance(value, int | float) else 3


@dataclass(frozen=True, slots=True)
class Sql:
    """A piece of SQL and the values for its question marks, in order."""

    text: str
    values: tuple[Scalar | bytes, ...]


@dataclass(frozen=True, slots=True)
class Value:
    """A field holds one value that is among `wanted` (when given) and within all `bounds`."""

    field: str
    wanted: tuple[tuple[int, Scalar], ...] | None
    bounds: tuple[tuple[Comparison, str | int | float], ...] = ()

    def matches(self, metadata: Metadata) -> bool:
        """Say whether an item with this metadata passes."""
        return any(leaf.field == self.field and self._admits(leaf.value) for leaf in leaves(metadata))

    def sql(self) -> Sql:
        """Return the SQL that selects the rows which pass."""
        conditions = ["field = ?"]
        values: list[Scalar | bytes] = [self.field]
        if self.wanted is not None:
            pairs = ", ".join("(?, ?)" for _ in self.wanted)
            conditions.append(f"(kind, value) IN (VALUES {pairs})")
            values += [part for kind, value in self.wanted for part in (kind, NULL if kind == 0 else value)]
        for name, bound in self.bounds:
            conditions.append(f"kind = ? AND value {_SQL_COMPARISONS[name]} ?")
            values += [kind_of(bound), bound]
        return Sql(f"SELECT row FROM attributes WHERE {' AND '.join(conditions)}", tuple(values))

    def _admits(self, value: Scalar) -> bool:
        if self.wanted is not None and (kind_of(value), value) not in self.wanted:
            return False
        return all(kind_of(value) == kind_of(bound) and _holds(value, name, bound) for name, bound in self.bounds)


@dataclass(frozen=True, slots=True)
class Exists:
    """A field has a value, or is an object with a field that has one."""

    field: str

    def matches(self, metadata: Metadata) -> bool:
        """Say whether an item with this metadata passes."""
        within = f"{self.field}."
        return any(leaf.field == self.field or leaf.field.startswith(within) for leaf in leaves(metadata))

    def sql(self) -> Sql:
        """Return the SQL that selects the rows which pass."""
        # "/" is the character after ".": the range holds every field that starts with "field."
        text = "SELECT row FROM attributes WHERE field = ? OR (field >= ? AND field < ?)"
        return Sql(text, (self.field, f"{self.field}.", f"{self.field}/"))


@dataclass(frozen=True, slots=True)
class And:
    """All of the parts hold; with no parts, everything passes."""

    parts: tuple["Filter", ...]

    def matches(self, metadata: Metadata) -> bool:
        """Say whether an item with this metadata passes."""
        return all(part.matches(metadata) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Or:
    """At least one of the parts holds."""

    parts: tuple["Filter", ...]

    def matches(self, metadata: Metadata) -> bool:
        """Say whether an item with this metadata passes."""
        return any(part.matches(metadata) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: "Filter"

    def matches(self, metadata: Metadata) -> bool:
        """Say whether an item with this metadata passes."""
        return not self.part.matches(metadata)


Filter = Value | Exists | And | Or | Not


def parse(obj: object) -> Filter:
    """Read a filter from parsed JSON.

    Raises:
        GalleryError: `filter_invalid`; the message names the place and what is wanted there.
    """
    return _Parser().parse(obj, where="filter", depth=0)


class _Parser:
    def __init__(self) -> None:
        self._values_left = MAX_VALUES

    def parse(self, obj: object, *, where: str, depth: int) -> Filter:
        if depth > MAX_DEPTH:
            raise _invalid(where, f"filters may be nested {MAX_DEPTH} deep")
        if not isinstance(obj, Mapping):
            raise _invalid(where, f"an object is wanted, not {_shown(obj)}")
        parts = tuple(self._member(name, value, where=where, depth=depth) for name, value in obj.items())
        return parts[0] if len(parts) == 1 else And(parts)

    def _member(self, name: object, value: object, *, where: str, depth: int) -> Filter:
        if name in ("and", "or"):
            return self._group(str(name), value, where=f"{where}.{name}", depth=depth)
        if name == "not":
            return Not(self.parse(value, where=f"{where}.not", depth=depth + 1))
        field = _checked_field(name, where=where)
        return self._field(field, value, where=f"{where}.{field}")

    def _group(self, name: str, value: object, *, where: str, depth: int) -> Filter:
        if not isinstance(value, list) or not value:
            raise _invalid(where, f'"{name}" takes a list of filters, at least one')
        parts = tuple(
            self.parse(part, where=f"{where}[{number}]", depth=depth + 1) for number, part in enumerate(value)
        )
        return And(parts) if name == "and" else Or(parts)

    def _field(self, field: str, value: object, *, where: str) -> Filter:
        if isinstance(value, list):
            raise _invalid(where, 'for one of several values write {"in": […]}')
        if not isinstance(value, Mapping):
            return Value(field, (self._keyed(value, where=where),))
        if not value:
            raise _invalid(where, f"a condition is wanted: {', '.join(_CONDITIONS)}")
        if unknown := [str(name) for name in value if name not in _CONDITIONS]:
            raise _invalid(where, f"unknown condition {unknown[0]!r}; there are {', '.join(_CONDITIONS)}")
        return self._conditions(field, value, where=where)

    def _conditions(self, field: str, given: Mapping[str, object], *, where: str) -> Filter:
        parts: list[Filter] = []
        if "exists" in given:
            if not isinstance(given["exists"], bool):
                raise _invalid(f"{where}.exists", "true or false is wanted")
            parts.append(Exists(field) if given["exists"] else Not(Exists(field)))
        wanted = self._wanted(given["in"], where=f"{where}.in") if "in" in given else None
        bounds = tuple(
            (name, self._bound(given[name], where=f"{where}.{name}"))
            for name in ("gt", "gte", "lt", "lte")
            if name in given
        )
        if wanted is not None or bounds:
            parts.append(Value(field, wanted, bounds))  # type: ignore[arg-type]
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _wanted(self, value: object, *, where: str) -> tuple[tuple[int, Scalar], ...]:
        if not isinstance(value, list) or not value:
            raise _invalid(where, '"in" takes a list of values, at least one')
        return tuple(self._keyed(member, where=f"{where}[{number}]") for number, member in enumerate(value))

    def _bound(self, value: object, *, where: str) -> str | int | float:
        _, scalar = self._keyed(value, where=where)
        if scalar is None or isinstance(scalar, bool):
            raise _invalid(where, f"a number or a text is wanted, not {_shown(value)}")
        return scalar

    def _keyed(self, value: object, *, where: str) -> tuple[int, Scalar]:
        self._values_left -= 1
        if self._values_left < 0:
            raise _invalid(where, f"at most {MAX_VALUES:,} values may be named in one filter")
        scalar = checked_scalar(value, where=where, code="filter_invalid")
        return kind_of(scalar), scalar


def checked_scalar(value: object, *, where: str, code: str) -> Scalar:
    """Return a JSON scalar that SQLite can hold exactly.

    Raises:
        GalleryError: with `code`: not a scalar, not finite, beyond 64 bits, or text that is not Unicode.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if -MAX_INTEGER - 1 <= value <= MAX_INTEGER:
            return value
        raise _invalid(where, "an integer must fit in 64 bits", code)
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        raise _invalid(where, "a number must be finite", code)
    if isinstance(value, str):
        if _is_unicode(value):
            return value
        raise _invalid(where, "a text holds half a surrogate pair, which is not Unicode", code)
    raise _invalid(where, f"a text, a number, true, false or null is wanted, not {_shown(value)}", code)


def _checked_field(name: object, *, where: str) -> str:
    if not isinstance(name, str) or not name or len(name) > MAX_FIELD_LENGTH or not _is_unicode(name):
        raise _invalid(where, f"a field's name has 1 to {MAX_FIELD_LENGTH} characters, not {_shown(name)}")
    return name


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _holds(value: Any, name: Comparison, bound: Any) -> bool:  # noqa: ANN401  both are numbers, or both texts
    if name == "gt":
        return bool(value > bound)
    if name == "gte":
        return bool(value >= bound)
    return bool(value < bound) if name == "lt" else bool(value <= bound)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _invalid(where: str, what: str, code: str = "filter_invalid") -> GalleryError:
    return GalleryError(f"{where}: {what}.", code=code)
