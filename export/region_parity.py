"""Regions of two engines beside each other: the same boxes may come in another order, and a few may differ.

Which boxes are the best, and in what order, is decided by scores that may lie close together. So numbers are compared
between regions of the same box, and how many boxes are the same is a decision like the nearest picture.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

REGIONS = ("region_boxes", "region_scores", "region_embeddings")
"""The image encoder's outputs of a region head; the second dimension is the region."""

SAME = 0.9
"""Intersection over union from which two boxes are the same."""


def aligned(
    expected: Mapping[str, NDArray[Any]], found: Mapping[str, NDArray[Any]]
) -> tuple[dict[str, NDArray[Any]], NDArray[np.bool_]]:
    """Bring the regions that were found into the order of the expected ones.

    Args:
        expected: outputs of one batch, those of a region head among them.
        found: the same of another engine.

    Returns:
        `found` in that order, where regions without a counterpart are the expected ones (there is nothing to compare
        with), and which of the expected regions have one: bool [images, regions].
    """
    common = overlaps(expected["region_boxes"], found["region_boxes"])
    nearest = common.argmax(axis=2)
    is_same = np.take_along_axis(common, nearest[..., None], axis=2)[..., 0] >= SAME
    put: dict[str, NDArray[Any]] = dict(found)
    for name in REGIONS:
        extra = (1,) * (expected[name].ndim - 2)
        moved = np.take_along_axis(found[name], nearest.reshape(*nearest.shape, *extra), axis=1)
        put[name] = np.where(is_same.reshape(*is_same.shape, *extra), moved, expected[name])
    return put, is_same


def overlaps(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.float64]:
    """Intersection over union of each box [images, boxes, 4] with each of others [images, others, 4]."""
    a, b = np.asarray(first, np.float64)[:, :, None], np.asarray(second, np.float64)[:, None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    common = np.maximum(sides, 0.0).prod(axis=-1)
    areas = [(box[..., 2:] - box[..., :2]).prod(axis=-1) for box in (a, b)]
    return np.asarray(common / np.maximum(areas[0] + areas[1] - common, 1e-12))
