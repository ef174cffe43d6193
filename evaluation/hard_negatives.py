"""Hard negatives: does the true caption score above one that has a little wrong?

The measure of ARO, SugarCrepe, VALSE and FOIL: pairwise accuracy, chance 0.5. A tie is a miss. Beside it stands the
*blind* accuracy of the same judge looking at another picture: what is left there was read from the texts alone and
says nothing about seeing. The dual encoder has a blind accuracy of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.intervals import Outcomes, estimate_rates
from evaluation.ranking import strictly_above


@dataclass(frozen=True, slots=True, kw_only=True)
class PairScores:
    """Scores of one judge for rows of (picture, true caption, wrong caption); any scale, higher fits better.

    Attributes:
        caption: Score of the true caption, `[rows]`.
        negative: Score of the wrong caption, `[rows]`.
    """

    caption: NDArray[np.floating[Any]]
    negative: NDArray[np.floating[Any]]

    def hits(self) -> NDArray[np.bool_]:
        """Where the true caption scores strictly higher, `[rows]`."""
        return strictly_above(self.caption, self.negative)


def compare(*, judge: PairScores, dual: PairScores, blind: PairScores, blind_dual: PairScores) -> Outcomes:
    """Compare the captions of each row.

    Args:
        judge: Scores by match, or by the dual encoder where the bundle has no fusion graph.
        dual: Cosines of the dual encoder.
        blind: The judge's scores with another picture in place of the row's own; rows of `nan` had none.
        blind_dual: The dual encoder's scores with that picture.
    """
    has_blind = ~np.isnan(blind.caption)
    return Outcomes(
        hits={
            "accuracy": judge.hits(),
            "dual_accuracy": dual.hits(),
            "blind_accuracy": blind.hits(),
            "blind_dual_accuracy": blind_dual.hits(),
        },
        counted={"blind_accuracy": has_blind, "blind_dual_accuracy": has_blind},
    )


def summarise(found: Outcomes, types: Sequence[str], *, seed: int = 0) -> dict[str, Any]:
    """The `hard_negatives` group of the result.

    `macro_accuracy` is the mean over the types, each counting alike (as ARO and VALSE report it).

    Args:
        found: What became of each row.
        types: Kind of error of each row.
        seed: Of the intervals.
    """
    kind = np.asarray(types, dtype=object)
    by_type = {name: estimate_rates(found, rows=kind == name, seed=seed) for name in sorted(set(types))}
    accuracies = [group["accuracy"] for group in by_type.values()]
    return {
        **estimate_rates(found, seed=seed),
        "macro_accuracy": sum(accuracies) / len(accuracies) if accuracies else None,
        "by_type": by_type,
    }
