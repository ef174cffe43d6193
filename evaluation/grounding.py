"""Grounding: is the phrase's place found?

*Acc@0.5* is over phrases with one true box: the best box overlaps it with an intersection over union of at least 0.5.
*Pointing* is over all phrases: the hottest point of the heat map lies in any of the true boxes. *Secondary pointing* is
over the phrases whose boxes are smaller than those of another phrase of their picture: not its main thing. *Binding
Acc@0.5* and *binding pointing* are over the phrases of things that have others of their kind in the picture: the red
cup among cups, which only its attributes tell apart. These four take the best box, however unsure. *Served Acc@0.5*
takes only boxes that a server gives: those that pass the bundle's threshold, which a share *given* of the phrases do.
*Refused* is over phrases of what is not in the picture, which should be given no box.

Three controls need no model: pointing at the middle of the picture, and calling the whole picture, or the middle of it
with half of its sides, the box. The fourth,
`blind_…`, is the model's own answer to *another* phrase of the same picture: a model that always points at the same
salient thing is no better than that. Boxes are (x0, y0, x1, y1) in fractions of the picture.

Papers: pointing game, Zhang et al. (2016); secondary things as in SoftMask++ (2023), whose own measure differs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.intervals import Outcomes, estimate_rates

Box = tuple[float, float, float, float]
Point = tuple[float, float]

OVERLAP = 0.5
CENTRE: Point = (0.5, 0.5)
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
MIDDLE: Box = (0.25, 0.25, 0.75, 0.75)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroundedRow:
    """A phrase as grounded.

    Attributes:
        truth: its true boxes, at least one.
        box: the best box found; None when none was.
        point: the hottest point.
        phrase: what was looked for.
        group: which rows belong together (the picture); these are resampled as one.
        is_given: whether a server gives the box.
        rivals: how many other things of the picture are of the same kind, as far as is known.
    """

    truth: Sequence[Box]
    box: Box | None
    point: Point
    phrase: str
    group: int
    is_given: bool = True
    rivals: int = 0


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


def hottest(heat: NDArray[np.floating[Any]]) -> Point:
    """The middle of the hottest cell of a map `[rows, columns]`, in fractions; the first of equal ones."""
    row, column = np.unravel_index(int(np.argmax(heat)), heat.shape)
    return (float(column + 0.5) / heat.shape[1], float(row + 0.5) / heat.shape[0])


def compare(rows: Sequence[GroundedRow]) -> Outcomes:
    """Compare the places that were found with the true ones."""
    others = _others(rows)
    is_given = np.array([row.is_given for row in rows], bool)
    is_single = np.array([len(row.truth) == 1 for row in rows], bool)
    has_other = np.array([other is not None for other in others], bool)
    is_secondary = _secondary(rows)
    has_rival = np.array([row.rivals > 0 for row in rows], bool)
    covered = np.array([_covers(row.box, row.truth) for row in rows], bool)
    pointing, centre = (
        np.array([_points(point, row.truth) for row, point in zip(rows, points, strict=True)], bool)
        for points in ([row.point for row in rows], [CENTRE] * len(rows))
    )
    blind = [(row, rows[other]) for row, other in zip(rows, others, strict=True) if other is not None]
    hits = {
        "acc@0.5": covered,
        "served_acc@0.5": covered & is_given,
        "given": is_given,
        "binding_acc@0.5": covered,
        "binding_pointing": pointing,
        "pointing": pointing,
        "secondary_pointing": pointing,
        "centre_pointing": centre,
        "secondary_centre_pointing": centre,
        "centre_box_acc@0.5": np.array([_covers(MIDDLE, row.truth) for row in rows], bool),
        "whole_image_acc@0.5": np.array([_covers(WHOLE, row.truth) for row in rows], bool),
        "blind_acc@0.5": _spread([_covers(other.box, row.truth) for row, other in blind], has_other),
        "blind_pointing": _spread([_points(other.point, row.truth) for row, other in blind], has_other),
    }
    return Outcomes(
        hits=hits,
        counted={
            "acc@0.5": is_single,
            "served_acc@0.5": is_single,
            "centre_box_acc@0.5": is_single,
            "binding_acc@0.5": is_single & has_rival,
            "binding_pointing": has_rival,
            "whole_image_acc@0.5": is_single,
            "blind_acc@0.5": is_single & has_other,
            "blind_pointing": has_other,
            "secondary_pointing": is_secondary,
            "secondary_centre_pointing": is_secondary,
        },
    )


def summarise(rows: Sequence[GroundedRow], found: Outcomes, *, seed: int = 0) -> dict[str, Any]:
    """The `grounding` group of the result. Resampled are pictures, each with all its phrases."""
    group = np.array([row.group for row in rows], np.int64)
    rates = estimate_rates(found, group=group, seed=seed)
    return {
        "count": rates.pop("count"),
        "count_single_box": int(found.counted["acc@0.5"].sum()),
        "count_with_rivals": int(found.counted["binding_pointing"].sum()),
        "count_secondary": int(found.counted["secondary_pointing"].sum()),
        **rates,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class AbsentRow:
    """A phrase of what is not in its picture, as grounded.

    Attributes:
        is_given: whether a server gives it a box.
        group: which rows belong together (the picture).
    """

    is_given: bool
    group: int


def refusals(rows: Sequence[AbsentRow]) -> Outcomes:
    """Whether phrases of what is not there are given no box."""
    return Outcomes(hits={"refused": np.array([not row.is_given for row in rows], bool)})


def summarise_absent(rows: Sequence[AbsentRow], found: Outcomes, *, seed: int = 0) -> dict[str, Any]:
    """The `absent` group of the result."""
    return estimate_rates(found, group=np.array([row.group for row in rows], np.int64), seed=seed)


def _others(rows: Sequence[GroundedRow]) -> list[int | None]:
    """For each row the next row of its picture with another phrase and other boxes; None where there is none."""
    of_picture: dict[int, list[int]] = {}
    for at, row in enumerate(rows):
        of_picture.setdefault(row.group, []).append(at)
    found: list[int | None] = []
    for at, row in enumerate(rows):
        mates = of_picture[row.group]
        place = mates.index(at)
        turned = mates[place + 1 :] + mates[:place]
        found.append(
            next((mate for mate in turned if rows[mate].phrase != row.phrase and rows[mate].truth != row.truth), None)
        )
    return found


def _secondary(rows: Sequence[GroundedRow]) -> NDArray[np.bool_]:
    """Which rows have a largest box smaller than that of another phrase of their picture, `[rows]`."""
    area = [max(_area(box) for box in row.truth) for row in rows]
    largest: dict[int, float] = {}
    for row, size in zip(rows, area, strict=True):
        largest[row.group] = max(size, largest.get(row.group, 0.0))
    return np.array([size < largest[row.group] for row, size in zip(rows, area, strict=True)], bool)


def _spread(values: Sequence[bool], places: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Put values, in order, where `places` holds; false elsewhere."""
    spread = np.zeros(len(places), bool)
    spread[places] = values
    return spread


def _covers(box: Box | None, truth: Sequence[Box]) -> bool:
    return box is not None and any(iou(box, true) >= OVERLAP for true in truth)


def _points(point: Point, truth: Sequence[Box]) -> bool:
    return any(is_in(point, box) for box in truth)
