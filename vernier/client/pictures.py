"""Pictures as a caller has them, as a request carries them."""

import base64
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from runtime.errors import ImageError

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class UrlReference:
    """A picture that the server fetches itself; its operator must have allowed the host."""

    url: str


@dataclass(frozen=True, slots=True)
class ItemReference:
    """A picture that the gallery holds already."""

    id: str


Picture: TypeAlias = "str | os.PathLike[str] | bytes | PIL.Image.Image | NDArray[np.uint8] | NDArray[np.floating[Any]]"
"""A path, the bytes of a picture file, a PIL picture, or an array [height, width(, 3)]: uint8, or floats in 0..1."""

PictureOrReference: TypeAlias = "Picture | UrlReference | ItemReference"


def encoded(picture: Picture) -> bytes:
    """Return a picture as the bytes of a picture file. Files and bytes go as they are, everything else as PNG.

    Raises:
        ImageError: the file cannot be read, or the object is no picture.
    """
    if isinstance(picture, bytes | bytearray | memoryview):
        return bytes(picture)
    if isinstance(picture, str | os.PathLike):
        try:
            return Path(picture).read_bytes()
        except OSError as error:
            raise ImageError(f"the picture {picture} cannot be read: {error.strerror or error}.") from error
    return _png(picture)


def reference(picture: PictureOrReference) -> dict[str, str]:
    """Return the image reference of the HTTP interface, with the bytes inside where there are bytes.

    Raises:
        ImageError: as for `encoded`.
    """
    if isinstance(picture, UrlReference):
        return {"url": picture.url}
    if isinstance(picture, ItemReference):
        return {"item": picture.id}
    return {"base64": base64.b64encode(encoded(picture)).decode()}


def _png(picture: object) -> bytes:
    import PIL.Image

    image = picture if isinstance(picture, PIL.Image.Image) else _from_array(picture)
    if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA"):
        image = image.convert("RGB")
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def _from_array(picture: object) -> "PIL.Image.Image":
    import numpy as np
    import PIL.Image

    if not isinstance(picture, np.ndarray):
        raise ImageError(f"a {type(picture).__name__} is no picture; give a path, bytes, a PIL image or a numpy array.")
    if picture.ndim not in (2, 3) or (picture.ndim == 3 and picture.shape[2] not in (1, 3, 4)) or picture.size == 0:
        raise ImageError(
            f"an array of shape {picture.shape} is no picture; give [height, width] or [height, width, 3]."
        )
    pixels: NDArray[Any] = picture[..., 0] if picture.ndim == 3 and picture.shape[2] == 1 else picture
    if np.issubdtype(pixels.dtype, np.floating):
        if not (np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 1):
            raise ImageError("a picture of floats holds values in 0..1; scale it, or give uint8.")
        pixels = np.rint(pixels * 255).astype(np.uint8)
    if pixels.dtype != np.uint8:
        raise ImageError(f"an array of {pixels.dtype} is no picture; give uint8, or floats in 0..1.")
    return PIL.Image.fromarray(pixels)
