"""Proofreading: are the wrong words of a caption found, and put right?

From hard negatives whose `diff` is known. *AUROC* and *AP* are over words: the changed words of the wrong captions are
the positives; their other words and all words of the true captions are the negatives. *Word top-1* is over wrong
captions: is the most suspicious word a wrong one (a tie with a right word is a miss)? *Correction top-1* is over
captions with one word in place of another: is the first suggestion at that word the word that was there?

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
        error: how suspicious it is; higher is more.
        suggestion: the first suggestion in its place, when one was asked for and given.
    """

    span: Span
    error: float
    suggestion: str | None = None


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

    def outcome(self) -> dict[str, bool | None]:
        """The rates that this row counts in, by name."""
        return {"word_top1": self.top1(), "correction_top1": self.correction()}


def summarise(seen: Sequence[JudgedRow], blind: Sequence[JudgedRow | None], *, seed: int = 0) -> dict[str, Any]:
    """The `proofreading` group of the result. Resampled are rows, each with all its words.

    Args:
        seen: the rows, each with its own picture. Rows whose edit only left words out have no wrong word to find
            and must not be given.
        blind: the same rows with another picture; None where none was to be had.
        seed: of the intervals.
    """
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
    errors, labels, groups = [], [], []
    for at, row in given:
        errors += [word.error for word in row.negative] + [word.error for word in row.caption]
        labels += [*row.is_wrong(), *(False for _ in row.caption)]
        groups += [at] * (len(row.negative) + len(row.caption))
    ranking = BinaryRanking.of(np.array(errors, np.float64), np.array(labels, bool))
    group = np.array(groups, np.int64)
    at_rows = np.array([at for at, _ in given], np.int64)
    top1 = np.array([row.top1() for _, row in given], bool)
    corrections = [(at, hit) for at, row in given if (hit := row.correction()) is not None]
    at_corrections = np.array([at for at, _ in corrections], np.int64)
    corrected = np.array([hit for _, hit in corrections], bool)

    def statistic(weights: Weights) -> Mapping[str, float]:
        word_weights = weights[group]
        return {
            "auroc": ranking.auroc(word_weights),
            "ap": ranking.average_precision(word_weights),
            "word_top1": weighted_rate(top1, weights[at_rows]),
            "correction_top1": weighted_rate(corrected, weights[at_corrections]),
        }

    return statistic
