"""Grounding by the region head: a phrase's boxes are the regions whose embeddings are nearest to it.

Needs no patch, no fusion graph and, where regions are stored, no picture: phrases of many pictures are one product.

Paper: LOUPE (2022), phrase grounding by region-phrase similarity. Differs from the paper: several boxes and none are
possible answers, and the heat map, which the paper does not draw, is the regions' own.
"""

from collections.abc import Sequence

import numpy as np

from runtime.encoder import Floats, ImageFeatures
from runtime.grounding.boxes import coverage, scaled
from runtime.grounding.found import Box, RawGrounding

_SHARPNESS = 20.0
"""What similarities are multiplied by before the softmax over the regions that weighs them in the heat map."""

_LEAST_AREA = 1e-4


def ground_by_regions(images: ImageFeatures, phrases: Floats, *, rows: int, columns: int) -> list[list[RawGrounding]]:
    """Find each phrase in each picture among its regions.

    A region's raw score is the cosine of its embedding and the phrase's. Regions without area are left out.

    Args:
        images: features with regions; nothing else of them is read.
        phrases: [phrases, dim], unit length.
        rows: of the heat map.
        columns: of the heat map.

    Returns:
        For each picture, for each phrase.
    """
    assert images.region_boxes is not None
    assert images.region_embeddings is not None
    similarity = np.einsum("md,prd->mpr", phrases, np.asarray(images.region_embeddings, np.float32))
    all_boxes = np.clip(np.asarray(images.region_boxes, np.float64), 0, 1)
    found = []
    for picture, boxes in enumerate(all_boxes):
        real = np.flatnonzero((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) >= _LEAST_AREA)
        fits = similarity[:, picture, real]
        heats = _heats(boxes[real], fits, rows=rows, columns=columns)
        orders = np.argsort(-fits, axis=1, kind="stable")
        found.append(
            [
                RawGrounding(boxes=[_box(boxes[at]) for at in real[order]], raw=scores[order].tolist(), heat=heat)
                for order, scores, heat in zip(orders, fits, heats, strict=True)
            ]
        )
    return found


def best_regions(images: ImageFeatures, phrases: Floats) -> tuple[Floats, Floats]:
    """Return the first box that `ground_by_regions` gives each phrase in each picture, and its raw score.

    Args:
        images: features with regions; nothing else of them is read.
        phrases: [phrases, dim], unit length.

    Returns:
        Boxes [pictures, phrases, 4] and raw scores [pictures, phrases], minus infinity where a picture has no region.
    """
    assert images.region_boxes is not None
    assert images.region_embeddings is not None
    boxes = np.clip(images.region_boxes, 0, 1)
    similarity = phrases @ np.swapaxes(np.asarray(images.region_embeddings, np.float32), 1, 2)
    areas = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    similarity = np.where((areas >= _LEAST_AREA)[:, None], similarity, -np.inf)
    best = similarity.argmax(axis=2)
    return boxes[np.arange(len(boxes))[:, None], best], similarity.max(axis=2, initial=-np.inf)


def _heats(boxes: Floats, similarity: Floats, *, rows: int, columns: int) -> Floats:
    """Lay regions over each other, each weighed by how well it fits: [phrases, rows, columns].

    Towards its border a region is less certain: it falls from 1 in its middle to a half there, so that the hottest
    point of a map with one region is its middle.
    """
    if not len(boxes):
        return np.zeros((len(similarity), rows, columns), np.float32)
    weights = np.exp(_SHARPNESS * (similarity - similarity.max(axis=1, keepdims=True)))
    weights = weights / weights.sum(axis=1, keepdims=True)
    laid = coverage(boxes, rows, columns) * _towards_the_middle(boxes, rows, columns)
    heats = np.einsum("mr,ryx->myx", weights, laid)
    return np.stack([scaled(heat) for heat in heats]) if len(heats) else np.asarray(heats, np.float32)


def _towards_the_middle(boxes: Floats, rows: int, columns: int) -> Floats:
    def along(low: Floats, high: Floats, cells: int) -> Floats:
        at = (np.arange(cells) + 0.5) / cells
        off = np.abs(at - ((low + high) / 2)[:, None]) / np.maximum((high - low)[:, None] / 2, 1e-6)
        return np.asarray(1 - 0.5 * np.minimum(off, 1), np.float32)

    down, across = along(boxes[:, 1], boxes[:, 3], rows), along(boxes[:, 0], boxes[:, 2], columns)
    return np.minimum(down[:, :, None], across[:, None, :])


def _box(box: Sequence[float] | Floats) -> Box:
    x0, y0, x1, y1 = (float(edge) for edge in box)
    return (x0, y0, x1, y1)
