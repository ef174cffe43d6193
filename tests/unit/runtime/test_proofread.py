"""Proofreading by the proof-reader graph: words, spans, corrections, on graphs whose answers are known."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from runtime.encoder import Encoder, ImageFeatures
from runtime.engines.fake import PALETTE, fake_encoder
from runtime.engines.protocol import Arrays, Engine
from runtime.errors import GraphMissingError, TextError
from runtime.preprocess.text import Word, words
from runtime.proofread import proofread, proofread_many, suggest

Corrections = Mapping[str, Sequence[tuple[str, float]]]


class ScriptedReader:
    """A proof-reader that says what it was told of each piece of the vocabulary, and counts its calls."""

    provider = "script"

    def __init__(self, encoder: Encoder, errors: Mapping[str, float], corrections: Corrections) -> None:
        vocabulary = encoder.text_transform.tokenizer.get_vocab()
        self.errors = {vocabulary[piece]: logit for piece, logit in errors.items()}
        self.corrections = {
            vocabulary[piece]: [(vocabulary[other], p) for other, p in others] for piece, others in corrections.items()
        }
        self.rows: list[int] = []
        self.colours: list[str] = []  # of the first text of each call
        self._colour_of = {vocabulary[colour]: colour for colour in PALETTE}

    def run(self, inputs: Arrays, outputs: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        ids = inputs["ids"]
        self.rows.append(len(ids))
        self.colours.append(" ".join(self._colour_of[one] for one in ids[0].tolist() if one in self._colour_of))
        assert inputs["image_levels"].shape[0] == inputs["image_summary"].shape[0] == len(ids)
        word_error = np.vectorize(lambda one: self.errors.get(int(one), -9.0), otypes=[np.float32])(ids)
        correction_ids = np.zeros((*ids.shape, 16), np.int64)
        scores = np.full(correction_ids.shape, -30.0, np.float32)
        for at in np.ndindex(*ids.shape):
            for rank, (other, p) in enumerate(self.corrections.get(int(ids[at]), ())):
                correction_ids[(*at, rank)], scores[(*at, rank)] = other, np.log(p)
        return {"word_error": word_error, "correction_ids": correction_ids, "correction_scores": scores}


def scripted(
    errors: Mapping[str, float], corrections: Corrections, *, lexicon: Sequence[str] = ()
) -> tuple[Encoder, ScriptedReader]:
    encoder = fake_encoder(proof_reader=True)
    reader = ScriptedReader(encoder, errors, corrections)
    engines: dict[str, Engine] = {**encoder.engines, "proof_reader": reader}
    return Encoder(encoder.manifest, encoder.text_transform, engines, lexicon=lexicon), reader


def seen(encoder: Encoder, *colours: str) -> ImageFeatures:
    image = Image.new("RGB", (64, 64), "white")
    for at, colour in enumerate(colours):
        image.paste(PALETTE[colour], (32 * (at % 2), 32 * (at // 2), 32 * (at % 2) + 32, 32 * (at // 2) + 32))
    return encoder.embed_images([image], to_proofread=True)


def test_the_proof_reader_comes_before_the_other_ways() -> None:
    encoder = fake_encoder(proof_reader=True)
    proof = proofread(encoder, seen(encoder, "red", "blue"), "A Green square, above the blue star!")
    assert proof.method == "word_errors"
    assert [word.word for word in proof.words if word.is_error] == ["Green"]
    assert {suggestion.word for suggestion in proof.words[1].suggestions[:2]} == {"red", "blue"}
    assert proof.corrected_text in ("A Red square, above the blue star!", "A Blue square, above the blue star!")


def test_many_captions_are_one_pass_and_say_what_each_says_alone() -> None:
    encoder = fake_encoder(proof_reader=True)
    image = seen(encoder, "red", "red", "blue")
    texts = ["a red star", "a green circle", "a purple and a yellow square of blue", "blue"] * 3
    together = proofread_many(encoder, image, texts)
    assert together == [proofread(encoder, image, text) for text in texts]
    encoder, reader = scripted({"green": 5.0}, {"green": [("red", 0.9)]})
    proofread_many(encoder, seen(encoder, "red"), ["a red star", "a green star"])
    assert reader.rows == [2], "one pass, and none again where the only error is put right"


def test_no_text_no_answer_and_an_empty_one_is_refused() -> None:
    encoder = fake_encoder(proof_reader=True)
    assert proofread_many(encoder, seen(encoder, "red"), []) == []
    with pytest.raises(TextError):
        proofread_many(encoder, seen(encoder, "red"), ["red", " "])


def test_a_word_is_as_wrong_as_its_worst_subword() -> None:
    encoder, _ = scripted({"##d": 3.0}, {})
    (word,) = proofread(encoder, seen(encoder, "red"), "qd").words  # "q", "##d"
    assert word.error_probability == pytest.approx(1 / (1 + np.exp(-(3.0 - 2.0))))


def test_several_errors_go_worst_first_and_each_is_looked_at_again() -> None:
    errors = {"green": 4.0, "purple": 6.0, "yellow": 5.0}
    corrections = {"purple": [("red", 0.3)], "yellow": [("orange", 0.9)], "green": [("blue", 0.9)]}
    encoder, reader = scripted(errors, corrections)
    proof = proofread(encoder, seen(encoder, "red"), "green, PURPLE; Yellow.")
    assert proof.corrected_text == "blue, RED; Orange."
    assert reader.colours == ["green purple yellow", "green red yellow", "green red orange"]


def test_only_words_that_were_called_errors_are_replaced() -> None:
    encoder, _ = scripted({"green": 5.0, "red": 5.0}, {"green": [("red", 0.9)], "red": [("green", 0.9)]})
    proof = proofread(encoder, seen(encoder, "red"), "a green star")
    assert proof.corrected_text == "a red star", "red is wrong too, but was not there"


def test_more_errors_than_are_corrected() -> None:
    encoder, _ = scripted({"green": 5.0}, {"green": [("red", 0.9)]})
    proof = proofread(encoder, seen(encoder, "red"), "green green green green green")
    assert proof.corrected_text == "red red red green green"


def test_corrections_are_other_whole_words_with_probabilities_among_those() -> None:
    corrections = {"green": [("green", 0.5), ("the", 0.1), ("##s", 0.1), ("[SEP]", 0.05), ("red", 0.1), ("blue", 0.05)]}
    encoder, _ = scripted({"green": 5.0}, corrections)
    found = suggest(encoder, seen(encoder, "red"), "Green", Word("Green", 0, 5), num_suggestions=9)
    assert [one.word for one in found] == ["red", "blue"]
    # of the mass that is left once the word itself, articles and pieces are out: a quarter
    assert [one.probability for one in found] == pytest.approx([0.1 / 0.25, 0.05 / 0.25], abs=1e-6)


@pytest.mark.parametrize("written", ["GREEN", "Gréen", "gree\u0301n"])
def test_the_same_word_in_another_form_is_no_correction(written: str) -> None:
    encoder, _ = scripted({"green": 5.0}, {"green": [("green", 0.9), ("red", 0.05)]})
    found = suggest(encoder, seen(encoder, "red"), written, words(written)[0], num_suggestions=5)
    assert [one.word for one in found] == ["red"]


def test_a_piece_of_a_word_is_put_in_place_where_the_lexicon_knows_the_word() -> None:
    encoder, _ = scripted({"q": 5.0}, {"q": [("red", 0.6), ("b", 0.3)]}, lexicon=("bd",))
    found = suggest(encoder, seen(encoder, "red"), "Qd", Word("Qd", 0, 2), num_suggestions=5)
    assert [one.word for one in found] == ["red", "bd"], "alone it replaces the word; with the rest it is one"
    encoder, _ = scripted({"##d": 5.0}, {"##d": [("##s", 0.6), ("##t", 0.3), ("red", 0.1)]}, lexicon=("qt",))
    found = suggest(encoder, seen(encoder, "red"), "qd", Word("qd", 0, 2), num_suggestions=5)
    assert [one.word for one in found] == ["qt"]


def test_a_part_between_hyphens_is_replaced_alone() -> None:
    encoder, _ = scripted({"green": 5.0}, {"green": [("red", 0.9)]})
    text = "a Blue-green star"
    proof = proofread(encoder, seen(encoder, "red"), text)
    assert [word.word for word in proof.words if word.is_error] == ["Blue-green"]
    assert proof.corrected_text == "a Blue-red star"


def test_a_bundle_without_the_graph_and_a_picture_without_its_levels() -> None:
    encoder = fake_encoder(proof_reader=True)
    plain = encoder.embed_images([Image.new("RGB", (32, 32), "red")])
    assert plain.levels is None
    assert plain.summary is None
    with pytest.raises(ValueError, match="to_proofread"):
        proofread(encoder, plain, "red")
    dual = fake_encoder(fusion=False)
    with pytest.raises(GraphMissingError, match="proof_reader"):
        dual.read_words(dual.text_transform.encode(["red"]), seen(dual, "red"))


TEXTS = st.text(
    alphabet=st.one_of(st.characters(codec="utf-8"), st.sampled_from(" ,.-'’\u0301\u200d red green ГЖ 字 ß İ ﬁ 🐶")),
    max_size=60,
).filter(lambda text: bool(text.strip()))


@settings(deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=3), st.sampled_from(["green", "[UNK]", "##s", "b"]))
def test_spans_are_exact_and_the_rest_of_the_text_survives(texts: list[str], piece: str) -> None:
    texts = [f"{text} green {text}" for text in texts]
    encoder, _ = scripted({piece: 5.0, "green": 4.0}, {"green": [("red", 0.9)], piece: [("red", 0.9), ("##t", 0.1)]})
    for text, proof in zip(texts, proofread_many(encoder, seen(encoder, "red"), texts), strict=True):
        assert [(word.word, word.start, word.end) for word in proof.words] == [
            (word.text, word.start, word.end) for word in words(text)
        ]
        assert all(text[word.start : word.end] == word.word for word in proof.words)
        assert all(word.is_error or not word.suggestions for word in proof.words)
        assert _between(text, text) == _between(proof.corrected_text, proof.corrected_text)
        kept = [word for word in proof.words if not word.is_error]
        assert all(word.word in proof.corrected_text for word in kept)


def _between(text: str, of: str) -> str:
    """What stands between the words."""
    gaps, at = [], 0
    for word in words(of):
        gaps.append(text[at : word.start])
        at = word.end
    return "\0".join([*gaps, text[at:]])
