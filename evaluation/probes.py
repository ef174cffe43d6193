"""Probes of what is seen beside the foremost thing: mentions, occlusions, near-duplicates.

*Mentions*: a caption is read as a whole, and the words of one of its phrases point at the patch that the fusion encoder
attends to most; is it in the phrase's box? *Later* are the phrases after the caption's first, *secondary* those whose
boxes are smaller than another's. Controls: the middle of the picture, and the point of another phrase of the caption.

*Occlusions*: the main thing is covered; does the caption still score above one that is wrong about another thing?
Chance is a half. Controls: the same patch elsewhere, where it hides nothing, and another picture.

*Near-duplicates*: a caption looks for its picture among all pictures and all their near-duplicates, by the dual encoder
(`r@1`); and by match among the near-duplicates of its own picture alone (`match_r@1`). A tie is lost.

Papers: what SoftMask++ (2023) is said to move; its own measures differ.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation import grounding
from evaluation.grounding import GroundedRow
from evaluation.hard_negatives import PairScores
from evaluation.intervals import Outcomes, estimate_rates
from evaluation.retrieval import TIE

_POINTING = ("pointing", "secondary_pointing", "centre_pointing", "secondary_centre_pointing", "blind_pointing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """A phrase within a caption and the point that was found."""

    row: GroundedRow
    is_later: bool


def point(mentions: Sequence[Mention]) -> Outcomes:
    """Compare points with the true boxes."""
    found = grounding.compare([mention.row for mention in mentions])
    later = np.array([mention.is_later for mention in mentions], bool)
    hits = {name: found.hits[name] for name in _POINTING}
    counted = {name: found.counted[name] for name in _POINTING if name in found.counted}
    hits |= {"later_pointing": hits["pointing"], "later_centre_pointing": hits["centre_pointing"]}
    return Outcomes(hits=hits, counted={**counted, "later_pointing": later, "later_centre_pointing": later})


def summarise_mentions(mentions: Sequence[Mention], found: Outcomes, *, seed: int = 0) -> dict[str, Any]:
    """The `mentions` group of the result. Resampled are pictures, each with all its phrases."""
    return estimate_rates(found, group=np.array([mention.row.group for mention in mentions], np.int64), seed=seed)


def uncover(
    *, judge: PairScores, dual: PairScores, elsewhere: PairScores, elsewhere_dual: PairScores, blind: PairScores
) -> Outcomes:
    """Compare the two captions of each covered picture.

    Args:
        judge: scores by match, or by the dual encoder where the bundle has no fusion graph; the main thing is covered.
        dual: cosines, likewise.
        elsewhere: the judge's scores with the patch elsewhere.
        elsewhere_dual: cosines, likewise.
        blind: the judge's scores with another picture; rows of `nan` had none.
    """
    hits = {
        "accuracy": judge.hits(),
        "dual_accuracy": dual.hits(),
        "elsewhere_accuracy": elsewhere.hits(),
        "elsewhere_dual_accuracy": elsewhere_dual.hits(),
        "blind_accuracy": blind.hits(),
    }
    return Outcomes(hits=hits, counted={"blind_accuracy": ~np.isnan(blind.caption)})


def find(
    images: NDArray[np.float32],
    texts: NDArray[np.float32],
    own: NDArray[np.int64],
    match: Sequence[Sequence[float]],
) -> Outcomes:
    """Rank each caption's picture among all pictures, and by match among its near-duplicates.

    Args:
        images: unit vectors of all pictures and near-duplicates, `[pictures, D]`.
        texts: unit vectors of the captions, `[captions, D]`.
        own: the row of each caption's picture, `[captions]`.
        match: of each caption, the scores of its picture, first, and of its near-duplicates.
    """
    similarity = texts @ images.T
    mine = similarity[np.arange(len(texts)), own]
    ranks = np.count_nonzero(similarity >= mine[:, None] - TIE, axis=1)  # the own picture counts itself
    is_first = np.array([scores[0] > max(scores[1:]) for scores in match], bool)
    return Outcomes(hits={"r@1": ranks <= 1, "r@5": ranks <= 5, "match_r@1": is_first}, counted={})


def chances(num_pictures: int, near: Sequence[int]) -> Mapping[str, float]:
    """What an order by chance gives: among all pictures, and among one and its near-duplicates."""
    return {
        "chance_r@1": 1 / num_pictures,
        "chance_r@5": min(1.0, 5 / num_pictures),
        "chance_match_r@1": float(np.mean([1 / (1 + count) for count in near])),
    }
