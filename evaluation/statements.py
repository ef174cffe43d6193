"""Statements: is a sentence true of its picture? The measure of VSR and NLVR.

*Accuracy* calls a sentence true from a calibrated probability of one half; beside it stand the accuracy of the same
judge looking at another picture (`blind_accuracy`) and the share of the commoner label, which one gets by always
answering the same (`majority`). *AUROC* needs no threshold: how well the raw score separates true from false. It is
measured again with another picture (`blind_auroc`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.intervals import Outcomes, Weights, estimate, estimate_rates, weighted_rate
from evaluation.ranking import BinaryRanking


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementScores:
    """The judge's scores of some sentences, each `[rows]`.

    Attributes:
        own: with their pictures.
        blind: with other pictures; rows of `nan` had none.
        labels: where the sentence is true.
    """

    own: NDArray[np.floating[Any]]
    blind: NDArray[np.floating[Any]]
    labels: NDArray[np.bool_]

    def has_blind(self) -> NDArray[np.bool_]:
        """Which rows had another picture."""
        return np.asarray(~np.isnan(self.blind))


def compare(scores: StatementScores, calls_true: Callable[[float], bool]) -> Outcomes:
    """Compare what each sentence is called with what it is.

    Args:
        scores: of the judge.
        calls_true: what a raw score means.
    """
    own, blind = (np.array([calls_true(score) for score in row], bool) for row in (scores.own, scores.blind))
    return Outcomes(
        hits={"accuracy": own == scores.labels, "blind_accuracy": blind == scores.labels},
        counted={"blind_accuracy": scores.has_blind()},
    )


def summarise(
    scores: StatementScores,
    found: Outcomes,
    relations: Sequence[str | None],
    *,
    group: NDArray[np.int64],
    seed: int = 0,
) -> dict[str, Any]:
    """The `statements` group of the result.

    Args:
        scores: of the judge.
        found: what became of each row.
        relations: what each sentence is about; rows of None are in no kind.
        group: rows that are resampled together, as the same sentence asked of several orders of a picture, `[rows]`.
        seed: of the intervals.
    """
    labels, has_blind = scores.labels, scores.has_blind()
    seen, unseen = BinaryRanking.of(scores.own, labels), BinaryRanking.of(scores.blind[has_blind], labels[has_blind])
    distinct, of = np.unique(group, return_inverse=True)

    def statistic(weights: Weights) -> Mapping[str, float]:
        counted = weights[of]
        share_true = weighted_rate(labels, counted)
        return {
            "accuracy": weighted_rate(found.hits["accuracy"], counted),
            "blind_accuracy": weighted_rate(found.hits["blind_accuracy"], counted * has_blind),
            "majority": max(share_true, 1 - share_true),
            "auroc": seen.auroc(counted),
            "blind_auroc": unseen.auroc(counted[has_blind]),
        }

    kind = np.asarray(relations, dtype=object)
    kinds = sorted({relation for relation in relations if relation is not None})
    return {
        "count": len(labels),
        **estimate(statistic, num_groups=len(distinct), seed=seed),
        "by_type": {name: estimate_rates(found, rows=kind == name, group=group, seed=seed) for name in kinds},
    }
