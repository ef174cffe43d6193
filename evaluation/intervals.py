"""How sure a number is: point estimates with bootstrap intervals.

A metric is written once, as a function of how often each *group* of the sample is counted. With every group
counted once it gives the number itself; with the counts of a resample it gives one bootstrap draw. What is
resampled are groups that are independent of each other (a picture with all its captions, a hard-negative row with
all its words), never the single judgements inside them, which would make the intervals too narrow.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float64]
"""How often each group of the sample is counted, `[groups]`; whole numbers."""

Statistic = Callable[[Weights], Mapping[str, float]]
"""Named numbers of a sample as a function of its weights; `nan` where a number is not defined."""

RESAMPLES = 1000
COVERAGE = 0.95


def estimate(statistic: Statistic, *, num_groups: int, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Any]:
    """The numbers of a sample and, under `interval`, the 95 % interval of each.

    The interval is the percentile bootstrap over groups. The same seed gives the same interval. Draws in which a
    number is not defined (a resample without positives, say) are left out of its interval.

    Args:
        statistic: The numbers as a function of how often each group is counted.
        num_groups: How many groups the sample has.
        resamples: How many bootstrap draws are made.
        seed: Of the draws.

    Returns:
        `{name: number, ..., "interval": {name: [low, high], ...}}`; a number that is not defined, and its
        interval, are `None`.
    """
    point = statistic(np.ones(num_groups))
    names = list(point)
    rng = np.random.default_rng(seed)
    draws = np.empty((resamples, len(names)))
    for draw in draws:
        picks = rng.integers(0, num_groups, num_groups) if num_groups else np.empty(0, np.int64)
        values = statistic(np.bincount(picks, minlength=num_groups).astype(np.float64))
        draw[:] = [values[name] for name in names]
    intervals = {name: _percentiles(draws[:, column]) for column, name in enumerate(names)}
    return {**{name: _or_none(point[name]) for name in names}, "interval": intervals}


def _percentiles(draws: NDArray[np.float64]) -> list[float] | None:
    defined = draws[~np.isnan(draws)]
    if defined.size == 0:
        return None
    tail = (1 - COVERAGE) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return [float(low), float(high)]


def _or_none(number: float) -> float | None:
    return None if math.isnan(number) else float(number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """What became of each row of a group.

    Attributes:
        hits: for each rate, where it is a hit, `[rows]`.
        counted: for some rates, which rows they are defined on, `[rows]`; the others count every row.
    """

    hits: Mapping[str, NDArray[np.bool_]]
    counted: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)

    def at(self, row: int) -> dict[str, bool | None]:
        """For each rate, whether a row is a hit; None where the rate does not count it."""
        return {
            name: bool(hit[row]) if name not in self.counted or self.counted[name][row] else None
            for name, hit in self.hits.items()
        }


def estimate_rates(
    found: Outcomes,
    *,
    rows: NDArray[np.bool_] | None = None,
    group: NDArray[np.int64] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Several rates over the same rows with `count` and intervals.

    Args:
        found: what became of each row.
        rows: which rows to take, `[n]`; all when absent.
        group: which rows are resampled together, any numbers, `[n]`; every row alone when absent.
        seed: of the intervals.
    """
    length = len(next(iter(found.hits.values())))
    chosen = np.ones(length, bool) if rows is None else rows
    groups = np.arange(length) if group is None else group
    distinct, of = np.unique(groups[chosen], return_inverse=True)
    taken = {name: hit[chosen] for name, hit in found.hits.items()}
    defined = {name: found.counted.get(name, np.ones(length, bool))[chosen] for name in taken}

    def statistic(weights: Weights) -> Mapping[str, float]:
        counted = weights[of]
        return {name: weighted_rate(hit, counted * defined[name]) for name, hit in taken.items()}

    return {"count": int(chosen.sum()), **estimate(statistic, num_groups=len(distinct), seed=seed)}


def weighted_rate(hits: NDArray[Any], weights: Weights) -> float:
    """The share of hits, each counted as often as its weight says; `nan` where nothing is counted."""
    total = float(weights.sum())
    return float(np.dot(hits, weights)) / total if total > 0 else math.nan


def weighted_median(ascending: NDArray[Any], weights: Weights) -> float:
    """The median of values in ascending order, each counted as often as its whole-numbered weight says.

    Equal to `np.median(np.repeat(ascending, weights))`: the mean of the two middle values where their number is
    even; `nan` where nothing is counted.
    """
    running = np.cumsum(weights)
    total = int(running[-1]) if running.size else 0
    if total == 0:
        return math.nan
    middle = np.searchsorted(running, [(total - 1) // 2, total // 2], side="right")
    return float(ascending[middle].mean())
