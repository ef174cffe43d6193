"""The small picture that is kept of an item, to show it."""

import io

from PIL import Image

LONGEST_PX = 512
_QUALITY = 85


def thumbnail(image: Image.Image, *, longest_px: int = LONGEST_PX) -> bytes:
    """Return an RGB picture as a JPEG whose longest side is at most so many pixels; it is never enlarged."""
    small = image.copy()
    small.thumbnail((longest_px, longest_px), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()
