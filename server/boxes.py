"""From boxes in fractions of an encoder's input to boxes in pixels of the picture as sent."""

from runtime.encoder import Encoder


def in_pixels(
    box: tuple[float, float, float, float], encoder: Encoder, *, width_px: int, height_px: int
) -> tuple[float, float, float, float]:
    """Return (x0, y0, x1, y1) in pixels, rounded to a tenth and within the picture."""
    transform = encoder.manifest.image.transform()
    x0, y0, x1, y1 = transform.box_in_picture(box, width_px=width_px, height_px=height_px)

    def pixels(fraction: float, side_px: int) -> float:
        return round(min(max(fraction, 0.0), 1.0) * side_px, 1)

    return (pixels(x0, width_px), pixels(y0, height_px), pixels(x1, width_px), pixels(y1, height_px))
