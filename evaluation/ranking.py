"""Metrics of how well a score orders things: AUROC, average precision, Kendall's tau-c. Numpy alone.

Each takes optional weights (how often an observation is counted), so that a bootstrap costs a pass over sorted
numbers and no sort. Ties are never broken by the order of the rows.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluation.intervals import Weights


@dataclass(frozen=True, slots=True, kw_only=True)
class BinaryRanking:
    """Labelled scores, sorted once, from which AUROC and AP are read for any weights.

    Attributes:
        order: Indices of the observations by falling score, `[n]`.
        ends: Index in `order` of the last observation of each run of equal scores, `[distinct]`.
        is_positive: Labels in `order`'s order, `[n]`, 1.0 or 0.0.
    """

    order: NDArray[np.int64]
    ends: NDArray[np.int64]
    is_positive: NDArray[np.float64]

    @classmethod
    def of(cls, scores: ArrayLike, is_positive: ArrayLike) -> "BinaryRanking":
        """Sort scores (higher means "more likely positive") with their labels.

        Raises:
            ValueError: When the two differ in length, or a score is not a number.
        """
        values = np.asarray(scores, dtype=np.float64)
        labels = np.asarray(is_positive, dtype=bool)
        if values.ndim != 1 or values.shape != labels.shape:
            raise ValueError(f"scores {values.shape} and labels {labels.shape} must be equally long rows")
        if np.isnan(values).any():
            raise ValueError("a score is not a number (nan)")
        order = np.argsort(-values, kind="stable")
        falling = values[order]
        is_end = np.append(falling[1:] != falling[:-1], True) if falling.size else np.empty(0, bool)
        return cls(order=order, ends=np.flatnonzero(is_end), is_positive=labels[order].astype(np.float64))

    def _counts(self, weights: Weights | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Positives and negatives with a score at least as high as each distinct score, both `[distinct]`."""
        sorted_weights = np.ones(self.order.size) if weights is None else weights[self.order]
        positives = np.cumsum(sorted_weights * self.is_positive)[self.ends]
        negatives = np.cumsum(sorted_weights * (1 - self.is_positive))[self.ends]
        return positives, negatives

    def auroc(self, weights: Weights | None = None) -> float:
        """Chance that a random positive scores above a random negative, a tie counting half; `nan` if none."""
        positives, negatives = self._counts(weights)
        if positives.size == 0 or positives[-1] == 0 or negatives[-1] == 0:
            return math.nan
        new_negatives = np.diff(negatives, prepend=0.0)
        positives_before = np.append(0.0, positives[:-1])
        area = float(np.dot(new_negatives, (positives_before + positives) / 2))
        return area / float(positives[-1] * negatives[-1])

    def average_precision(self, weights: Weights | None = None) -> float:
        """Mean precision over the positives, by falling score; equal scores are taken in one step.

        The sum of precision times gain in recall, without interpolation; `nan` where there is no positive.
        """
        positives, negatives = self._counts(weights)
        if positives.size == 0 or positives[-1] == 0:
            return math.nan
        new_positives = np.diff(positives, prepend=0.0)
        seen = positives + negatives
        precision = np.divide(positives, seen, out=np.zeros_like(seen), where=seen > 0)
        return float(np.dot(new_positives, precision) / positives[-1])


def auroc(scores: ArrayLike, is_positive: ArrayLike, weights: Weights | None = None) -> float:
    """Area under the ROC curve; see :meth:`BinaryRanking.auroc`."""
    return BinaryRanking.of(scores, is_positive).auroc(weights)


def average_precision(scores: ArrayLike, is_positive: ArrayLike, weights: Weights | None = None) -> float:
    """Average precision; see :meth:`BinaryRanking.average_precision`."""
    return BinaryRanking.of(scores, is_positive).average_precision(weights)


@dataclass(frozen=True, slots=True, kw_only=True)
class GradedRanking:
    """Scores beside grades of a few levels, from which Kendall's tau-c is read for any weights.

    Attributes:
        cell: Which cell of the table (distinct score, grade) each observation falls in, `[n]`.
        num_scores: Rows of the table.
        num_grades: Columns of the table; keep it small, the table is dense.
    """

    cell: NDArray[np.int64]
    num_scores: int
    num_grades: int

    @classmethod
    def of(cls, scores: ArrayLike, grades: ArrayLike) -> "GradedRanking":
        """Tabulate scores (any numbers) against grades (few distinct numbers).

        Raises:
            ValueError: When the two differ in length, or one is not a number.
        """
        values, levels = np.asarray(scores, dtype=np.float64), np.asarray(grades, dtype=np.float64)
        if values.ndim != 1 or values.shape != levels.shape:
            raise ValueError(f"scores {values.shape} and grades {levels.shape} must be equally long rows")
        if np.isnan(values).any() or np.isnan(levels).any():
            raise ValueError("a score or grade is not a number (nan)")
        distinct_values, row = np.unique(values, return_inverse=True)
        distinct_levels, column = np.unique(levels, return_inverse=True)
        cell = (row * max(distinct_levels.size, 1) + column).astype(np.int64)
        return cls(cell=cell, num_scores=distinct_values.size, num_grades=distinct_levels.size)

    def tau_c(self, weights: Weights | None = None) -> float:
        """Kendall's (Stuart's) tau-c between scores and grades, in -1..1.

        `2 (P - Q) / (n^2 (m - 1) / m)` with P and Q the concordant and discordant pairs and m the smaller of
        the numbers of distinct scores and of distinct grades; `nan` where m < 2.
        """
        if self.cell.size == 0:
            return math.nan
        table = np.bincount(self.cell, weights=weights, minlength=self.num_scores * self.num_grades)
        table = table.reshape(self.num_scores, self.num_grades).astype(np.float64)
        distinct = min(int(table.any(axis=1).sum()), int(table.any(axis=0).sum()))
        if distinct < 2:
            return math.nan
        with_lower_score = np.cumsum(table, axis=0) - table
        up_to_grade = np.cumsum(with_lower_score, axis=1)
        lower_both = up_to_grade - with_lower_score
        lower_score_higher_grade = up_to_grade[:, -1:] - up_to_grade
        concordant_less_discordant = float(np.sum(table * (lower_both - lower_score_higher_grade)))
        total = float(table.sum())
        return 2 * concordant_less_discordant * distinct / (total**2 * (distinct - 1))


def kendall_tau_c(scores: ArrayLike, grades: ArrayLike, weights: Weights | None = None) -> float:
    """Kendall's tau-c of scores against grades of few levels; see :meth:`GradedRanking.tau_c`."""
    return GradedRanking.of(scores, grades).tau_c(weights)


def strictly_above(right: NDArray[Any], wrong: NDArray[Any]) -> NDArray[np.bool_]:
    """Where the right partner scores above the wrong one. A tie is a miss, and so is a score that is not a number."""
    return np.asarray(right > wrong)
