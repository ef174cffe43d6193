"""Statements: is a sentence true of its picture? The measure of VSR and NLVR.

*Accuracy* calls a sentence true from a calibrated probability of one half; beside it stands the share of the commoner
label, which one gets by always answering the same. *AUROC* needs no threshold: how well the raw score separates true
from false. It is measured again with another picture (`blind_auroc`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.intervals import Weights, estimate, estimate_rates, weighted_rate
from evaluation.ranking import BinaryRanking


def summarise(
    *,
    scores: NDArray[np.floating[Any]],
    blind: NDArray[np.floating[Any]],
    called_true: NDArray[np.bool_],
    labels: NDArray[np.bool_],
    relations: Sequence[str | None],
    seed: int = 0,
) -> dict[str, Any]:
    """The `statements` group of the result.

    Args:
        scores: the judge's score of each sentence with its picture, `[rows]`.
        blind: with another picture; rows of `nan` had none.
        called_true: where the sentence was called true, `[rows]`.
        labels: where it is, `[rows]`.
        relations: what each sentence is about; rows of None are in no kind.
        seed: of the intervals.
    """
    hits = called_true == labels
    has_blind = ~np.isnan(blind)
    seen, unseen = BinaryRanking.of(scores, labels), BinaryRanking.of(blind[has_blind], labels[has_blind])

    def statistic(weights: Weights) -> Mapping[str, float]:
        share_true = weighted_rate(labels, weights)
        return {
            "accuracy": weighted_rate(hits, weights),
            "majority": max(share_true, 1 - share_true),
            "auroc": seen.auroc(weights),
            "blind_auroc": unseen.auroc(weights[has_blind]),
        }

    kind = np.asarray(relations, dtype=object)
    kinds = sorted({relation for relation in relations if relation is not None})
    return {
        "count": len(hits),
        **estimate(statistic, num_groups=len(hits), seed=seed),
        "by_type": {name: estimate_rates({"accuracy": hits}, rows=kind == name, seed=seed) for name in kinds},
    }
