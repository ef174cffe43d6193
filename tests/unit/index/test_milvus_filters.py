"""What Milvus is given to compare orders as the values do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index import parse_filter
from index.milvus_filters import compiled, facts_of, number_key
from runtime.errors import GalleryError

NUMBERS = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.integers(-5, 5), st.floats(allow_nan=False, allow_infinity=False)
)


@given(NUMBERS, NUMBERS)
def test_number_keys_order_as_numbers_do(one: float, other: float) -> None:
    assert (one < other) == (number_key(one) < number_key(other))
    assert (one == other) == (number_key(one) == number_key(other))


def test_expressions_hold_nothing_that_was_sent() -> None:
    nasty = 'x" or pk != "'
    text = compiled(parse_filter({nasty: nasty, "t": {"gte": nasty}})).text
    assert nasty not in text
    assert text.isascii()


@pytest.mark.parametrize(
    ("condition", "is_exact"),
    [
        ({"n": 1}, True),
        ({"n": {"gte": 1}}, True),
        ({"n": {"gte": 1, "lt": 5}}, False),
        ({"not": {"n": {"gte": 1, "lt": 5}}}, False),
        ({"t": {"lt": "b" * 39}}, True),
        ({"t": {"lt": "b" * 40}}, False),
        ({"t": {"lt": "é" * 20}}, False),
        ({"n": {"gte": 1, "lt": "z"}}, True),
    ],
)
def test_what_is_exact(condition: dict, is_exact: bool) -> None:
    assert compiled(parse_filter(condition)).is_exact is is_exact


def test_too_many_values_are_refused() -> None:
    assert len(facts_of({"n": list(range(1_000))})["is"]) == 1_002
    with pytest.raises(GalleryError) as caught:
        facts_of({"n": list(range(5_000))})
    assert caught.value.code == "metadata_invalid"
