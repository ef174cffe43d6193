"""Boxes: how much two overlap, which of many are kept, and those around the hot parts of a map."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.encoder import Floats
from runtime.grounding.found import Box

MOST_OVERLAP = 0.5
"""Intersection over union above which the worse of two boxes is dropped."""

Array = NDArray[Any]
"""Of numbers."""

_UPSAMPLING = 4
BOX_SHARE_OF_PEAK = 0.5


def overlaps(boxes: Array, others: Array) -> Array:
    """Intersection over union of each box with each other: [n, 4] and [m, 4] give [n, m]; 0 where neither has area."""
    a, b = np.asarray(boxes, np.float64)[:, None], np.asarray(others, np.float64)[None]
    width = np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0])
    height = np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1])
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    union = _areas(a) + _areas(b) - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def non_overlapping(boxes: Sequence[Box] | Array, *, most: int, most_overlap: float = MOST_OVERLAP) -> list[int]:
    """Keep the first boxes of which no two overlap much: greedy non-maximum suppression.

    Args:
        boxes: [n, 4], best first.
        most: how many are kept at most.
        most_overlap: intersection over union that two kept boxes may have.

    Returns:
        Numbers of the boxes kept, best first.
    """
    array = np.reshape(np.asarray(boxes, np.float64), (-1, 4))
    kept: list[int] = []
    for at in range(len(array)):
        if len(kept) >= most:
            break
        if not kept or overlaps(array[[at]], array[kept]).max() <= most_overlap:
            kept.append(at)
    return kept


def boxes_of(heat: Floats, *, share_of_peak: float = BOX_SHARE_OF_PEAK) -> list[tuple[Box, Floats]]:
    """Draw boxes around the hot parts of a map.

    The map is enlarged smoothly, cut at a share of its peak, and each connected part gives a box.

    Args:
        heat: [rows, columns], 0..1.
        share_of_peak: where it is cut.

    Returns:
        (box, share of each cell of `heat` that the part covers [rows, columns]), by falling total heat.
    """
    fine = _enlarge(heat, _UPSAMPLING)
    if fine.max() <= 0:
        return []
    labels = _connected_parts(fine >= share_of_peak * fine.max())
    rows, columns = fine.shape
    found = []
    for label in range(1, labels.max() + 1):
        part = labels == label
        ys, xs = np.nonzero(part)
        box = (
            float(xs.min() / columns),
            float(ys.min() / rows),
            float((xs.max() + 1) / columns),
            float((ys.max() + 1) / rows),
        )
        share = part.reshape(heat.shape[0], _UPSAMPLING, heat.shape[1], _UPSAMPLING).mean(axis=(1, 3))
        found.append((float(fine[part].sum()), box, np.maximum(share, 1e-6).astype(np.float32)))
    found.sort(key=lambda entry: -entry[0])
    return [(box, share) for _, box, share in found]


def coverage(boxes: Array, rows: int, columns: int) -> Floats:
    """Share of each cell of a grid that each box covers: [n, 4] gives [n, rows, columns]."""

    def along(low: Array, high: Array, cells: int) -> Array:
        edges = np.arange(cells + 1) / cells
        shared = np.minimum(high[:, None], edges[1:]) - np.maximum(low[:, None], edges[:-1])
        return np.asarray(np.maximum(shared, 0) * cells)

    across, down = along(boxes[:, 0], boxes[:, 2], columns), along(boxes[:, 1], boxes[:, 3], rows)
    return np.asarray(down[:, :, None] * across[:, None, :], np.float32)


def scaled(heat: Floats) -> Floats:
    """Stretch a map to 0..1; one that is the same everywhere is cold."""
    low, high = float(heat.min()), float(heat.max())
    return np.asarray((heat - low) / (high - low + 1e-6), np.float32)


def _areas(boxes: Array) -> Array:
    areas: Array = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    return np.asarray(np.maximum(areas, 0))


def _enlarge(heat: Floats, factor: int) -> Floats:
    """Enlarge bilinearly; cell centres keep their place."""
    for axis in (0, 1):
        size = heat.shape[axis]
        at = np.clip((np.arange(size * factor) + 0.5) / factor - 0.5, 0, size - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, size - 1)
        share = (at - low).reshape((-1, 1) if axis == 0 else (1, -1))
        heat = np.take(heat, low, axis) * (1 - share) + np.take(heat, high, axis) * share
    return np.asarray(heat, np.float32)


def _connected_parts(hot: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Label 4-connected parts: 0 is cold, 1.. are the parts, in the order in which their first cells are read.

    Runs of hot cells are joined, row by row, with those of the row before that they touch.
    """
    edges = np.diff(np.pad(hot, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = (column.tolist() for column in np.nonzero(edges == 1))
    ends = np.nonzero(edges == -1)[1].tolist()
    part = list(range(len(rows)))  # of each run: itself, or an earlier run of the same part

    def first(run: int) -> int:
        while part[run] != run:
            part[run] = run = part[part[run]]
        return run

    above = 0  # the first run that a later one could still touch
    for run, row in enumerate(rows):
        while rows[above] < row - 1 or (rows[above] == row - 1 and ends[above] <= starts[run]):
            above += 1
        other = above
        while rows[other] == row - 1 and starts[other] < ends[run]:
            one, two = sorted((first(run), first(other)))
            part[two] = one
            other += 1
    labels = np.zeros(hot.shape, np.int32)
    number: dict[int, int] = {}
    for run, row in enumerate(rows):
        labels[row, starts[run] : ends[run]] = number.setdefault(first(run), len(number) + 1)
    return labels
