"""What the users send: pictures of several sizes and sentences of real words, the same ones in every run."""

import io
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from urllib3.filepost import encode_multipart_formdata

from scenes import Scene, generate

SIZES = ((320, 240), (640, 480), (960, 1280), (1920, 1440))
"""Width and height: a thumbnail, a web picture, a phone held upright, a small camera."""

_SEED = 7
_QUALITY = 88
_NOISE = 12  # of 255, so that a file is as large and as hard to decode as a photograph's

EVERYDAY = (
    "a brown dog runs through shallow water",
    "two children play football on a green field",
    "a woman in a red coat waits at a bus stop in the rain",
    "a man rides a bicycle along the beach at sunset",
    "a black and white cat sleeps on a wooden chair",
    "three people climb a snowy mountain",
    "a girl in a yellow dress blows out the candles on a cake",
    "an old man reads a newspaper on a park bench",
    "a crowd watches a band play on a small stage",
    "a boy jumps off a rock into a lake",
    "a white horse stands behind a fence",
    "a street market with fruit and vegetables",
    "a surfer on a large wave",
    "a plate of pasta next to a glass of water",
    "an empty road through the desert",
    "a small boat tied to a pier in the fog",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A picture with a sentence that is true of it, phrases in it, and a sentence that may not be."""

    jpeg: bytes
    caption: str
    phrases: tuple[str, ...]
    doubtful: str


@dataclass(frozen=True, slots=True)
class Body:
    """A request's body with its type."""

    data: bytes
    content_type: str


def samples(count: int) -> list[Sample]:
    """Return pictures whose sizes take turns."""
    scenes = [generate(_SEED, number, split="test", size_px=256) for number in range(count)]
    sizes = itertools.cycle(SIZES)
    return [_sample(scene, scenes[number - 1], next(sizes)) for number, scene in enumerate(scenes)]


def sentences(among: Sequence[Sample]) -> Iterator[str]:
    """Yield sentences for ever: everyday ones and those of the pictures by turns."""
    for everyday, sample in zip(itertools.cycle(EVERYDAY), itertools.cycle(among), strict=False):
        yield everyday
        yield sample.caption


def multipart(request: bytes, jpeg: bytes) -> Body:
    """Return a request with a picture beside it."""
    parts = {"request": (None, request, "application/json"), "image": ("picture.jpg", jpeg, "image/jpeg")}
    data, content_type = encode_multipart_formdata(parts)  # type: ignore[arg-type]
    return Body(data, content_type)


def _sample(scene: Scene, other: Scene, size: tuple[int, int]) -> Sample:
    return Sample(
        jpeg=_photograph(scene.image, size),
        caption=scene.caption,
        phrases=tuple(phrase.text for phrase in scene.phrases),
        doubtful=other.caption,
    )


def _photograph(image: Image.Image, size: tuple[int, int]) -> bytes:
    """A JPEG of a picture at a size, grainy as a camera's."""
    width, height = size
    pixels = np.asarray(image.resize(size, Image.Resampling.BICUBIC), np.int16)
    grain = np.random.default_rng(_SEED).integers(-_NOISE, _NOISE + 1, (height, width, 1), np.int16)
    buffer = io.BytesIO()
    Image.fromarray((pixels + grain).clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()
