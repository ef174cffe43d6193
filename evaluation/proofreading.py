"""Proofreading: are the wrong words of a caption found, and put right?

From hard negatives whose `diff` is known. *AUROC* and *AP* are over words: the changed words of the wrong captions are
the positives; their other words and all words of the true captions are the negatives. *Word top-1* is over wrong
captions: is the most suspicious word a wrong one (a tie with a right word is a miss)? *Correction top-1* is over
captions with one word in place of another: is the first suggestion at that word the word that was there? *Pair
accuracy* is over rows: is the worst word of the wrong caption more suspicious than the worst of the true one (a tie is
a miss)?

*Judged AUROC* is over words that can be wrong at all: the wrong ones, and of the right ones those that somewhere in the
rows stand in another's place, or have another in theirs. Who knows that articles, prepositions and what no edit ever
changes are right ranks words well without a picture, so they raise AUROC and its control alike; without them a control
of 0.5 is chance.

At the bundle's operating threshold, *false alarms* are the share of judged words of the true captions that are called
errors, and *recall* the share of wrong words that is. *Reliability* is whether words of an error probability of p are
wrong in a share p of all cases. Probabilities are for a stated share of wrong words (a bundle that states none is taken
at the share in these rows), so the words here are weighted until as many are wrong.

Each is measured again with another picture (`blind_…`): implausible words stand out without any picture, and only what
is above the blind number is evidence of seeing.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.edits import Span, WrongWords, overlaps
from evaluation.intervals import Statistic, Weights, estimate, weighted_rate
from evaluation.ranking import BinaryRanking


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedWord:
    """A word of a caption as proofread.

    Attributes:
        span: its characters.
        error: how suspicious it is, its error probability; zero for words that are never judged.
        is_error: whether it is called an error.
        suggestion: the first suggestion in its place, when one was asked for and given.
        can_be_wrong: whether it is a word that somewhere in the rows is exchanged.
    """

    span: Span
    error: float
    is_error: bool = False
    suggestion: str | None = None
    can_be_wrong: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedRow:
    """One hard negative as proofread.

    Attributes:
        caption: words of the true caption.
        negative: words of the wrong caption.
        truth: which of them are wrong.
    """

    caption: Sequence[JudgedWord]
    negative: Sequence[JudgedWord]
    truth: WrongWords

    def is_wrong(self) -> NDArray[np.bool_]:
        """Which words of the wrong caption are wrong, `[words]`."""
        return np.array([any(overlaps(word.span, span) for span in self.truth.spans) for word in self.negative], bool)

    def top1(self) -> bool:
        """Whether a wrong word is more suspicious than every right word of the wrong caption."""
        errors = np.array([word.error for word in self.negative], np.float64)
        wrong = self.is_wrong()
        return bool(errors[wrong].max(initial=-math.inf) > errors[~wrong].max(initial=-math.inf))

    def correction(self) -> bool | None:
        """Whether the first suggestion is the right word; None where no single word was replaced."""
        if self.truth.correction is None:
            return None
        span, right = self.truth.correction
        return any(
            word.suggestion is not None and word.suggestion.casefold() == right.casefold()
            for word in self.negative
            if overlaps(word.span, span)
        )

    def is_told(self) -> bool:
        """Whether the worst word of the wrong caption is more suspicious than that of the true one."""
        worst, other = (max((word.error for word in side), default=0.0) for side in (self.negative, self.caption))
        return worst > other

    def outcome(self) -> dict[str, bool | None]:
        """The rates that this row counts in, by name."""
        return {
            "pair_accuracy": self.is_told(),
            "word_top1": self.top1(),
            "correction_top1": self.correction(),
        }


def summarise(
    seen: Sequence[JudgedRow],
    blind: Sequence[JudgedRow | None],
    types: Sequence[str] | None = None,
    *,
    prior: float | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """The `proofreading` group of the result. Resampled are rows, each with all its words.

    Args:
        seen: the rows, each with its own picture. Rows whose edit only left words out have no wrong word to find
            and must not be given.
        blind: the same rows with another picture; None where none was to be had.
        types: kind of edit of each row; without them nothing is told apart by kind.
        prior: share of wrong words that the error probabilities are for; None for the share in these rows.
        seed: of the intervals.
    """
    found = _numbers(seen, blind, seed=seed)
    found["reliability"] = reliability(seen, prior=prior)
    if types is not None:
        rows_of = {kind: [at for at, other in enumerate(types) if other == kind] for kind in sorted(set(types))}
        found["by_type"] = {
            kind: _numbers([seen[at] for at in rows], [blind[at] for at in rows], seed=seed)
            for kind, rows in rows_of.items()
        }
    return found


def _numbers(seen: Sequence[JudgedRow], blind: Sequence[JudgedRow | None], *, seed: int) -> dict[str, Any]:
    own = _statistic(seen)
    other = _statistic(blind)

    def statistic(weights: Weights) -> Mapping[str, float]:
        return {**own(weights), **{f"blind_{name}": value for name, value in other(weights).items()}}

    return {
        "count": len(seen),
        "count_words": sum(len(row.caption) + len(row.negative) for row in seen),
        "count_corrections": sum(row.correction() is not None for row in seen),
        **estimate(statistic, num_groups=len(seen), seed=seed),
    }


def _statistic(rows: Sequence[JudgedRow | None]) -> Statistic:
    given = [(at, row) for at, row in enumerate(rows) if row is not None]
    words = [
        (at, word, wrong, is_clean)
        for at, row in given
        for side, is_clean in ((row.negative, False), (row.caption, True))
        for word, wrong in zip(side, [False] * len(side) if is_clean else row.is_wrong().tolist(), strict=True)
    ]
    group = np.array([at for at, *_ in words], np.int64)
    ranked = np.array([word.error for _, word, _, _ in words], np.float64)
    called = np.array([word.is_error for _, word, _, _ in words], bool)
    is_wrong = np.array([wrong for *_, wrong, _ in words], bool)
    is_open = is_wrong | np.array([word.can_be_wrong for _, word, _, _ in words], bool)
    ranking, judged = BinaryRanking.of(ranked, is_wrong), BinaryRanking.of(ranked[is_open], is_wrong[is_open])
    is_right = np.array([is_clean and word.error > 0 for _, word, _, is_clean in words], bool)
    at_rows = np.array([at for at, _ in given], np.int64)
    told = np.array([row.is_told() for _, row in given], bool)
    top1 = np.array([row.top1() for _, row in given], bool)
    corrections = [(at, hit) for at, row in given if (hit := row.correction()) is not None]
    at_corrections = np.array([at for at, _ in corrections], np.int64)
    corrected = np.array([hit for _, hit in corrections], bool)

    def statistic(weights: Weights) -> Mapping[str, float]:
        word_weights = weights[group]
        return {
            "auroc": ranking.auroc(word_weights),
            "judged_auroc": judged.auroc(word_weights[is_open]),
            "ap": ranking.average_precision(word_weights),
            "pair_accuracy": weighted_rate(told, weights[at_rows]),
            "word_top1": weighted_rate(top1, weights[at_rows]),
            "correction_top1": weighted_rate(corrected, weights[at_corrections]),
            "recall": weighted_rate(called, word_weights * is_wrong),
            "false_alarms": weighted_rate(called, word_weights * is_right),
        }

    return statistic


_EDGES = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
_LEAST_WORDS = 20
_Z = 1.96


def reliability(rows: Sequence[JudgedRow], *, prior: float | None) -> list[dict[str, Any]]:
    """Judged words by their error probability: what was said, and what came true.

    Args:
        rows: with their own pictures.
        prior: share of wrong words that the probabilities are for; None for the share in these rows.

    Returns:
        For each range of probabilities that holds enough words: `from` and `to`, `count` of words, their mean
        `probability`, the share that is `wrong`, and its 95 % `interval` (Wilson's, without regard to words of one
        caption being alike). Means and shares are of words weighted until `prior` of them are wrong.
    """
    judged = [
        (word.error, bool(wrong))
        for row in rows
        for side, wrongs in ((row.negative, row.is_wrong()), (row.caption, np.zeros(len(row.caption), bool)))
        for word, wrong in zip(side, wrongs, strict=True)
        if word.error > 0
    ]
    said = np.array([error for error, _ in judged], np.float64)
    wrong = np.array([is_wrong for _, is_wrong in judged], bool)
    share = float(wrong.mean()) if wrong.size else 0.0
    if share in (0.0, 1.0):
        return []
    wanted = share if prior is None else prior
    odds = wanted / (1 - wanted) / (share / (1 - share))  # how much a wrong word counts beside a right one
    bins = np.clip(np.searchsorted(_EDGES, said, side="right") - 1, 0, len(_EDGES) - 2)
    return [
        _bin(said[bins == at], wrong[bins == at], odds, at)
        for at in range(len(_EDGES) - 1)
        if (bins == at).sum() >= _LEAST_WORDS
    ]


def _bin(said: NDArray[np.float64], wrong: NDArray[np.bool_], odds: float, at: int) -> dict[str, Any]:
    count, hits = len(said), int(wrong.sum())
    middle, spread = (hits + _Z**2 / 2) / (count + _Z**2), _Z / (count + _Z**2)
    half = spread * math.sqrt(hits * (count - hits) / count + _Z**2 / 4)
    return {
        "from": _EDGES[at],
        "to": _EDGES[at + 1],
        "count": count,
        "probability": float(np.average(said, weights=np.where(wrong, odds, 1.0))),
        "wrong": _weighted(hits / count, odds),
        "interval": [_weighted(max(0.0, middle - half), odds), _weighted(min(1.0, middle + half), odds)],
    }


def _weighted(share: float, odds: float) -> float:
    """A share of wrong words when each wrong one counts `odds` times."""
    return odds * share / (odds * share + 1 - share)
