"""From boxes in fractions of an encoder's input to boxes in pixels of the picture as sent."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from runtime.encoder import Encoder
from runtime.grounding import Box


def in_pixels(boxes: Sequence[Box], encoder: Encoder, sizes_px: Sequence[tuple[int, int]]) -> list[Box]:
    """Return boxes as (x0, y0, x1, y1) in pixels, rounded to a tenth and within their pictures.

    Args:
        boxes: in fractions of the encoder's input.
        encoder: whose input it is.
        sizes_px: width and height of the picture of each box.
    """
    if not boxes:
        return []
    sides = np.tile(np.asarray(sizes_px, np.float64), 2)
    place = encoder.image_transform.box_in_picture
    of_size = {size: place((0.0, 0.0, 1.0, 1.0), width_px=size[0], height_px=size[1]) for size in set(sizes_px)}
    whole = np.asarray([of_size[size] for size in sizes_px])
    start, scale = np.tile(whole[:, :2], 2), np.tile(whole[:, 2:] - whole[:, :2], 2)
    found: NDArray[np.float64] = np.round(np.clip(start + np.asarray(boxes) * scale, 0, 1) * sides, 1)
    return [(x0, y0, x1, y1) for x0, y0, x1, y1 in found.tolist()]
