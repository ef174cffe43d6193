"""Words and subwords have exact spans in any script."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.engines.fake import fake_encoder
from runtime.errors import TextError
from runtime.phrases import noun_phrases
from runtime.preprocess.text import Word, subwords_of, words

transform = fake_encoder().text_transform


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A red, star.", ["A", "red", "star"]),
        ("it's a well-known (dog)", ["it's", "a", "well-known", "dog"]),
        ("rock 'n' roll - end-", ["rock", "n", "roll", "end"]),
        ("Ein großer Hund läuft", ["Ein", "großer", "Hund", "läuft"]),
        ("naïve cafe\u0301", ["naïve", "cafe\u0301"]),
        ("लाल तारा", ["लाल", "तारा"]),
        ("два кота!", ["два", "кота"]),
        ("🐶 dog 2 dogs", ["dog", "2", "dogs"]),
        ("…", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert [word.text for word in words(text)] == expected


@given(st.text(max_size=80))
def test_spans_are_exact_and_in_order(text: str) -> None:
    found = words(text)
    assert all(text[word.start : word.end] == word.text for word in found)
    assert all(a.end <= b.start for a, b in pairwise(found))
    covered = {at for word in found for at in range(word.start, word.end)}
    assert all(at in covered for at, character in enumerate(text) if character.isalnum())


@given(st.text(max_size=80))
def test_phrases_have_exact_spans(text: str) -> None:
    for phrase in noun_phrases(text):
        assert text[phrase.start : phrase.end] == phrase.text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a small red star left of a big blue circle", ["small red star", "big blue circle"]),
        ("A black dog running through the tall grass, near two people", ["black dog", "tall grass", "two people"]),
        ("running water", ["running water"]),
        ("red star, blue star", ["red star", "blue star"]),
        ("There is one.", ["one"]),
        ("of the", []),
    ],
)
def test_noun_phrases(text: str, expected: list[str]) -> None:
    assert [phrase.text for phrase in noun_phrases(text)] == expected


def test_batch_is_padded_to_its_longest() -> None:
    batch = transform.encode(["red", "a red star"])
    assert batch.ids.shape == (2, 5)
    assert batch.mask.tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert batch.ids[0, 3] == transform.pad_id
    assert batch.ids.dtype == batch.mask.dtype == np.int64


def test_a_text_alone_is_what_it_is_in_a_batch() -> None:
    texts = ["a red star", "two dogs", "a large brown disc left of a mug"]
    together = transform.encode(texts)
    for row, text in enumerate(texts):
        alone = transform.encode([text])
        length = alone.ids.shape[1]
        assert together.mask[row].sum() == length
        np.testing.assert_array_equal(alone.ids[0], together.ids[row, :length])
        np.testing.assert_array_equal(alone.offsets[0], together.offsets[row, :length])


def test_subwords_of_a_word() -> None:
    text = "a redstar left"  # not in the vocabulary: split into pieces
    batch = transform.encode([text])
    positions = subwords_of(Word("redstar", 2, 9), batch.offsets[0])
    assert len(positions) > 1
    pieces = "".join(text[slice(*batch.offsets[0, at])] for at in positions)
    assert pieces == "redstar"


@pytest.mark.parametrize("text", ["", "   ", "\n\t"])
def test_an_empty_text_is_refused(text: str) -> None:
    with pytest.raises(TextError) as caught:
        transform.encode(["red", text])
    assert caught.value.code == "text_empty"


def test_a_long_text_is_cut_and_a_huge_one_refused() -> None:
    assert transform.encode(["red " * 500]).ids.shape == (1, transform.max_subwords)
    with pytest.raises(TextError) as caught:
        transform.encode(["red " * 10_000])
    assert caught.value.code == "text_too_long"
