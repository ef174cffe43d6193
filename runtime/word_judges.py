"""Three ways to judge the words of captions against a picture; a bundle's calibration says which of them it takes.

Each gives a raw score for every candidate word, higher for what is more likely wrong, and a way to what should stand
there instead. Raw scores of different ways are not comparable: the bundle's calibration belongs to one of them.
"""

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from runtime.encoder import Encoder, ImageFeatures
from runtime.errors import BundleError, GraphMissingError
from runtime.phrases import DETERMINERS
from runtime.preprocess.spelling import CONTINUES
from runtime.preprocess.text import TextBatch, Word, subwords_of, words

Method = Literal["word_errors", "masked_words", "leave_one_out"]

_QUANTITIES = frozenset("no both all several many few".split())
UNJUDGED = (DETERMINERS - _QUANTITIES) | frozenset("and or is are was were be been being am there it of".split())
"""Articles, possessives, forms of "to be" and conjunctions say nothing of a picture: never called errors, never
suggested. How many there are is seen, so words for that are judged."""

_PAIRS_AT_ONCE = 256

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """A word that would fit better, with the probability that the model gives it."""

    word: str
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Caption:
    """A text and those of its words that are to be judged."""

    text: str
    candidates: Sequence[Word]


def caption_of(text: str) -> Caption:
    """A text with all of its words that say something of a picture."""
    return Caption(text=text, candidates=[word for word in words(text) if word.text.lower() not in UNJUDGED])


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What was found in one caption.

    Attributes:
        raw: of each candidate, how likely it is wrong; minus infinity where the model does not reach.
        suggest: (candidate, how many) -> the best other words for it.
    """

    raw: Sequence[float]
    suggest: Callable[[int, int], Sequence[Suggestion]]


def methods_of(encoder: Encoder) -> list[Method]:
    """Return the ways in which a bundle can judge words, the cheapest first; there is always one."""
    found: list[Method] = ["word_errors"] if encoder.has_proof_reader else []
    return [*found, "masked_words" if encoder.fusion_gives("suggestions") else "leave_one_out"]


def method_of(encoder: Encoder) -> Method:
    """Name the way in which a bundle judges words.

    What its calibration was fitted on, since that was the best on validation captions; else the first of `methods_of`.
    """
    allowed, fit = methods_of(encoder), encoder.manifest.calibration.word_error_fit
    return next((method for method in allowed if fit is not None and fit.method == method), allowed[0])


def judge(
    encoder: Encoder, image: ImageFeatures, captions: Sequence[Caption], *, method: Method | None = None
) -> list[Judged]:
    """Judge the candidates of some captions of one picture.

    Args:
        encoder: the bundle.
        image: features of exactly one picture, embedded with `to_proofread`.
        captions: what is judged.
        method: one of `methods_of`; the bundle's own when None.

    Raises:
        TextError: a text is empty or far too long.
        EngineError: the engine failed.
    """
    method = method or method_of(encoder)
    if method == "word_errors":
        return _word_errors(encoder, image, captions) if captions else []
    one = _masked_words if method == "masked_words" else _leave_one_out
    return [judged for caption in captions for judged in one(encoder, image, caption)]


def judge_by_pictures(encoder: Encoder, images: ImageFeatures, caption: Caption) -> list[Judged]:
    """Judge the candidates of one caption by each of some pictures, all of them in one batch.

    Raises:
        TextError: the text is empty or far too long.
        EngineError: the engine failed.
    """
    method = method_of(encoder)
    if method == "word_errors":
        return _word_errors(encoder, images, [caption] * len(images)) if len(images) else []
    return (_masked_words if method == "masked_words" else _leave_one_out)(encoder, images, caption)


def _word_errors(encoder: Encoder, images: ImageFeatures, captions: Sequence[Caption]) -> list[Judged]:
    """The proof-reader's heads: all words of all captions in one pass; every caption by its picture or all by one.

    A word is as wrong as its worst subword. Its corrections are those of that subword, put in its place.

    Paper: ViLEM (2023), section on error detection and correction.
    Differs from the paper: it judges subwords; here they are gathered to the words of the text as sent.
    """
    batch = encoder.text_transform.encode([caption.text for caption in captions])
    found = encoder.read_words(batch, images)
    return [
        _read(
            encoder,
            caption,
            offsets=batch.offsets[row],
            ids=batch.ids[row],
            error=found.word_error[row].astype(np.float64),
            correction_ids=found.correction_ids[row],
            correction_scores=found.correction_scores[row].astype(np.float64),
        )
        for row, caption in enumerate(captions)
    ]


def _read(
    encoder: Encoder,
    caption: Caption,
    *,
    offsets: NDArray[np.int64],
    ids: NDArray[np.int64],
    error: Floats,
    correction_ids: NDArray[np.int64],
    correction_scores: Floats,
) -> Judged:
    positions = [subwords_of(word, offsets) for word in caption.candidates]
    raw = [float(error[at].max()) if at else float("-inf") for at in positions]
    piece_of = encoder.text_transform.piece

    def suggest(row: int, count: int) -> list[Suggestion]:
        at = positions[row]
        if not at or count < 1:
            return []
        word = caption.candidates[row]
        pieces = encoder.text_transform.pieces(ids[at].tolist())
        spans = [(max(0, int(a) - word.start), int(b) - word.start) for a, b in offsets[at]]
        worst = int(np.argmax(error[at]))
        for place in dict.fromkeys((worst, 0)):
            others = _others(
                encoder,
                _Place(word=word.text, pieces=pieces, spans=spans, at=place),
                [piece_of(int(one)) for one in correction_ids[at[place]]],
                np.exp(correction_scores[at[place]]),
            )
            if others:
                return others[:count]
        return []

    return Judged(raw=raw, suggest=suggest)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """A subword within a word.

    Attributes:
        word: the word.
        pieces: its subwords as WordPiece would write them.
        spans: where each is in the word.
        at: which of them is meant.
    """

    word: str
    pieces: Sequence[str]
    spans: Sequence[tuple[int, int]]
    at: int

    @property
    def is_whole(self) -> bool:
        """Whether the subword is a word by itself or a part between hyphens, rather than a piece of one."""
        following = self.pieces[self.at + 1] if self.at + 1 < len(self.pieces) else ""
        return not self.continues and not following.startswith(CONTINUES)

    @property
    def continues(self) -> bool:
        return self.pieces[self.at].startswith(CONTINUES)

    def put(self, piece: str) -> str:
        """The word with another subword in this place."""
        start, end = self.spans[self.at]
        return self.word[:start] + piece.removeprefix(CONTINUES) + self.word[end:]


def _others(encoder: Encoder, place: _Place, pieces: Sequence[str], probabilities: Floats) -> list[Suggestion]:
    """Whole words that corrections of a subword make, best first, none of them the word itself.

    Their probabilities are the model's, given that it is a word and another one: what is excluded is taken out of the
    whole, and what lies beyond the corrections that the graph gives stays in it.
    """
    found: dict[str, float] = {}
    excluded = 0.0
    for piece, probability in zip(pieces, probabilities, strict=True):
        other = _word_with(encoder, place, piece)
        if other is None or same_word(other, place.word) or other.lower() in UNJUDGED:
            excluded += float(probability)
        else:
            found[other] = found.get(other, 0.0) + float(probability)
    rest = max(1.0 - excluded, sum(found.values()), 1e-12)
    ranked = sorted(found.items(), key=lambda entry: -entry[1])
    return [Suggestion(word=word, probability=min(1.0, probability / rest)) for word, probability in ranked]


def _word_with(encoder: Encoder, place: _Place, piece: str) -> str | None:
    """The word that a piece makes in a place; None where it makes none.

    In place of a piece of a longer word another one makes a word only if the bundle's lexicon knows it; at the word's
    beginning, a piece that is a word by itself replaces it all.
    """
    if not piece.removeprefix(CONTINUES).isalpha() or piece.startswith(CONTINUES) != place.continues:
        return None
    whole = place.put(piece)
    if place.is_whole or whole.lower() in encoder.known_words:
        return whole
    return piece if place.at == 0 and not place.continues else None


def same_word(a: str, b: str) -> bool:
    """Say whether two words differ in casing, accents or the way their characters are composed only."""
    return _plain(a) == _plain(b)


def _plain(word: str) -> str:
    spread = unicodedata.normalize("NFKD", word.casefold())
    return "".join(character for character in spread if not unicodedata.category(character).startswith("M"))


def _masked_words(encoder: Encoder, images: ImageFeatures, caption: Caption) -> list[Judged]:
    """The fusion graph's masked-word prediction by each picture; each word is masked in turn.

    The raw score is log p(best other word) - log p(the word), given the picture and the other words.

    Paper: ALBEF (2021), MLM; used as in SoftMask++ (2023) for word errors.
    """
    transform = encoder.text_transform
    mask_id = transform.mask_id
    if mask_id is None:
        raise BundleError(f"the tokenizer of bundle '{encoder.manifest.name}' has no [MASK]; export the bundle again.")
    candidates = caption.candidates
    batch = transform.encode([caption.text])
    positions = [subwords_of(word, batch.offsets[0]) for word in candidates]
    ids = np.repeat(batch.ids, max(1, len(candidates)), axis=0)
    for row, at in enumerate(positions):
        ids[row, at] = mask_id
    masked = TextBatch(
        ids=ids, mask=np.repeat(batch.mask, len(ids), axis=0), offsets=np.repeat(batch.offsets, len(ids), axis=0)
    )
    word_ids, vocabulary = transform.whole_words
    others = [
        np.asarray([word != own and word not in UNJUDGED for word in vocabulary])
        for own in (candidate.text.lower() for candidate in candidates)
    ]
    texts = encoder.embed_subwords(masked)
    found: list[Judged] = []
    # What is said of every word of the vocabulary in every place is large: some pictures at a time.
    at_once = max(1, _PAIRS_AT_ONCE // len(ids))
    for start in range(0, len(images), at_once):
        some = images[start : start + at_once]
        pairs = np.tile(np.arange(len(ids)), len(some)), np.repeat(np.arange(len(some)), len(ids))
        logits = encoder.fuse(texts[pairs[0]], some[pairs[1]], outputs=("suggestions",)).suggestions
        if logits is None:
            raise GraphMissingError(f"the fusion graph of bundle '{encoder.manifest.name}' gives no suggestions.")
        of_pictures = logits.reshape(len(some), len(ids), *logits.shape[1:])
        found += [_guessed(by_one, batch.ids[0], positions, word_ids, others, vocabulary) for by_one in of_pictures]
    return found


def _guessed(
    logits: NDArray[np.float32],
    ids: NDArray[np.int64],
    positions: Sequence[Sequence[int]],
    word_ids: NDArray[np.int64],
    others: Sequence[NDArray[np.bool_]],
    vocabulary: Sequence[str],
) -> Judged:
    """Judge words by what one picture makes guess in their place.

    Args:
        logits: [candidates, subwords, vocabulary].
        ids: [subwords] of the text.
        positions: of each candidate's subwords.
        word_ids: of the subwords that are words.
        others: of each candidate, which of those are other words that may be suggested.
        vocabulary: those words.
    """
    raw: list[float] = []
    guesses: list[Floats] = []
    for row, at in enumerate(positions):
        if not at:  # beyond the longest text that the model takes
            raw.append(float("-inf"))
            guesses.append(np.zeros(0))
            continue
        log_p = _log_softmax(logits[row, at].astype(np.float64))
        own = float(np.mean(log_p[np.arange(len(at)), ids[at]]))
        guessed = np.where(others[row], log_p[0, word_ids], -np.inf)
        raw.append(float(guessed.max()) - own)
        guesses.append(guessed)

    def suggest(row: int, count: int) -> list[Suggestion]:
        order = np.argsort(-guesses[row], kind="stable")[:count]
        return [Suggestion(word=vocabulary[i], probability=float(np.exp(guesses[row][i]))) for i in order]

    return Judged(raw=raw, suggest=suggest)


def _leave_one_out(encoder: Encoder, images: ImageFeatures, caption: Caption) -> list[Judged]:
    """Training-free on any dual encoder: how much the caption gains, by each picture, when a word is left out.

    The raw score is the rise of its similarity to the picture, in units of the training temperature. Suggestions are
    tried from the bundle's lexicon, one text pass for all of them.
    """
    temperature = encoder.manifest.temperature
    text, candidates = caption.text, caption.candidates

    def similarity(texts: Sequence[str], pictures: NDArray[np.float32]) -> Floats:
        return np.asarray(encoder.embed_texts(texts).embedding @ pictures.T, np.float64) / temperature

    shorter = [" ".join((text[: word.start] + text[word.end :]).split()) for word in candidates]
    scores = similarity([text, *(short if words(short) else text for short in shorter)], images.embedding)

    def suggest(picture: int, row: int, count: int) -> list[Suggestion]:
        word = candidates[row]
        others = [other for other in encoder.lexicon if other != word.text.lower()]
        if not others:
            return []
        changed = (text[: word.start] + other + text[word.end :] for other in others)
        tried = similarity([text, *changed], images.embedding[[picture]])
        probabilities = np.exp(_log_softmax(tried.T)[0])[1:]
        best = np.argsort(-probabilities, kind="stable")[:count]
        return [Suggestion(word=others[i], probability=float(probabilities[i])) for i in best]

    return [
        Judged(raw=(scores[1:, at] - scores[0, at]).tolist(), suggest=partial(suggest, at)) for at in range(len(images))
    ]


def _log_softmax(logits: Floats) -> Floats:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))
