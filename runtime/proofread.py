"""Proofreading: which words of a caption disagree with a picture, and what they should have been.

Two methods, the first that the bundle allows:

- `masked_words`: the fusion graph's masked-word prediction. Each word is masked in turn; its raw score is
  log p(best other word) - log p(the word), given the picture and the other words. Paper: ALBEF (2021), MLM; used as in
  SoftMask++ (2023) for word errors.
- `leave_one_out`: training-free on any dual encoder. A word's raw score is how much the caption's similarity to the
  picture rises when the word is left out, in units of the training temperature. Suggestions are tried from the bundle's
  lexicon, one text pass for all of them.

Articles, forms of "to be" and conjunctions say nothing of a picture; they are never called errors.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.encoder import Encoder, ImageFeatures
from runtime.errors import BundleError, GraphMissingError
from runtime.phrases import DETERMINERS
from runtime.preprocess.text import TextBatch, Word, subwords_of, words

_UNJUDGED = DETERMINERS | frozenset("and or is are was were be been being am there it of".split())
_MOST_CORRECTIONS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """A word that would fit better, with the probability that the model gives it."""

    word: str
    probability: float


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
        corrected_text: the text with its errors replaced one at a time, the surest correction first; punctuation and
            casing are kept.
        match: calibrated probability that the text is true of the picture.
        method: `masked_words` or `leave_one_out`.
    """

    words: tuple[ProofWord, ...]
    corrected_text: str
    match: float
    method: str


_Suggest = Callable[[int, int], Sequence[Suggestion]]
"""(candidate, how many) -> the best other words for it."""


def proofread(
    encoder: Encoder, image: ImageFeatures, text: str, *, num_suggestions: int = 3, threshold: float | None = None
) -> Proof:
    """Judge every word of a text against one picture.

    Args:
        encoder: the bundle.
        image: features of exactly one picture.
        text: the caption.
        num_suggestions: most suggestions per word that is called an error.
        threshold: probability from which a word is an error; the bundle's own operating point when None.

    Raises:
        TextError: the text is empty or far too long.
    """
    limit = encoder.manifest.calibration.word_error_threshold if threshold is None else threshold
    judged, match, method = _judge(encoder, image, text, num_suggestions, limit)
    corrected, current = text, judged
    tried: set[int] = set()
    for _ in range(_MOST_CORRECTIONS):
        wrong = [w for w in current if w.is_error and w.suggestions and w.start not in tried]
        if not wrong:
            break
        # Two words may be wrong only together ("black mug" for a pink one): the surer correction goes first.
        worst = max(wrong, key=lambda w: w.error_probability * w.suggestions[0].probability)
        replacement = _cased_like(worst.word, worst.suggestions[0].word)
        corrected = corrected[: worst.start] + replacement + corrected[worst.end :]
        shift = len(replacement) - len(worst.word)
        tried = {start + shift if start > worst.start else start for start in tried} | {worst.start}
        current, _, _ = _judge(encoder, image, corrected, max(1, num_suggestions), limit)
    return Proof(words=tuple(judged), corrected_text=corrected, match=match, method=method)


def suggest(
    encoder: Encoder, image: ImageFeatures, text: str, word: Word, *, num_suggestions: int = 1
) -> tuple[Suggestion, ...]:
    """Say what one word of a text should have been, whether or not it would be called an error.

    Args:
        encoder: the bundle.
        image: features of exactly one picture.
        text: the caption.
        word: one of its `words`.
        num_suggestions: most suggestions.

    Raises:
        TextError: the text is empty or far too long.
    """
    judge = _masked_words if encoder.fusion_gives("suggestions") else _leave_one_out
    _, suggestions_for = judge(encoder, image, text, [word])
    return tuple(suggestions_for(0, num_suggestions))


def _judge(
    encoder: Encoder, image: ImageFeatures, text: str, num_suggestions: int, limit: float
) -> tuple[list[ProofWord], float, str]:
    texts = encoder.embed_texts([text])
    match = float(encoder.score_pairs(texts, image)[0])
    listed = words(text)
    candidates = [at for at, word in enumerate(listed) if word.text.lower() not in _UNJUDGED]
    method = "masked_words" if encoder.fusion_gives("suggestions") else "leave_one_out"
    judge = _masked_words if method == "masked_words" else _leave_one_out
    raw, suggest = judge(encoder, image, text, [listed[at] for at in candidates])
    logistic = encoder.manifest.calibration.word_error
    probabilities = dict(zip(candidates, (logistic.probability(score) for score in raw), strict=True))
    proofs = []
    for at, word in enumerate(listed):
        probability = probabilities.get(at, 0.0)
        is_error = at in probabilities and probability >= limit
        found = suggest(candidates.index(at), num_suggestions) if is_error and num_suggestions else ()
        proofs.append(
            ProofWord(
                word=word.text,
                start=word.start,
                end=word.end,
                error_probability=probability,
                is_error=is_error,
                suggestions=tuple(found),
            )
        )
    return proofs, match, method


def _masked_words(
    encoder: Encoder, image: ImageFeatures, text: str, candidates: Sequence[Word]
) -> tuple[list[float], _Suggest]:
    transform = encoder.text_transform
    mask_id = transform.mask_id
    if mask_id is None:
        raise BundleError(f"the tokenizer of bundle '{encoder.manifest.name}' has no [MASK]; export the bundle again.")
    batch = transform.encode([text])
    positions = [subwords_of(word, batch.offsets[0]) for word in candidates]
    ids = np.repeat(batch.ids, max(1, len(candidates)), axis=0)
    for row, at in enumerate(positions):
        ids[row, at] = mask_id
    masked = TextBatch(
        ids=ids, mask=np.repeat(batch.mask, len(ids), axis=0), offsets=np.repeat(batch.offsets, len(ids), axis=0)
    )
    logits = encoder.fuse(encoder.embed_subwords(masked), image, outputs=("suggestions",)).suggestions
    if logits is None:
        raise GraphMissingError(f"the fusion graph of bundle '{encoder.manifest.name}' gives no suggestions.")
    word_ids, vocabulary = transform.whole_words

    raw: list[float] = []
    ranked: list[tuple[NDArray[np.float64], NDArray[np.intp]]] = []
    for row, at in enumerate(positions):
        if not at:  # beyond the longest text that the model takes
            raw.append(float("-inf"))
            ranked.append((np.zeros(0), np.zeros(0, np.intp)))
            continue
        log_p = _log_softmax(logits[row, at].astype(np.float64))
        own = float(np.mean(log_p[np.arange(len(at)), batch.ids[0, at]]))
        others = log_p[0, word_ids]
        own_word = candidates[row].text.lower()
        others[[word == own_word or word in _UNJUDGED for word in vocabulary]] = -np.inf
        raw.append(float(others.max()) - own)
        ranked.append((others, np.argsort(-others, kind="stable")))

    def suggest(row: int, count: int) -> list[Suggestion]:
        others, order = ranked[row]
        return [Suggestion(word=vocabulary[i], probability=float(np.exp(others[i]))) for i in order[:count]]

    return raw, suggest


def _leave_one_out(
    encoder: Encoder, image: ImageFeatures, text: str, candidates: Sequence[Word]
) -> tuple[list[float], _Suggest]:
    temperature = encoder.manifest.temperature

    def similarity(texts: Sequence[str]) -> NDArray[np.float64]:
        return np.asarray(encoder.embed_texts(texts).embedding @ image.embedding[0], np.float64) / temperature

    shorter = [" ".join((text[: word.start] + text[word.end :]).split()) for word in candidates]
    scores = similarity([text, *(short if words(short) else text for short in shorter)])
    raw = [float(score - scores[0]) for score in scores[1:]]

    def suggest(row: int, count: int) -> list[Suggestion]:
        word = candidates[row]
        others = [other for other in encoder.lexicon if other != word.text.lower()]
        if not others:
            return []
        tried = similarity([text, *(text[: word.start] + other + text[word.end :] for other in others)])
        probabilities = np.exp(_log_softmax(tried[None])[0])[1:]
        best = np.argsort(-probabilities, kind="stable")[:count]
        return [Suggestion(word=others[i], probability=float(probabilities[i])) for i in best]

    return raw, suggest


def _log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def _cased_like(original: str, word: str) -> str:
    if len(original) > 1 and original.isupper():
        return word.upper()
    return word.capitalize() if original[:1].isupper() else word
