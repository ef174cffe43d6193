"""One pass over the pictures: everything that is asked of a picture is done while its patches are at hand.

Pictures are decoded and encoded once, some at a time, and shared among all the groups of an evaluation; what stays
after a picture's turn is its embedding and a few numbers. Text is encoded once for all the pictures of its turn.

A *blind* answer is the same question asked of another picture, the next one of the same turn; the order of the pictures
is shuffled by a fixed seed, so that neighbours in a file do not become partners.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from evaluation.edits import Span
from evaluation.grounding import Box, Point, hottest
from evaluation.pictures import open_picture
from evaluation.proofreading import JudgedWord
from runtime.encoder import Encoder, Floats, ImageFeatures, TextFeatures
from runtime.errors import DataError, GraphMissingError, ImageError
from runtime.grounding import ground, threshold_of
from runtime.preprocess.text import Word
from runtime.proofread import Proof, proofread_many, suggest

Progress = Callable[[int, int], None]
"""Called with (done, total)."""

_PICTURES_PER_TURN = 48
_TEXTS_PER_BATCH = 64
_PAIRS_PER_BATCH = 32
_MOST_SKIPPED_SHARE = 0.1
_ALWAYS_SKIPPED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How well a text fits a picture.

    Attributes:
        dual: cosine of the dual encoder.
        judge: raw score of the fusion graph; the cosine again where the bundle has none. Raw, because probabilities
            near 0 and 1 round to equal numbers, and a tie is a miss.
    """

    dual: float
    judge: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a phrase was found, in fractions of the picture.

    Attributes:
        box: the best box, however unsure; None where none was drawn.
        point: the hottest point.
        is_given: whether the box passes the bundle's threshold, so that a server gives it.
    """

    box: Box | None
    point: Point
    is_given: bool


@dataclass(slots=True)
class Questions:
    """What is asked of one picture; sets and dictionaries keep the order of asking and ask nothing twice.

    Attributes:
        scored: texts to score.
        scored_blind: texts to score with another picture.
        phrases: phrases to ground.
        mentions: captions, each with the spans in it whose place is wanted.
        proofs: texts to proofread, with the places of the words whose correction is wanted.
    """

    scored: dict[str, None] = field(default_factory=dict)
    scored_blind: dict[str, None] = field(default_factory=dict)
    phrases: dict[str, None] = field(default_factory=dict)
    mentions: dict[str, dict[Span, None]] = field(default_factory=dict)
    proofs: dict[str, set[Span]] = field(default_factory=dict)


@dataclass(slots=True)
class Answers:
    """What was found; keys are (picture, text). What could not be asked has no entry.

    Attributes:
        embeddings: of every picture that could be read, `[D]`.
        scores: of texts with their picture.
        blind_scores: of texts with another picture.
        places: of phrases.
        mentions: of spans of captions: the hottest point.
        proofs: words as judged with their picture.
        blind_proofs: words as judged with another picture.
        skipped: pictures that could not be read, with the reason.
        unavailable: questions that the bundle cannot answer, with the reason.
    """

    embeddings: dict[str, Floats] = field(default_factory=dict)
    scores: dict[tuple[str, str], Score] = field(default_factory=dict)
    blind_scores: dict[tuple[str, str], Score] = field(default_factory=dict)
    places: dict[tuple[str, str], Place] = field(default_factory=dict)
    mentions: dict[tuple[str, str, Span], Point] = field(default_factory=dict)
    proofs: dict[tuple[str, str], list[JudgedWord]] = field(default_factory=dict)
    blind_proofs: dict[tuple[str, str], list[JudgedWord]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    """Pictures that are at hand together, in the order of `features`."""

    names: list[str]
    features: ImageFeatures
    pixels: list[Floats]
    sizes: list[tuple[int, int]]

    def one(self, at: int) -> ImageFeatures:
        return self.features[[at]]

    def partner(self, at: int) -> int | None:
        """The picture that stands in for another in a blind question; None where there is only one."""
        return (at + 1) % len(self.names) if len(self.names) > 1 else None


def sweep(
    encoder: Encoder,
    images: Path,
    questions: dict[str, Questions],
    *,
    budget: int = 0,
    progress: Progress | None = None,
    seed: int = 0,
) -> Answers:
    """Ask everything of every picture.

    Args:
        encoder: the bundle.
        images: the folder that the pictures' names are relative to.
        questions: what to ask, by picture.
        budget: masked pictures that are looked at to ground in each picture, where the bundle is two encoders alone.
        progress: called with (pictures done, pictures).
        seed: of the order of the pictures.

    Raises:
        DataError: `too_many_broken_pictures`: more than a tenth of the pictures (and more than five), or all of
            them, cannot be read.
    """
    names = list(questions)
    np.random.default_rng(seed).shuffle(names)
    answers = Answers()
    done = 0
    for part in np.array_split(np.arange(len(names)), max(1, math.ceil(len(names) / _PICTURES_PER_TURN))):
        some = [names[at] for at in part]
        to_proofread = any(questions[name].proofs for name in some)
        turn = _take_turn(encoder, images, some, answers, to_proofread=to_proofread)
        _refuse_too_many_skipped(images, answers, of=len(names))
        if turn is not None:
            _answer(encoder, turn, questions, answers, budget=budget)
        done += len(part)
        if progress is not None:
            progress(done, len(names))
    if names and not answers.embeddings:
        raise _too_many_broken(images, answers, of=len(names))
    return answers


def _take_turn(
    encoder: Encoder, images: Path, names: Sequence[str], answers: Answers, *, to_proofread: bool
) -> _Turn | None:
    read, pixels, sizes = [], [], []
    for name in names:
        try:
            picture = open_picture(images, name)
        except OSError as error:
            answers.skipped[name] = error.strerror or str(error)
            continue
        except (ImageError, ValueError) as error:  # a ValueError comes from a name that no file can have
            answers.skipped[name] = str(error)
            continue
        read.append(name)
        sizes.append(picture.size)
        pixels.append(encoder.image_input(picture))
    if not read:
        return None
    features = encoder.embed_pixels(pixels, to_proofread=to_proofread)
    answers.embeddings.update(zip(read, features.embedding.copy(), strict=True))
    return _Turn(names=read, features=features, pixels=pixels, sizes=sizes)


def _refuse_too_many_skipped(images: Path, answers: Answers, *, of: int) -> None:
    if len(answers.skipped) > max(_ALWAYS_SKIPPED, _MOST_SKIPPED_SHARE * of):
        raise _too_many_broken(images, answers, of=of)


def _too_many_broken(images: Path, answers: Answers, *, of: int) -> DataError:
    shown = "; ".join(f"{name}: {reason}" for name, reason in list(answers.skipped.items())[:3])
    return DataError(
        f"{len(answers.skipped)} of {of} pictures in {images} cannot be read ({shown}); is this the right folder?",
        code="too_many_broken_pictures",
    )


def _answer(encoder: Encoder, turn: _Turn, questions: dict[str, Questions], answers: Answers, *, budget: int) -> None:
    asked = [questions[name] for name in turn.names]
    _score_all(encoder, turn, asked, answers)
    for at, (name, question) in enumerate(zip(turn.names, asked, strict=True)):
        _ground_all(encoder, turn, at, question.phrases, answers, budget=budget)
        _point_all(encoder, turn, at, question.mentions, answers)
        partner = turn.partner(at)
        for text, judged in _judge(encoder, turn.one(at), question.proofs).items():
            answers.proofs[name, text] = judged
        if partner is not None:
            for text, judged in _judge(encoder, turn.one(partner), question.proofs).items():
                answers.blind_proofs[name, text] = judged


def _score_all(encoder: Encoder, turn: _Turn, asked: Sequence[Questions], answers: Answers) -> None:
    wanted: dict[str, list[tuple[int, dict[tuple[str, str], Score], str]]] = {}
    for at, (name, question) in enumerate(zip(turn.names, asked, strict=True)):
        for text in question.scored:
            wanted.setdefault(text, []).append((at, answers.scores, name))
        partner = turn.partner(at)
        for text in question.scored_blind if partner is not None else ():
            assert partner is not None
            wanted.setdefault(text, []).append((partner, answers.blind_scores, name))
    for texts in _batches_of_like_length(wanted):
        features = encoder.embed_texts(texts)
        jobs = [(row, *job) for row, text in enumerate(texts) for job in wanted[text]]
        for start in range(0, len(jobs), _PAIRS_PER_BATCH):
            some = jobs[start : start + _PAIRS_PER_BATCH]
            rows, pictures = [job[0] for job in some], [job[1] for job in some]
            duals, judges = _score_pairs(encoder, features[rows], turn.features[pictures])
            for (row, _, found, name), dual, judge in zip(some, duals, judges, strict=True):
                found[name, texts[row]] = Score(dual=float(dual), judge=float(judge))


def _score_pairs(encoder: Encoder, texts: TextFeatures, images: ImageFeatures) -> tuple[Floats, Floats]:
    """Cosine and raw judge's score of text i with picture i, both `[pairs]`."""
    dual: Floats = np.einsum("pd,pd->p", texts.embedding, images.embedding)
    return dual, encoder.match_scores(texts, images) if encoder.has_fusion else dual


def _ground_all(
    encoder: Encoder, turn: _Turn, at: int, phrases: Iterable[str], answers: Answers, *, budget: int
) -> None:
    phrases = list(phrases)
    if not phrases or "grounding" in answers.unavailable:
        return
    try:
        found = ground(encoder, turn.one(at), phrases, pixels=turn.pixels[at], budget=budget, threshold=0.0)
    except GraphMissingError as error:
        answers.unavailable["grounding"] = str(error)
        return
    width_px, height_px = turn.sizes[at]
    transform = encoder.manifest.image.transform()

    def in_picture(box: Box) -> Box:
        return transform.box_in_picture(box, width_px=width_px, height_px=height_px)

    for phrase, grounding in zip(phrases, found, strict=True):
        x, y = hottest(grounding.heat)
        best = grounding.boxes[0] if grounding.boxes else None
        answers.places[turn.names[at], phrase] = Place(
            box=None if best is None else in_picture(best.box),
            point=in_picture((x, y, x, y))[:2],
            is_given=best is not None and best.score >= threshold_of(encoder.manifest, grounding.method),
        )


def _point_all(encoder: Encoder, turn: _Turn, at: int, mentions: dict[str, dict[Span, None]], answers: Answers) -> None:
    """Where the words of each span look, read within their captions: the attention of the fusion encoder."""
    if not mentions:
        return
    if not encoder.has_fusion:
        answers.unavailable["mentions"] = "the bundle has no fusion graph, whose attention would point"
        return
    width_px, height_px = turn.sizes[at]
    shape = encoder.manifest.image
    transform = shape.transform()
    texts = encoder.embed_texts(list(mentions))
    relevance = encoder.fuse(texts, turn.one(at), outputs=("relevance",)).relevance
    assert relevance is not None
    for row, (caption, spans) in enumerate(mentions.items()):
        offsets = texts.batch.offsets[row]
        for start, end in spans:
            inside = (offsets[:, 0] < end) & (offsets[:, 1] > start)
            if not inside.any():
                continue  # cut off with the end of a long caption
            heat = relevance[row][inside].mean(axis=0)
            x, y = hottest(heat.reshape(shape.patch_rows, shape.patch_columns))
            box = transform.box_in_picture((x, y, x, y), width_px=width_px, height_px=height_px)
            answers.mentions[turn.names[at], caption, (start, end)] = box[:2]


def _judge(encoder: Encoder, image: ImageFeatures, proofs: dict[str, set[Span]]) -> dict[str, list[JudgedWord]]:
    """Proofread texts of one picture."""
    found = proofread_many(encoder, image, list(proofs), num_suggestions=0)
    return {
        text: _judged_words(encoder, image, text, spans, proof)
        for (text, spans), proof in zip(proofs.items(), found, strict=True)
    }


def _judged_words(
    encoder: Encoder, image: ImageFeatures, text: str, spans: set[Span], proof: Proof
) -> list[JudgedWord]:
    judged = []
    for word in proof.words:
        suggestion = None
        if (word.start, word.end) in spans:
            given = suggest(encoder, image, text, Word(word.word, word.start, word.end))
            suggestion = given[0].word if given else None
        judged.append(
            JudgedWord(
                span=(word.start, word.end),
                error=word.error_probability,
                is_error=word.is_error,
                suggestion=suggestion,
            )
        )
    return judged


def embed_texts(encoder: Encoder, texts: Sequence[str], *, progress: Progress | None = None) -> Floats:
    """Embed texts, each distinct one once: `[texts, D]`.

    Args:
        encoder: the bundle.
        texts: what to embed.
        progress: called with (distinct texts done, distinct texts).
    """
    rows: dict[str, list[int]] = {}
    for row, text in enumerate(texts):
        rows.setdefault(text, []).append(row)
    found = np.empty((len(texts), encoder.dim), np.float32)
    done = 0
    for batch in _batches_of_like_length(rows):
        for text, embedding in zip(batch, encoder.embed_texts(batch).embedding, strict=True):
            found[rows[text]] = embedding
        done += len(batch)
        if progress is not None:
            progress(done, len(rows))
    return found


def _batches_of_like_length(texts: Iterable[str]) -> list[list[str]]:
    """Batches of texts of about equal length, so that little is padded."""
    by_length = sorted(texts, key=lambda text: (len(text), text))
    return [by_length[at : at + _TEXTS_PER_BATCH] for at in range(0, len(by_length), _TEXTS_PER_BATCH)]
