"""Filters for Milvus: what is stored beside an item's metadata so that they can be honoured, and their expressions.

Milvus compares JSON by rules of its own (a list is no value, types are mixed, escapes differ between versions). So the
metadata itself is never compared there. Beside it stand facts, made so that comparing short ASCII strings gives exactly
what `index.filters` means:

    is      a token for each value of each field, and one for each field that exists
    n_F z_F the least and greatest number of field F, written so that their order as strings is their order as numbers
    a_F t_F the least and greatest text of field F, as the first bytes of its UTF-8 in hexadecimal

An expression is exact, but for two cases: both bounds of a range when a field has several values, and long texts. There
it lets too much through, never too little, and `Filter.matches` decides.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from index.filters import And, Exists, Filter, Not, Or, Scalar, Value, kind_of
from index.records import Metadata, leaves
from runtime.errors import GalleryError

MAX_FACTS_BYTES = 65_000
_TEXT_BYTES = 40
_NUMBER, _TEXT = 2, 3
_TRUE, _FALSE = 'pk != ""', 'pk == ""'
_EXPONENT = 2_000
_OPERATORS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def facts_of(metadata: Metadata) -> dict[str, Any]:
    """Return what is stored of an item's metadata for filters.

    Raises:
        GalleryError: `metadata_invalid`: it has more values than Milvus takes.
    """
    tokens: set[str] = set()
    ranges: dict[str, str] = {}
    for leaf in leaves(metadata):
        tokens.add(_value_token(leaf.field, leaf.value))
        parts = leaf.field.split(".")
        tokens.update(_exists_token(".".join(parts[:end])) for end in range(1, len(parts) + 1))
        kind = kind_of(leaf.value)
        if kind in (_NUMBER, _TEXT):
            tokens.add(_range_token(leaf.field, kind))
            ordered = number_key(leaf.value) if kind == _NUMBER else _text_key(leaf.value.encode())
            least, greatest = _range_keys(leaf.field, kind)
            ranges[least] = min(ranges.get(least, ordered), ordered)
            ranges[greatest] = max(ranges.get(greatest, ordered), ordered)
    facts: dict[str, Any] = {"is": sorted(tokens), **ranges}
    if len(orjson.dumps(facts)) > MAX_FACTS_BYTES:
        raise GalleryError(
            "the metadata cannot be stored: it has more values than a gallery in Milvus can filter on "
            f"(about {MAX_FACTS_BYTES // 60:,} of an item).",
            code="metadata_invalid",
        )
    return facts


@dataclass(frozen=True, slots=True)
class Expression:
    """A filter as Milvus reads it.

    Attributes:
        text: lets through every item that passes.
        is_exact: whether it lets through nothing else.
    """

    text: str
    is_exact: bool


def compiled(filter: Filter) -> Expression:
    """Return the expression of a filter."""
    over, under = _bounds(filter)
    return Expression(over, is_exact=over == under)


def number_key(value: float) -> str:
    """Return 21 characters whose order is the exact order of numbers, integers of 64 bits and floats mixed."""
    if value == 0:
        return "1" + "0" * 20
    numerator, denominator = abs(value).as_integer_ratio()  # the denominator is a power of two
    exponent = numerator.bit_length() - denominator.bit_length()
    shift = 63 - exponent
    mantissa = (numerator << shift if shift >= 0 else numerator >> -shift) // denominator
    place = _EXPONENT + exponent
    if value > 0:
        return f"1{place:04x}{mantissa:016x}"
    return f"0{0xFFFF - place:04x}{2**64 - 1 - mantissa:016x}"


def _bounds(filter: Filter) -> tuple[str, str]:
    """Return expressions that let through everything that passes, and nothing that does not."""
    match filter:
        case Exists(field=field):
            text = _has_any([_exists_token(field)])
            return text, text
        case Value(field=field, wanted=None, bounds=bounds):
            return _range(field, bounds)
        case Value(field=field, wanted=wanted, bounds=bounds):
            assert wanted is not None
            within = Value(field, None, bounds)
            text = _has_any([_value_token(field, value) for _, value in wanted if within._admits(value)])
            return text, text
        case And(parts=()):
            return _TRUE, _TRUE
        case And(parts=parts):
            overs, unders = zip(*map(_bounds, parts), strict=True)
            return _joined(overs, "and"), _joined(unders, "and")
        case Or(parts=parts):
            overs, unders = zip(*map(_bounds, parts), strict=True)
            return _joined(overs, "or"), _joined(unders, "or")
        case Not(part=part):
            over, under = _bounds(part)
            return f"(not {under})", f"(not {over})"


def _range(field: str, bounds: Sequence[tuple[str, Any]]) -> tuple[str, str]:
    kinds = {kind_of(bound) for _, bound in bounds}
    if len(kinds) > 1:
        return _FALSE, _FALSE  # no value is a number and a text
    kind = kinds.pop()
    least, greatest = _range_keys(field, kind)
    is_there = _has_any([_range_token(field, kind)])
    overs = [_compared(greatest if name in ("gt", "gte") else least, name, bound, over=True) for name, bound in bounds]
    if len(bounds) == 1:
        name, bound = bounds[0]
        under = _compared(greatest if name in ("gt", "gte") else least, name, bound, over=False)
    else:
        unders = [
            _joined([_compared(key, name, bound, over=False) for name, bound in bounds], "and")
            for key in (least, greatest)
        ]
        under = _joined(unders, "or")
    return _joined([is_there, *overs], "and"), _joined([is_there, under], "and")


def _compared(key: str, name: str, bound: Any, *, over: bool) -> str:  # noqa: ANN401  a number or a text
    operator = _OPERATORS[name]
    if kind_of(bound) == _NUMBER:
        return f'facts["{key}"] {operator} "{number_key(bound)}"'
    encoded = str(bound).encode()
    if len(encoded) >= _TEXT_BYTES:  # what lies beyond decides, and is not stored
        operator = operator[0] + ("=" if over else "")
    return f'facts["{key}"] {operator} "{_text_key(encoded)}"'


def _joined(parts: Iterable[str], word: str) -> str:
    parts = list(parts)
    return parts[0] if len(parts) == 1 else f"({f' {word} '.join(parts)})"


def _has_any(tokens: Sequence[str]) -> str:
    if not tokens:
        return _FALSE
    return f'json_contains_any(facts["is"], [{", ".join(f"{chr(34)}{token}{chr(34)}" for token in tokens)}])'


def _value_token(field: str, value: Scalar) -> str:
    kind = kind_of(value)
    written = number_key(value) if kind == _NUMBER else "" if value is None else str(value)  # type: ignore[arg-type]
    return _digest("value", field, str(kind), written)


def _exists_token(field: str) -> str:
    return _digest("exists", field)


def _range_token(field: str, kind: int) -> str:
    return _digest("range", field, str(kind))


def _range_keys(field: str, kind: int) -> tuple[str, str]:
    name = _digest("range", field)[:16]
    return (f"n_{name}", f"z_{name}") if kind == _NUMBER else (f"a_{name}", f"t_{name}")


def _text_key(encoded: bytes) -> str:
    return encoded[:_TEXT_BYTES].hex()


def _digest(*parts: str) -> str:
    joined = b"".join(b"%d:%s" % (len(part.encode()), part.encode()) for part in parts)
    return hashlib.sha256(joined).hexdigest()[:24]
