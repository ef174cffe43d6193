"""Pictures: from bytes to an upright RGB picture, and from there to what an image encoder takes.

Training imports this module too, so that a model is served exactly the pixels it was trained on.
"""

import io
import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from runtime.errors import ImageError

MAX_PIXELS = 40_000_000
"""Pictures of more pixels are refused from their header alone, before anything is decoded."""

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
"""What is decoded. Pillow knows more, among them EPS, which it would hand to an interpreter."""

_NO_PICTURE = (
    "these bytes are not a picture in a format that is read here (JPEG, PNG, WebP, GIF, BMP, TIFF, PPM, AVIF)."
)

# The pixel limit is checked here, for every picture; Pillow's own warning would only be noise beside it.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

Resize = Literal["squash", "crop"]
Resample = Literal["bilinear", "bicubic", "lanczos"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageTransform:
    """How a picture becomes an input of the image encoder.

    Attributes:
        size_px: side of the square input.
        resize: `squash` scales both sides to `size_px` and keeps everything in view (a box in the picture is the same
            box, in fractions, in the input); `crop` scales the shorter side and cuts the centre, as CLIP does.
        mean: per channel (red, green, blue), subtracted after scaling to 0..1.
        std: per channel, divided by afterwards.
        resample: the filter that scales.
    """

    size_px: int
    resize: Resize = "squash"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    resample: Resample = "bicubic"

    def apply(self, image: Image.Image) -> NDArray[np.float32]:
        """Return the input for one RGB picture: float32 [3, size_px, size_px]."""
        fitted = self._fit(image)
        pixels = np.asarray(fitted, dtype=np.uint8).transpose(2, 0, 1)
        mean, std = (np.asarray(value, np.float32).reshape(3, 1, 1) for value in (self.mean, self.std))
        scale, shift = (1 / (255 * std)).astype(np.float32), (mean / std).astype(np.float32)
        return np.ascontiguousarray(pixels * scale - shift, dtype=np.float32)

    def box_in_picture(
        self, box: tuple[float, float, float, float], *, width_px: int, height_px: int
    ) -> tuple[float, float, float, float]:
        """Turn a box in fractions of the encoder's input into one in fractions of the picture."""
        if self.resize == "squash":
            return box
        short = min(width_px, height_px)
        scale_x, scale_y = short / width_px, short / height_px
        left, top = (1 - scale_x) / 2, (1 - scale_y) / 2
        x0, y0, x1, y1 = box
        return (left + x0 * scale_x, top + y0 * scale_y, left + x1 * scale_x, top + y1 * scale_y)

    def _fit(self, image: Image.Image) -> Image.Image:
        size = self.size_px
        width, height = image.size
        if self.resize == "crop":  # rounded down both times, as CLIP's own transform in transformers does
            short = min(width, height)
            width, height = int(size * width / short), int(size * height / short)
        else:
            width = height = size
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling[self.resample.upper()])
        left, top = (width - size) // 2, (height - size) // 2
        return image if image.size == (size, size) else image.crop((left, top, left + size, top + size))


def decode_image(data: bytes, *, max_pixels: int = MAX_PIXELS, target_px: int | None = None) -> Image.Image:
    """Decode one picture as a viewer would show it: upright (EXIF), first frame, RGB, transparency over white.

    Args:
        data: the bytes of a file in one of FORMATS.
        max_pixels: the header must not promise more.
        target_px: when given, a JPEG may be decoded at a lower resolution whose sides are both still at least
            this long (twice as fast for large photos). The picture is then smaller than the file says.

    Raises:
        ImageError: `image_undecodable` when the bytes are no picture or stop too early; `image_too_large` when the
            header promises more than `max_pixels`.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = image.size
        if width * height > max_pixels:
            raise ImageError(
                f"the picture has {width} x {height} pixels; at most {max_pixels:,} are accepted. Send a smaller one.",
                code="image_too_large",
            )
        if target_px is not None and image.format == "JPEG":
            image.draft("RGB", (target_px, target_px))
        image.load()
        return _as_shown(image)
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"the picture is too large to decode ({error}).", code="image_too_large") from error
    except UnidentifiedImageError as error:
        raise ImageError(_NO_PICTURE) from error
    except Exception as error:  # Pillow's plugins raise almost anything on damaged files
        raise ImageError(f"the picture is damaged and could not be decoded ({error}).") from error


def image_size(data: bytes) -> tuple[int, int]:
    """Return (width, height) in pixels of the upright picture, from its header alone.

    Raises:
        ImageError: `image_undecodable` when the bytes are no picture.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        width, height = image.size
        turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
    except Exception as error:  # as above
        raise ImageError(_NO_PICTURE) from error
    return (height, width) if turned else (width, height)


def _as_shown(image: Image.Image) -> Image.Image:
    upright = ImageOps.exif_transpose(image)
    if upright.mode in ("I;16", "I;16B", "I;16L", "I"):
        grey = np.asarray(upright, dtype=np.float64)
        scale = 255.0 / 65535.0 if grey.max(initial=0) > 255 else 1.0
        return Image.fromarray((grey * scale).clip(0, 255).astype(np.uint8)).convert("RGB")
    if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
        rgba = upright.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return upright.convert("RGB")
