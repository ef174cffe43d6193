"""Calibration: raw scores become probabilities that can be believed, fitted on held-out samples.

Everything is measured as it will be served: by an `Encoder` over the exported graphs, whose calibration is still the
identity.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.ranking import BinaryRanking
from runtime.bundle import (
    Calibration,
    CaptionErrorFit,
    GroundingFit,
    Logistic,
    MatchFit,
    NeighboursFit,
    WordErrorFit,
    WordsTold,
)
from runtime.encoder import Encoder, TextFeatures
from runtime.grounding import DEFAULT_BUDGET, Method, ground, methods_of
from runtime.preprocess.text import TextBatch, words
from runtime.word_judges import Method as Judging
from runtime.word_judges import caption_of, judge
from runtime.word_judges import methods_of as ways_of_judging
from training.data.source import Box, Sample

Floats = NDArray[np.float64]

WRONG_WORDS = 0.02
"""Share of wrong words that error probabilities are for. What training shows the proof-reader, 15 %, is not what it
meets: captions that people keep are mostly right."""

FALSE_ALARMS = 0.02
"""Share of a right caption's judged words that may be called errors."""

WRONG_CAPTIONS = 0.05
"""Share of wrong captions that the error probabilities of whole captions are for."""

RIGHT_HITS = 0.1
"""Share of right pairs that match probabilities are for: one right picture among ten hits that are re-scored."""

FALSE_HITS = 0.1
"""Share of the queries that no picture satisfies which may be given a hit at `min_match`."""

_LOOKED_AT = 10  # hits of each query that are re-scored to set `min_match`
_NEIGHBOURS = 10  # pictures that differ from a query's own in one thing
_MOST_AMONG_NEIGHBOURS = 150  # queries: each has its neighbours drawn and embedded

ABSENT_GIVEN_A_BOX = 0.1
"""Share of phrases of what is not in the picture that may be given a box."""

_MOST_PROOFREAD = 150  # where every word costs a pass
_MOST_GROUNDED = 150
_LEAST_EACH = 10  # right and wrong examples without which nothing is fitted
_RIDGE = 1e-4
_ALIKE = 0.02  # of the phrases: fewer right boxes than that are no reason to take a dearer way
_TOLD_ALIKE = 0.02  # of average precision, likewise


def calibrate(
    encoder: Encoder, samples: Sequence[Sample], *, wrong_words: float = WRONG_WORDS, seed: int = 0
) -> Calibration:
    """Fit what the samples allow; what they do not (no boxes, too few) keeps the identity.

    Args:
        encoder: of a bundle whose calibration is the identity.
        samples: pairs that training has not seen.
        wrong_words: share of wrong words that error probabilities are for.
        seed: of the wrong partners and wrong words.
    """
    rng = np.random.default_rng(seed)
    edited = [sample.edited or replace_a_word(sample.caption, samples, rng) for sample in samples]
    raw, is_right = match_scores(encoder, samples, edited, rng)
    words_fitted = best_word_errors(encoder, samples, edited, wrong_words=wrong_words)
    word_error, scores = words_fitted or (None, None)
    count = len(samples)
    captions = scores and fit_caption_error(scores, right=raw[:count], wrong=raw[-count:])
    boxes = best_box_scores(encoder, [s for s in samples if s.phrases][:_MOST_GROUNDED])
    return Calibration(
        **(calibrate_match(encoder, samples, edited, raw, is_right) or {}),
        **(word_error or {}),
        caption_error=captions,
        **(fit_grounding(boxes) if boxes is not None else None) or {},
        fitted_on=f"{len(samples)} held-out pairs",
    )


def calibrate_match(
    encoder: Encoder, samples: Sequence[Sample], edited: Sequence[str], raw: Floats, is_right: NDArray[np.bool_]
) -> dict[str, Any] | None:
    """The fields of a `Calibration` that are about matches; None when the scores allow none.

    `min_match` is set among the other pictures of the samples. Where pictures can be redrawn, it is also said what that
    is worth among pictures that differ from what is sought in one thing, and which probability would be right there.

    Args:
        encoder: as in `calibrate`.
        samples: as in `calibrate`.
        edited: their captions with one word wrong.
        raw: match scores of pairs, as `match_scores` gives them.
        is_right: of the same pairs.
    """
    if not encoder.has_fusion:
        return fit_match(raw, is_right, None)
    chosen = [at for at, sample in enumerate(samples) if sample.redrawn][:_MOST_AMONG_NEIGHBOURS]
    neighbours = scores_among_neighbours(encoder, samples, chosen) if len(chosen) >= _LEAST_EACH else None
    return fit_match(raw, is_right, unanswerable_scores(encoder, samples, edited), neighbours)


def match_scores(
    encoder: Encoder, samples: Sequence[Sample], edited: Sequence[str], rng: np.random.Generator
) -> tuple[Floats, NDArray[np.bool_]]:
    """Raw match scores of pairs, and whether each is right.

    For every right pair there are as many wrong ones of three kinds: a random other picture, the most similar other
    picture, and the caption with one word wrong.
    """
    images = encoder.embed_images([sample.image for sample in samples])
    count = len(samples)
    texts = encoder.embed_texts([*(sample.caption for sample in samples), *edited])
    own, wrong = np.arange(count), np.arange(count, 2 * count)
    similarity = texts.embedding[:count] @ images.embedding.T
    np.fill_diagonal(similarity, -np.inf)
    shift = rng.integers(1, count, size=count) if count > 1 else np.zeros(count, np.int64)
    rows = np.concatenate([own, own, own, wrong])
    partners = np.concatenate([own, (own + shift) % count, similarity.argmax(axis=1), own])
    raw = np.asarray(encoder.match_scores(_take(texts, rows), images[partners]), np.float64)
    return raw, np.arange(len(raw)) < count


def unanswerable_scores(encoder: Encoder, samples: Sequence[Sample], edited: Sequence[str]) -> Floats:
    """The best raw match score that a query without a right picture reaches among its first hits: [2 * samples].

    Such queries are the captions with one word wrong, searched among all pictures, and the captions, searched among
    all pictures but their own.
    """
    count = len(samples)
    images = encoder.embed_images([sample.image for sample in samples])
    texts = encoder.embed_texts([*edited, *(sample.caption for sample in samples)])
    similarity = texts.embedding @ images.embedding.T
    similarity[count + np.arange(count), np.arange(count)] = -np.inf
    hits = np.argsort(-similarity, axis=1, kind="stable")[:, : min(_LOOKED_AT, count - 1)]
    best = [
        encoder.match_scores(_take(texts, np.full(len(found), row)), images[found]).max()
        for row, found in enumerate(hits)
    ]
    return np.asarray(best, np.float64)


def scores_among_neighbours(encoder: Encoder, samples: Sequence[Sample], chosen: Sequence[int]) -> Floats:
    """As `unanswerable_scores`, where hits differ from what is sought in one thing: [chosen].

    Queries are captions, searched among all pictures but their own and among `_NEIGHBOURS` redrawn ones. Random
    pictures are no test of a threshold that meets near-duplicates: what refuses nine queries in ten among the former
    lets three in ten pass among the latter (docs/experiments.md).

    Args:
        encoder: of the bundle.
        samples: pairs that training has not seen.
        chosen: numbers of samples that can be redrawn.
    """
    images = encoder.embed_images([sample.image for sample in samples])
    texts = encoder.embed_texts([samples[at].caption for at in chosen])
    best = []
    for row, own in enumerate(chosen):
        redraw = samples[own].redrawn
        assert redraw is not None
        neighbours = encoder.embed_images(redraw(_NEIGHBOURS))
        similarity = texts.embedding[row] @ np.concatenate([images.embedding, neighbours.embedding]).T
        similarity[own] = -np.inf
        hits = np.argsort(-similarity, kind="stable")[: min(_LOOKED_AT, len(similarity) - 1)]
        groups = (images[hits[hits < len(samples)]], neighbours[hits[hits >= len(samples)] - len(samples)])
        best.append(
            max(encoder.match_scores(_take(texts, np.full(len(some), row)), some).max() for some in groups if len(some))
        )
    return np.asarray(best, np.float64)


def fit_match(
    raw: Floats, is_right: NDArray[np.bool_], unanswerable: Floats | None, neighbours: Floats | None = None
) -> dict[str, Any] | None:
    """The fields of a `Calibration` that are about matches; None when the scores allow none.

    The curve is fitted on the pairs as they are and moved to the stated share of right ones, as `fit_word_error` does.
    `min_match` lies where it gives as many right pairs as it can while no more of the queries that nothing satisfies
    are given a hit than allowed.

    Args:
        raw: of pairs.
        is_right: of them.
        unanswerable: the best raw score of each query that nothing satisfies; None sets no `min_match`: without a
            fusion graph no hits are re-scored.
        neighbours: as `unanswerable`, where hits differ from what is sought in one thing; None where none can be drawn.
    """
    fitted = fit_logistic(raw, is_right)
    if fitted is None:
        return None
    seen = float(np.mean(is_right))
    moved = Logistic(scale=fitted.scale, bias=fitted.bias + _logit(RIGHT_HITS) - _logit(seen))
    if unanswerable is None or not len(unanswerable):
        return {"match": moved}
    cut = threshold_within(unanswerable, raw[is_right], most_false_alarms=FALSE_HITS)
    report = MatchFit(
        prior=RIGHT_HITS,
        seen=seen,
        right=int(is_right.sum()),
        wrong=int((~is_right).sum()),
        looked_at=_LOOKED_AT,
        unanswerable=len(unanswerable),
        most_false_hits=FALSE_HITS,
        false_hits=float(np.mean(unanswerable >= cut)),
        recall=float(np.mean(raw[is_right] >= cut)),
        neighbours=None if neighbours is None else fit_neighbours(moved, raw[is_right], neighbours, cut),
    )
    return {"match": moved, "min_match": moved.probability(cut), "match_fit": report}


def fit_neighbours(match: Logistic, right: Floats, neighbours: Floats, cut: float) -> NeighboursFit:
    """What a threshold is worth where hits differ from what is sought in one thing, and which would be right there.

    Args:
        match: turns raw scores into probabilities.
        right: raw scores of right pairs.
        neighbours: the best raw score of each query, as `scores_among_neighbours` gives it.
        cut: the threshold, raw.
    """
    own = threshold_within(neighbours, right, most_false_alarms=FALSE_HITS)
    return NeighboursFit(
        queries=len(neighbours),
        false_hits=float(np.mean(neighbours >= cut)),
        min_match=match.probability(own),
        recall=float(np.mean(right >= own)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WordScores:
    """Raw error scores of words that are judged.

    Attributes:
        raw: [words].
        sample: [words], whose caption it is of, as it was or edited.
        is_wrong: [words], whether the word was put in place of another.
        is_clean: [words], whether it is of a caption that is right as a whole.
    """

    raw: Floats
    sample: NDArray[np.int64]
    is_wrong: NDArray[np.bool_]
    is_clean: NDArray[np.bool_]


def best_word_errors(
    encoder: Encoder, samples: Sequence[Sample], edited: Sequence[str], *, wrong_words: float
) -> tuple[dict[str, Any], WordScores] | None:
    """Fit that way of judging words which tells wrong ones best, of those that a bundle has.

    A young proof-reader is worse than masked words, and one that reads the text alone tells every word that is strange
    in it: so what counts is how far average precision is above that with other pictures. Of ways that are alike in it
    to `_TOLD_ALIKE` the cheapest is taken; one whose scores allow no fit is none.

    Returns:
        What `fit_word_error` gives, and the scores that it was fitted on; None when no way can be fitted.
    """
    fitted: dict[Judging, tuple[dict[str, Any], WordScores]] = {}
    told: dict[str, WordsTold] = {}
    seen: dict[Judging, float] = {}
    first, first_edited = samples[:_MOST_PROOFREAD], edited[:_MOST_PROOFREAD]
    for method in ways_of_judging(encoder):
        scores = word_scores(encoder, first, first_edited, method=method)
        fields = fit_word_error(scores, wrong_words=wrong_words, method=method)
        if fields is not None:
            own = BinaryRanking.of(scores.raw, scores.is_wrong)
            others = word_scores(encoder, _with_other_pictures(first), first_edited, method=method)
            blind_ap = BinaryRanking.of(others.raw, others.is_wrong).average_precision()
            told[method] = WordsTold(auroc=own.auroc(), ap=own.average_precision(), blind_ap=blind_ap)
            seen[method] = told[method].ap - blind_ap
            fitted[method] = fields, scores
    if not fitted:
        return None
    best = next(method for method in fitted if seen[method] >= max(seen.values()) - _TOLD_ALIKE)
    if best == "word_errors":  # cheap enough to be fitted on all
        scores = word_scores(encoder, samples, edited, method=best)
        fitted[best] = fit_word_error(scores, wrong_words=wrong_words, method=best) or fitted[best][0], scores
    fields, scores = fitted[best]
    return {**fields, "word_error_fit": fields["word_error_fit"].model_copy(update={"tried": told})}, scores


def _with_other_pictures(samples: Sequence[Sample]) -> list[Sample]:
    return [replace(sample, image=samples[at - 1].image) for at, sample in enumerate(samples)]


def word_scores(encoder: Encoder, samples: Sequence[Sample], edited: Sequence[str], *, method: Judging) -> WordScores:
    """Score the words of right and of edited captions by one of the bundle's ways.

    Only edits that replace words one for one are used, since there it is certain which words are wrong.
    """
    found: list[tuple[float, int, bool, bool]] = []
    for number, (sample, wrong_caption) in enumerate(zip(samples, edited, strict=True)):
        image = encoder.embed_images([sample.image], to_proofread=True)
        before = [word.text.lower() for word in words(sample.caption)]
        captions = [caption_of(sample.caption), caption_of(wrong_caption)]
        for caption, judged in zip(captions, judge(encoder, image, captions, method=method), strict=True):
            after = {word.start: (at, word.text.lower()) for at, word in enumerate(words(caption.text))}
            if len(after) != len(before):
                continue
            is_clean = [text for _, text in after.values()] == before
            for word, raw in zip(caption.candidates, judged.raw, strict=True):
                at, text = after[word.start]
                if np.isfinite(raw):  # else beyond the longest text that the model takes
                    found.append((raw, number, text != before[at], is_clean))
    return WordScores(
        raw=np.asarray([raw for raw, *_ in found]),
        sample=np.asarray([number for _, number, _, _ in found], np.int64),
        is_wrong=np.asarray([wrong for _, _, wrong, _ in found], np.bool_),
        is_clean=np.asarray([clean for *_, clean in found], np.bool_),
    )


def fit_word_error(scores: WordScores, *, wrong_words: float, method: str) -> dict[str, Any] | None:
    """The fields of a `Calibration` that are about word errors; None when the scores allow none.

    The curve is fitted on the words as they are, then moved to the share of wrong words that is stated: with
    probabilities of p among words of which a share s is wrong, log-odds rise by logit(p) - logit(s).

    Args:
        scores: of judged words.
        wrong_words: share of wrong words that probabilities are for.
        method: how the words were judged.
    """
    fitted = fit_logistic(scores.raw, scores.is_wrong)
    if fitted is None or not scores.is_clean.any():
        return None
    seen = float(np.mean(scores.is_wrong))
    moved = Logistic(scale=fitted.scale, bias=fitted.bias + _logit(wrong_words) - _logit(seen))
    cut = threshold_within(scores.raw[scores.is_clean], scores.raw[scores.is_wrong], most_false_alarms=FALSE_ALARMS)
    report = WordErrorFit(
        method=method,
        prior=wrong_words,
        seen=seen,
        right_words=int(scores.is_clean.sum()),
        wrong_words=int(scores.is_wrong.sum()),
        most_false_alarms=FALSE_ALARMS,
        false_alarms=float(np.mean(scores.raw[scores.is_clean] >= cut)),
        recall=float(np.mean(scores.raw[scores.is_wrong] >= cut)),
    )
    return {"word_error": moved, "word_error_threshold": moved.probability(cut), "word_error_fit": report}


def fit_caption_error(scores: WordScores, *, right: Floats, wrong: Floats) -> CaptionErrorFit | None:
    """How surely something in a caption is wrong, by its worst word and its match; None when the scores allow none.

    Fitted on as many right captions as wrong ones and moved to the stated share, as `fit_word_error` does. A weight of
    the wrong sign says nothing: the other stands alone then.

    Args:
        scores: of judged words.
        right: raw match scores of the samples' own captions, [samples].
        wrong: likewise of their edited ones.
    """
    is_edited = np.bincount(scores.sample, weights=scores.is_wrong, minlength=len(right)) > 0
    worst = np.full((2, len(right)), -np.inf)
    np.maximum.at(worst, (np.where(scores.is_clean, 0, 1), scores.sample), scores.raw)
    kept = is_edited & np.isfinite(worst).all(axis=0)
    word, match = worst[:, kept].ravel(), np.concatenate([right[kept], wrong[kept]])
    is_wrong = np.repeat([False, True], kept.sum())
    features = np.stack([word, -match], axis=1)
    tried = [(features[:, columns], columns) for columns in ([0, 1], [0], [1])]
    fits = [(fit, columns) for some, columns in tried if (fit := _fit(some, is_wrong)) and min(fit[0]) > 0]
    if not fits:
        return None
    (weights, bias), columns = fits[0]
    scales = np.zeros(2)
    scales[columns] = weights
    both = features @ scales + bias + _logit(WRONG_CAPTIONS)
    cut = threshold_within(both[~is_wrong], both[is_wrong], most_false_alarms=FALSE_ALARMS)
    counted = np.where(is_wrong, WRONG_CAPTIONS / (1 - WRONG_CAPTIONS), 1.0)
    ranked = {"word": word, "match": -match, "both": both}
    return CaptionErrorFit(
        word=scales[0],
        match=-scales[1],
        bias=bias + _logit(WRONG_CAPTIONS),
        threshold=Logistic().probability(cut),
        prior=WRONG_CAPTIONS,
        right=int(kept.sum()),
        wrong=int(kept.sum()),
        most_false_alarms=FALSE_ALARMS,
        false_alarms=float(np.mean(both[~is_wrong] >= cut)),
        recall=float(np.mean(both[is_wrong] >= cut)),
        ap={name: BinaryRanking.of(by, is_wrong).average_precision(counted) for name, by in ranked.items()},
    )


def threshold_within(clean: Floats, wrong: Floats, *, most_false_alarms: float) -> float:
    """The score from which words are called errors: most of the wrong ones, and no more clean ones than allowed.

    Where several scores find as many of the wrong words, the one with the fewest false alarms is taken: a reader that
    tells them apart better than it must raises no alarm for nothing. It lies halfway between two scores that were seen.

    Args:
        clean: scores of words of right captions, at least one.
        wrong: scores of wrong words.
        most_false_alarms: share of the clean words that may score as high.
    """
    seen = np.unique(np.concatenate([clean, wrong]))
    cuts = np.append(seen, seen[-1] + 1.0)  # words of this score and above are called; at the last, none
    alarms = len(clean) - np.searchsorted(np.sort(clean), cuts, side="left")
    missed = np.searchsorted(np.sort(wrong), cuts, side="left")
    allowed = alarms <= most_false_alarms * len(clean)
    best = int(np.flatnonzero(allowed & (missed == missed[allowed].min()))[-1])
    below = seen[best - 1] if best > 0 else cuts[best] - 1.0
    return float((below + cuts[best]) / 2)


def _logit(probability: float) -> float:
    return float(np.log(probability / (1 - probability)))


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxScores:
    """Raw scores of phrases' best boxes.

    Attributes:
        raw: [phrases]; minus infinity where no box was found.
        is_right: [phrases], whether the box overlaps the true one by half.
        is_absent: [phrases], whether what the phrase names is not in the picture.
        method: how phrases were found.
    """

    raw: Floats
    is_right: NDArray[np.bool_]
    is_absent: NDArray[np.bool_]
    method: str


def best_box_scores(encoder: Encoder, samples: Sequence[Sample]) -> BoxScores | None:
    """The scores of that way of grounding which puts most boxes right, of those a server could use.

    A bundle may have several: a region head that has learned little is worse than its fusion encoder's maps. Of ways
    that are alike to `_ALIKE` the one that is cheaper on stored pictures is taken. None when the bundle cannot ground,
    or there is nothing to look for.
    """
    ways = [way for way in methods_of(encoder.manifest, budget=DEFAULT_BUDGET) if way != "patch_similarity"]
    if not ways or not samples:
        return None
    scored = [box_scores(encoder, samples, method=way) for way in ways]
    most = max(float(np.sum(scores.is_right)) for scores in scored)
    return next(scores for scores in scored if np.sum(scores.is_right) >= most - _ALIKE * np.sum(~scores.is_absent))


def box_scores(encoder: Encoder, samples: Sequence[Sample], *, method: Method) -> BoxScores:
    """Find the phrases of samples, those of what is in the picture and those of what is not, as they are when served.

    Where the source does not know what is not in a picture, phrases of the next one stand in.
    """
    rows: list[tuple[float, bool, bool]] = []
    for sample, other in zip(samples, [*samples[1:], *samples[:1]], strict=True):
        absent = sample.absent or tuple(phrase for phrase, _ in other.phrases)
        truth: dict[str, Box | None] = dict.fromkeys(absent) | dict(sample.phrases)
        pixels = encoder.image_input(sample.image)
        image = encoder.embed_pixels([pixels])
        found = ground(encoder, image, list(truth), method=method, pixels=pixels, threshold=0.0)
        for grounding, box in zip(found, truth.values(), strict=True):
            best = grounding.boxes[0] if grounding.boxes else None
            raw = -np.inf if best is None else _raw(best.score)
            rows.append((raw, best is not None and box is not None and overlap(best.box, box) >= 0.5, box is None))
    raw_scores, is_right, is_absent = (np.asarray(column) for column in zip(*rows, strict=True))
    return BoxScores(raw=raw_scores, is_right=is_right, is_absent=is_absent, method=method)


def fit_grounding(scores: BoxScores) -> dict[str, Any] | None:
    """The fields of a `Calibration` that are about boxes; None when the scores allow none.

    The curve is the probability that a box is right, among phrases of which about half are of something that is there.
    The threshold refuses what is not there: it gives boxes to as many present phrases as it can, and to no more of the
    absent ones than `ABSENT_GIVEN_A_BOX`.
    """
    found = np.isfinite(scores.raw)
    fitted = fit_logistic(scores.raw[found], scores.is_right[found])
    absent, present = scores.raw[scores.is_absent], scores.raw[~scores.is_absent]
    if fitted is None or min(len(absent), len(present)) < _LEAST_EACH:
        return None
    finite = [np.where(np.isfinite(raw), raw, scores.raw[found].min() - 1) for raw in (absent, present)]
    cut = threshold_within(finite[0], finite[1], most_false_alarms=ABSENT_GIVEN_A_BOX)
    report = GroundingFit(
        method=scores.method,
        present=len(present),
        absent=len(absent),
        most_false_alarms=ABSENT_GIVEN_A_BOX,
        false_alarms=float(np.mean(absent >= cut)),
        recall=float(np.mean(present >= cut)),
    )
    return {"grounding": fitted, "grounding_threshold": fitted.probability(cut), "grounding_fit": report}


def fit_logistic(scores: Floats, is_true: NDArray[np.bool_]) -> Logistic | None:
    """The logistic curve of greatest likelihood, very slightly drawn towards flat so that it always exists.

    Returns:
        None when there are too few examples of either kind, or when greater scores are not more often true: then the
        score says nothing, and turning it round would be a guess.
    """
    found = _fit(scores[:, None], is_true)
    return Logistic(scale=found[0][0], bias=found[1]) if found is not None and found[0][0] > 0 else None


def _fit(features: Floats, is_true: NDArray[np.bool_]) -> tuple[list[float], float] | None:
    """Weights and bias of a logistic regression on [examples, features]; None with too few examples of either kind."""
    if min(is_true.sum(), (~is_true).sum()) < _LEAST_EACH:
        return None
    centre, spread = np.median(features, axis=0), np.std(features, axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    columns = np.concatenate([(features - centre) / spread, np.ones((len(features), 1))], axis=1)
    target = is_true.astype(np.float64)
    weights = np.zeros(columns.shape[1])
    ridge = _RIDGE * len(columns) * np.eye(len(weights))
    for _ in range(100):
        probability = 1 / (1 + np.exp(-np.clip(columns @ weights, -60, 60)))
        gradient = columns.T @ (probability - target) + ridge @ weights
        curvature = columns.T @ (columns * (probability * (1 - probability))[:, None]) + ridge
        step = np.linalg.solve(curvature, gradient)
        weights = weights - step * min(1.0, 4.0 / max(1e-12, float(np.abs(step).max())))
        if np.abs(step).max() < 1e-9:
            break
    scales = weights[:-1] / spread
    return scales.tolist(), float(weights[-1] - scales @ centre)


def replace_a_word(caption: str, samples: Sequence[Sample], rng: np.random.Generator) -> str:
    """The caption with one word replaced by a different word of another caption: for data that brings no edits."""
    own = words(caption)
    if not own:
        return caption
    place = own[int(rng.integers(len(own)))]
    for _ in range(20):
        others = words(samples[int(rng.integers(len(samples)))].caption)
        other = others[int(rng.integers(len(others)))].text if others else place.text
        if other.lower() not in {word.text.lower() for word in own}:
            return caption[: place.start] + other + caption[place.end :]
    return caption


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return shared / (areas - shared)


def _take(texts: TextFeatures, rows: NDArray[np.int64]) -> TextFeatures:
    batch = texts.batch
    return TextFeatures(
        embedding=texts.embedding[rows],
        word_tokens=texts.word_tokens[rows],
        batch=TextBatch(ids=batch.ids[rows], mask=batch.mask[rows], offsets=batch.offsets[rows]),
    )


def _raw(probability: float) -> float:
    """The raw score behind a probability of the identity calibration."""
    clipped = min(max(probability, 1e-15), 1 - 1e-15)
    return float(np.log(clipped / (1 - clipped)))
