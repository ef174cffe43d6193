"""Heat maps as they are sent: over the whole picture, as numbers or as a small grey picture."""

import io
from base64 import b64encode
from typing import Literal

import numpy as np
from PIL import Image

from runtime.encoder import Encoder, Floats

HeatmapForm = Literal["none", "png", "grid"]
Heatmap = str | list[list[float]]
"""A PNG in base64, or rows of numbers in 0..1."""


def heatmap_of(encoder: Encoder, heat: Floats, size_px: tuple[int, int], form: HeatmapForm) -> Heatmap | None:
    """Show a heat map in one of its forms. What the encoder does not see of a picture that it crops is cold.

    Args:
        encoder: whose image transform the map is of.
        heat: [rows, columns] over the encoder's input, 0..1.
        size_px: width and height of the picture.
        form: how it is shown; None is returned for `none`.
    """
    if form == "none":
        return None
    whole = _over_picture(encoder, heat, size_px)
    if form == "grid":
        return [[round(float(value), 4) for value in row] for row in whole]
    file = io.BytesIO()
    Image.fromarray((whole * 255).round().astype(np.uint8)).save(file, "PNG")
    return b64encode(file.getvalue()).decode()


def _over_picture(encoder: Encoder, heat: Floats, size_px: tuple[int, int]) -> Floats:
    rows, columns = heat.shape
    width_px, height_px = size_px
    transform = encoder.manifest.image.transform()
    x0, y0, x1, y1 = transform.box_in_picture((0.0, 0.0, 1.0, 1.0), width_px=width_px, height_px=height_px)
    left, right = round(x0 * columns / (x1 - x0)), round((1 - x1) * columns / (x1 - x0))
    top, bottom = round(y0 * rows / (y1 - y0)), round((1 - y1) * rows / (y1 - y0))
    return np.pad(heat, ((top, bottom), (left, right)))
