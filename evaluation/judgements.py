"""Human judgements: does the score order captions as people do?

Kendall's tau-c between the score of a (picture, caption) pair and what people gave it, as for Flickr8k-Expert: every
single judgement is an observation, so a pair that three people judged counts three times. The *blind* tau-c is that of
the same judge looking at another picture: what the captions alone give away.

Paper: CLIPScore (2021), section 4.1. Differs from the paper: pairs whose caption is one of the picture's own references
are not left out; leave them out of the file.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.intervals import Weights, estimate
from evaluation.ranking import GradedRanking


def summarise(
    *,
    judge: NDArray[np.floating[Any]],
    dual: NDArray[np.floating[Any]],
    blind: NDArray[np.floating[Any]],
    grades: Sequence[Sequence[float]],
    seed: int = 0,
) -> dict[str, Any]:
    """The `judgements` group of the result. Resampled are pairs, each with all its judgements.

    Args:
        judge: scores by match, or by the dual encoder where the bundle has no fusion graph, `[pairs]`.
        dual: cosines of the dual encoder, `[pairs]`.
        blind: the judge's scores with another picture, `[pairs]`; rows of `nan` had none.
        grades: what people gave each pair.
        seed: of the intervals.
    """
    pair = np.repeat(np.arange(len(grades)), [len(given) for given in grades])
    flat = np.array([grade for given in grades for grade in given], np.float64)
    has_blind = ~np.isnan(blind[pair])
    by_judge, by_dual = GradedRanking.of(judge[pair], flat), GradedRanking.of(dual[pair], flat)
    by_blind = GradedRanking.of(blind[pair][has_blind], flat[has_blind])

    def statistic(weights: Weights) -> Mapping[str, float]:
        counted = weights[pair]
        return {
            "tau_c": by_judge.tau_c(counted),
            "dual_tau_c": by_dual.tau_c(counted),
            "blind_tau_c": by_blind.tau_c(counted[has_blind]),
        }

    return {
        "count": len(grades),
        "count_judgements": len(flat),
        **estimate(statistic, num_groups=len(grades), seed=seed),
    }
