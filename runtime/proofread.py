"""Proofreading: which words of captions disagree with a picture, and what they should have been.

How words are judged is `runtime.word_judges`; here raw scores become probabilities and errors, and errors are put
right. `word_errors` judges all words of all captions in one pass; the other ways take a pass for each word.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from runtime.encoder import Encoder, ImageFeatures
from runtime.preprocess.text import Word, words
from runtime.word_judges import Caption, Judged, Method, Suggestion, caption_of, judge, judge_by_pictures, method_of

__all__ = ["Proof", "ProofWord", "Suggestion", "judge_words", "proofread", "proofread_many", "suggest"]

_MOST_CORRECTIONS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofWord:
    """One word of the text as sent, `text[start:end]`."""

    word: str
    start: int
    end: int
    error_probability: float
    is_error: bool
    suggestions: tuple[Suggestion, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What was found in one text.

    Attributes:
        words: every word of the text, in order.
        corrected_text: the text with its errors replaced one at a time, the worst first, at most three; only words
            that are called errors are touched, and punctuation and casing are kept.
        match: calibrated probability that the text is true of the picture.
        error_probability: that something in the text as sent is wrong, by its worst word and its match; None where the
            bundle's calibration does not say (see `runtime.bundle.CaptionErrorFit`).
        method: `word_errors`, `masked_words` or `leave_one_out`.
    """

    words: tuple[ProofWord, ...]
    corrected_text: str
    match: float
    error_probability: float | None
    method: Method


def proofread(
    encoder: Encoder, image: ImageFeatures, text: str, *, num_suggestions: int = 3, threshold: float | None = None
) -> Proof:
    """Judge every word of a text against one picture; see `proofread_many`."""
    (proof,) = proofread_many(encoder, image, [text], num_suggestions=num_suggestions, threshold=threshold)
    return proof


def proofread_many(
    encoder: Encoder,
    image: ImageFeatures,
    texts: Sequence[str],
    *,
    num_suggestions: int = 3,
    threshold: float | None = None,
) -> list[Proof]:
    """Judge every word of some texts against one picture.

    Args:
        encoder: the bundle.
        image: features of exactly one picture, embedded with `to_proofread`.
        texts: the captions.
        num_suggestions: most suggestions per word that is called an error; with none, nothing is corrected.
        threshold: probability from which a word is an error; the bundle's own operating point when None.

    Raises:
        TextError: a text is empty or far too long.
        ValueError: the bundle has a proof-reader and the picture was not embedded for it.
        EngineError: the engine failed.
    """
    if not texts:
        return []
    calibration = encoder.manifest.calibration
    limit = calibration.word_error_threshold if threshold is None else threshold
    matches = [float(raw) for raw in encoder.match_scores(encoder.embed_texts(texts), image)]
    captions = [caption_of(text) for text in texts]
    found = judge(encoder, image, captions)
    judged = [
        _proof_words(encoder, caption, one, num_suggestions=num_suggestions, limit=limit)
        for caption, one in zip(captions, found, strict=True)
    ]
    drafts = [_Draft(text, words_of) for text, words_of in zip(texts, judged, strict=True)]
    _correct(encoder, image, drafts, num_suggestions, limit)
    method = method_of(encoder)
    return [
        Proof(
            words=tuple(words_of),
            corrected_text=draft.text,
            match=calibration.match.probability(match),
            error_probability=_error_probability(encoder, one, match),
            method=method,
        )
        for words_of, one, draft, match in zip(judged, found, drafts, matches, strict=True)
    ]


def _error_probability(encoder: Encoder, judged: Judged, match: float) -> float | None:
    fit = encoder.manifest.calibration.caption_error
    if fit is None:
        return None
    worst = max(judged.raw, default=-math.inf)
    return fit.probability(word=worst, match=match) if math.isfinite(worst) else 0.0


def judge_words(encoder: Encoder, images: ImageFeatures, text: str) -> list[tuple[ProofWord, ...]]:
    """Judge every word of one text by each of some pictures, all at once and without suggestions.

    Args:
        encoder: the bundle.
        images: features of the pictures, embedded with `to_proofread`.
        text: the caption.

    Returns:
        For each picture, the words of the text in order.

    Raises:
        TextError: the text is empty or far too long.
        ValueError: the bundle has a proof-reader and the pictures were not embedded for it.
        EngineError: the engine failed.
    """
    caption = caption_of(text)
    limit = encoder.manifest.calibration.word_error_threshold
    return [
        tuple(_proof_words(encoder, caption, judged, num_suggestions=0, limit=limit))
        for judged in judge_by_pictures(encoder, images, caption)
    ]


def suggest(
    encoder: Encoder, image: ImageFeatures, text: str, word: Word, *, num_suggestions: int = 1
) -> tuple[Suggestion, ...]:
    """Say what one word of a text should have been, whether or not it would be called an error.

    Args:
        encoder: the bundle.
        image: features of exactly one picture, embedded with `to_proofread`.
        text: the caption.
        word: one of its `words`.
        num_suggestions: most suggestions.

    Raises:
        TextError: the text is empty or far too long.
    """
    (judged,) = judge(encoder, image, [Caption(text=text, candidates=[word])])
    return tuple(judged.suggest(0, num_suggestions))


def _judge(
    encoder: Encoder, image: ImageFeatures, texts: Sequence[str], num_suggestions: int, limit: float
) -> list[list[ProofWord]]:
    captions = [caption_of(text) for text in texts]
    return [
        _proof_words(encoder, caption, judged, num_suggestions=num_suggestions, limit=limit)
        for caption, judged in zip(captions, judge(encoder, image, captions), strict=True)
    ]


def _proof_words(
    encoder: Encoder, caption: Caption, judged: Judged, *, num_suggestions: int, limit: float
) -> list[ProofWord]:
    logistic = encoder.manifest.calibration.word_error
    row_of = {word.start: row for row, word in enumerate(caption.candidates)}
    proof = []
    for word in words(caption.text):
        row = row_of.get(word.start)
        probability = 0.0 if row is None else logistic.probability(judged.raw[row])
        is_error = row is not None and probability >= limit
        given = judged.suggest(row, num_suggestions) if is_error and row is not None and num_suggestions else ()
        proof.append(
            ProofWord(
                word=word.text,
                start=word.start,
                end=word.end,
                error_probability=probability,
                is_error=is_error,
                suggestions=tuple(given),
            )
        )
    return proof


class _Draft:
    """A text on its way to being right."""

    def __init__(self, text: str, judged: Sequence[ProofWord]) -> None:
        self.text = text
        self.judged = judged
        self._open = {word.start for word in judged if word.is_error and word.suggestions}

    @property
    def is_open(self) -> bool:
        """Whether a word that was called an error at first has not been replaced."""
        return bool(self._open)

    def replace_worst(self, method: Method) -> bool:
        """Replace the worst of the open words that are still errors; say whether there was one."""
        wrong = [word for word in self.judged if word.start in self._open and word.is_error and word.suggestions]
        if not wrong:
            self._open.clear()
            return False
        worst = max(wrong, key=lambda word: _badness(word, method))
        replacement = _cased_like(worst.word, worst.suggestions[0].word)
        self.text = self.text[: worst.start] + replacement + self.text[worst.end :]
        shift = len(replacement) - len(worst.word)
        self._open = {at + shift if at > worst.start else at for at in self._open - {worst.start}}
        return True


def _correct(
    encoder: Encoder, image: ImageFeatures, drafts: Sequence[_Draft], num_suggestions: int, limit: float
) -> None:
    """Replace the worst word of each text, judge again what others are still open, and so on."""
    method = method_of(encoder)
    for _ in range(_MOST_CORRECTIONS):
        changed = [draft for draft in drafts if draft.is_open and draft.replace_worst(method)]
        again = [draft for draft in changed if draft.is_open]
        if not again:
            return
        judged = _judge(encoder, image, [draft.text for draft in again], num_suggestions, limit)
        for draft, found in zip(again, judged, strict=True):
            draft.judged = found


def _badness(word: ProofWord, method: Method) -> float:
    """How soon an error is put right.

    Where being wrong is told from what would be right, two words may be wrong only together ("black mug" for a pink
    one): the surer correction goes first.
    """
    if method == "word_errors":
        return word.error_probability
    return word.error_probability * word.suggestions[0].probability


def _cased_like(original: str, word: str) -> str:
    if len(original) > 1 and original.isupper():
        return word.upper()
    return word[:1].upper() + word[1:] if original[:1].isupper() else word
