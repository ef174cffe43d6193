"""The small picture that is kept of an item, to show it."""

import io

from PIL import Image

LONGEST_PX = 512
_QUALITY = 85


def thumbnail(image: Image.Image) -> bytes:
    """Return an RGB picture as a JPEG whose longest side is at most 512 pixels; it is never enlarged."""
    small = image.copy()
    small.thumbnail((LONGEST_PX, LONGEST_PX), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()
