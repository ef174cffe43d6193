"""Words and subwords have exact spans in any script."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import scenes
from runtime.engines.fake import fake_encoder
from runtime.errors import TextError
from runtime.phrases import noun_phrases
from runtime.preprocess.text import Word, subwords_of, words

CAPTION_WORDS = (
    "a the red big and , of on left top group picture dog boxes running dressed quickly 🐶 cafe\u0301 than".split()
)

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


@given(st.one_of(st.text(max_size=80), st.lists(st.sampled_from(CAPTION_WORDS), max_size=14).map(" ".join)))
def test_phrases_have_exact_spans_in_order(text: str) -> None:
    found = noun_phrases(text)
    assert all(text[phrase.start : phrase.end] == phrase.text for phrase in found)
    assert all(phrase.text.strip() == phrase.text != "" for phrase in found)
    assert all(a.end <= b.start for a, b in pairwise(found))


def test_phrases_of_drawn_captions_are_those_that_the_grammar_knows() -> None:
    right = known = found = 0
    for index in range(150):
        scene = scenes.generate(0, index, split="test", size_px=64)
        true = {(phrase.end - len(without_article(phrase.text)), phrase.end) for phrase in scene.phrases}
        given = {(phrase.start, phrase.end) for phrase in noun_phrases(scene.caption)}
        right, known, found = right + len(true & given), known + len(true), found + len(given)
    assert right / known > 0.97
    assert right / found > 0.95


def without_article(phrase: str) -> str:
    first, _, rest = phrase.partition(" ")
    return rest if first in ("a", "an", "the") else phrase


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a small red star left of a big blue circle", ["small red star", "big blue circle"]),
        ("A black dog running through the tall grass, near two people", ["black dog", "tall grass", "two people"]),
        ("running water", ["running water"]),
        ("red star, blue star", ["red star", "blue star"]),
        ("There is one.", ["one"]),
        ("of the", []),
        # adjectives joined
        ("A brown and white dog and a black cat", ["brown and white dog", "black cat"]),
        ("two big, heavy boxes", ["two big, heavy boxes"]),
        ("cat and dog", ["cat", "dog"]),
        ("red and blue", ["red", "blue"]),
        # compounds
        ("a man at a large dining table", ["man", "large dining table"]),
        ("a garden swimming pool", ["garden", "pool"]),
        ("A climber scales a steep rock face.", ["climber", "steep rock face"]),
        # "of"
        ("a group of people in white suits", ["group of people", "white suits"]),
        ("a bowl of hot soup", ["bowl of hot soup"]),
        ("the roof of a house", ["roof", "house"]),
        ("A picture of a red star", ["red star"]),
        # places
        ("the dog on the left of the house", ["dog", "house"]),
        ("a box on the top shelf", ["box", "top shelf"]),
        ("a man in front of a bus", ["man", "bus"]),
        ("an anchor within a ring, far from a key", ["anchor", "ring", "key"]),
        # what people are doing and wearing
        ("A man dressed in a white shirt, wearing gloves", ["man", "white shirt", "gloves"]),
        ("two parked cars", ["two parked cars"]),
        ("a boy takes a jump on his skateboard", ["boy", "jump", "skateboard"]),
        ("The man's hat", ["man's hat"]),
        # other languages are cut at punctuation alone
        ("ein roter Stern, zwei Hunde", ["ein roter Stern", "zwei Hunde"]),
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
