"""From an image reference or an uploaded file to a decoded picture."""

import binascii
from base64 import b64decode
from dataclasses import dataclass

from PIL import Image

from runtime.errors import GalleryError, ImageError
from runtime.preprocess.image import decode_image, image_size
from server import timings
from server.errors import RequestError, field_error
from server.schemas.common import ImageReference
from server.service import Service
from server.timings import Timings


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture.

    Attributes:
        image: RGB, upright; it may have fewer pixels than was sent.
        width_px: as sent, upright.
        height_px: as sent, upright.
    """

    image: Image.Image
    width_px: int
    height_px: int


def one_picture(reference: ImageReference | None, uploaded: bytes | None, *, field: str = "image") -> bool:
    """Say whether a picture was sent.

    Raises:
        RequestError: `request_invalid` when it was sent twice.
    """
    if reference is not None and uploaded is not None:
        raise field_error(field, "the picture was sent twice: as a part and as a reference")
    return reference is not None or uploaded is not None


async def picture_bytes(
    service: Service, reference: ImageReference | None, uploaded: bytes | None, *, gallery: str
) -> bytes:
    """Return the bytes of the picture's file.

    Raises:
        RequestError: `request_invalid` when none or two were sent, `url_not_allowed`, `unknown_item`,
            `picture_missing`, `url_failed`, `body_too_large`.
        ImageError: `image_undecodable` when the base64 is none.
        GalleryError: `unknown_gallery`.
    """
    if not one_picture(reference, uploaded):
        raise field_error("image", "a picture is needed: a part `image`, or one of base64, url and item")
    if reference is None:
        return uploaded or b""
    if reference.base64 is not None:
        return await service.engines.decode(_from_base64, reference.base64)
    if reference.item is not None:
        return await item_picture(service, gallery, reference.item)
    assert reference.url is not None
    stopwatch = timings.current.get() or Timings()
    with stopwatch.stage("fetch"):
        return await service.fetcher.fetch(reference.url)


async def item_picture(service: Service, gallery: str, item: str) -> bytes:
    """Return the stored picture of an item.

    Raises:
        GalleryError: `unknown_gallery`.
        RequestError: `unknown_item`, `picture_missing`.
    """
    opened = service.galleries.get(gallery)
    picture = await service.store(opened.picture, item)
    if picture is None:
        if await service.store(opened.get, item) is None:
            raise unknown_item(gallery)
        raise RequestError("the item has no picture.", code="picture_missing")
    return picture


def unknown_item(gallery: str) -> GalleryError:
    """Return the refusal of an item that is not there."""
    return GalleryError(f"gallery '{gallery}' has no such item.", code="unknown_item")


async def decoded(service: Service, data: bytes, stopwatch: Timings, *, target_px: int | None = None) -> Picture:
    """Decode a picture on a thread, unless its header promises too many pixels.

    Args:
        service: whose threads and limits are used.
        data: the bytes of a file.
        stopwatch: where the time is counted.
        target_px: as in `decode_image`; the image encoder's own size when None.

    Raises:
        ImageError: `image_undecodable`, `image_too_large`.
    """
    wanted_px = target_px or service.encoder.manifest.image.size_px
    with stopwatch.stage("decode"):
        return await service.engines.decode(_decode, data, service.settings.max_pixels, wanted_px)


def _decode(data: bytes, max_pixels: int, target_px: int) -> Picture:
    image = decode_image(data, max_pixels=max_pixels, target_px=target_px)
    width_px, height_px = image_size(data)
    return Picture(image, width_px, height_px)


def _from_base64(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ImageError("the field base64 does not hold base64.") from None
