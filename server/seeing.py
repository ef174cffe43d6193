"""From the bytes of a picture to what the image encoder says of it; the same bytes are looked at once."""

import hashlib
from dataclasses import dataclass

from runtime.encoder import ImageFeatures
from runtime.word_judges import method_of
from server.pictures import decoded
from server.service import Service
from server.timings import Timings

_HASHED_AT_ONCE = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A picture as the image encoder sees it.

    Attributes:
        features: of this one picture.
        width_px: as sent, upright.
        height_px: as sent, upright.
    """

    features: ImageFeatures
    width_px: int
    height_px: int

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height."""
        return self.width_px, self.height_px


async def see(service: Service, data: bytes, timings: Timings, *, to_proofread: bool = False) -> Seen:
    """Decode and embed a picture, unless its very bytes were seen lately; `to_proofread` if texts are to be.

    Raises:
        ImageError: `image_undecodable`, `image_too_large`.
        EngineError: the engine failed.
    """
    is_small = len(data) <= _HASHED_AT_ONCE
    key = _digest(data) if is_small else await service.engines.decode(_digest, data)
    cached = service.seen.get(key)
    to_proofread = to_proofread and method_of(service.encoder) == "word_errors"
    if cached is not None and (cached.features.levels is not None or not to_proofread):
        return cached
    picture = await decoded(service, data, timings)
    with timings.stage("embed_image"):
        features = await service.engines.image_features([picture.image], to_proofread=to_proofread)
    seen = Seen(features=features, width_px=picture.width_px, height_px=picture.height_px)
    service.seen.put(key, seen, features.nbytes)
    return seen


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
