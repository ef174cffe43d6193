"""Grounding: is the phrase's place found?

*Acc@0.5* is over phrases with one true box: the best box overlaps it with an intersection over union of at least 0.5.
*Pointing* is over all phrases: the hottest point of the heat map lies in any of the true boxes. Two controls need no
model: pointing at the middle of the picture, and calling the whole picture the box. What is not above them is no
grounding. Boxes are (x0, y0, x1, y1) in fractions of the picture.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.intervals import Weights, estimate, weighted_rate

Box = tuple[float, float, float, float]
Point = tuple[float, float]

OVERLAP = 0.5
CENTRE: Point = (0.5, 0.5)
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroundedRow:
    """A phrase as grounded.

    Attributes:
        truth: its true boxes, at least one.
        box: the best box found; None when none was.
        point: the hottest point.
        group: which rows belong together (the picture); these are resampled as one.
    """

    truth: Sequence[Box]
    box: Box | None
    point: Point
    group: int


def iou(first: Box, second: Box) -> float:
    """Intersection over union of two boxes; 0 where they do not meet or hold no area."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / (_area(first) + _area(second) - width * height)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def is_in(point: Point, box: Box) -> bool:
    """Say whether a point lies in a box, its border included."""
    return box[0] <= point[0] <= box[2] and box[1] <= point[1] <= box[3]


def summarise(rows: Sequence[GroundedRow], *, seed: int = 0) -> dict[str, Any]:
    """The `grounding` group of the result. Resampled are pictures, each with all its phrases."""
    picture, group = np.unique([row.group for row in rows], return_inverse=True)
    single = np.array([len(row.truth) == 1 for row in rows], bool)
    hits: dict[str, NDArray[np.bool_]] = {
        "acc@0.5": np.array([row.box is not None and _covers(row.box, row.truth) for row in rows], bool),
        "pointing": np.array([_points(row.point, row.truth) for row in rows], bool),
        "centre_pointing": np.array([_points(CENTRE, row.truth) for row in rows], bool),
        "whole_image_acc@0.5": np.array([_covers(WHOLE, row.truth) for row in rows], bool),
    }

    def statistic(weights: Weights) -> Mapping[str, float]:
        counted = weights[group]
        return {
            name: weighted_rate(hit, counted * single if name.endswith("acc@0.5") else counted)
            for name, hit in hits.items()
        }

    return {
        "count": len(rows),
        "count_single_box": int(single.sum()),
        **estimate(statistic, num_groups=len(picture), seed=seed),
    }


def _covers(box: Box, truth: Sequence[Box]) -> bool:
    return any(iou(box, true) >= OVERLAP for true in truth)


def _points(point: Point, truth: Sequence[Box]) -> bool:
    return any(is_in(point, box) for box in truth)
