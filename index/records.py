"""The values that go into a gallery and come out of it. No SQLite and no FAISS here."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from index.features import Kept, PatchTokens

Floats = NDArray[np.float32]

Metadata = Mapping[str, Any]
"""What is known of an item besides its picture and text: a JSON object."""

Target = Literal["image", "text"]
"""Which of an item's two vectors is searched."""

TARGETS: tuple[Target, ...] = ("image", "text")

Outcome = Literal["created", "replaced", "unchanged"]
"""What an upsert did with one item."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameVectors:
    """The frames of a video as they are searched.

    Attributes:
        times_s: of each frame, from the video's beginning; rising.
        embeddings: [frames, dim], unit length.
    """

    times_s: tuple[float, ...]
    embeddings: Floats

    def best_time_s(self, query: Floats) -> float:
        """Return the time of the frame that fits a query [dim] best."""
        return self.times_s[int(np.argmax(self.embeddings @ query))]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFrames(FrameVectors):
    """The frames of a video to store.

    Attributes:
        pictures: a small JPEG of each, which another model will be shown one day.
    """

    pictures: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewItem:
    """An item to store. It replaces the item of the same id as a whole.

    Attributes:
        id: names the item in its gallery: 1 to 256 printable characters.
        image_embedding: [dim], unit length; None when the item has no picture.
        text_embedding: [dim], unit length; None when the item has no text. At least one of the two is there.
        text: the text as it was embedded.
        metadata: a JSON object; every field of it can be filtered on.
        picture: a small JPEG to show (see `index.thumbnails`).
        features: what is kept of the picture beside its vector (see `index.features`); None keeps nothing.
        frames: of an item that is a video, whose `image_embedding` is then their mean; None of a picture.
        content_digest: names what was embedded (see `index.content_digest`).
    """

    id: str
    image_embedding: Floats | None = None
    text_embedding: Floats | None = None
    text: str | None = None
    metadata: Metadata = field(default_factory=dict)
    picture: bytes | None = None
    features: Kept | None = None
    frames: NewFrames | None = None
    content_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """An item as it is stored, without its vectors (`Gallery.vector`) and its picture (`Gallery.picture`).

    Attributes:
        targets: the vectors that the item has.
        created_s: when the id was first stored, in seconds since 1970.
        updated_s: when it was last replaced, in seconds since 1970.
    """

    id: str
    text: str | None
    metadata: dict[str, Any]
    content_digest: str
    targets: Collection[Target]
    has_picture: bool
    created_s: float
    updated_s: float


class Match(NamedTuple):
    """One hit of a search. A tuple, because a search makes thousands of them.

    Attributes:
        id: the item.
        score: inner product of two unit vectors, which is their cosine.
    """

    id: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some items in the order they were first stored.

    Attributes:
        next_cursor: where the next page starts; None after the last item.
    """

    items: list[Item]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryInfo:
    """What a gallery says of itself.

    Attributes:
        items: how many there are.
        version: grows with every write that changed something.
        space: digest of the embedding space that the vectors live in.
        dim: length of a vector.
        index_kind: how vectors are searched: `flat` is exact.
        patch_tokens: how what belongs to a picture's patches is kept, if it is.
    """

    name: str
    items: int
    version: int
    space: str
    dim: int
    index_kind: str
    patch_tokens: PatchTokens = "none"


def canonical(metadata: Metadata) -> bytes:
    """Return JSON that is the same for the same metadata, whatever the order of its fields."""
    return orjson.dumps(metadata, option=orjson.OPT_SORT_KEYS)


class Leaf(NamedTuple):
    """One scalar of an item's metadata and the field it stands in."""

    field: str
    value: Any


def leaves(metadata: Metadata) -> Iterator[Leaf]:
    """Yield every scalar in a JSON object with its field; this is what filters see.

    An object's fields are joined with dots, and a list has the values of its members:
    `{"size": {"w": 3}, "tags": ["a", "b"]}` gives `size.w` 3, `tags` "a" and `tags` "b".
    """
    for name, value in metadata.items():
        yield from _leaves_of(name, value)


def _leaves_of(name: str, value: object) -> Iterator[Leaf]:
    if isinstance(value, Mapping):
        for inner, member in value.items():
            yield from _leaves_of(f"{name}.{inner}", member)
    elif isinstance(value, list | tuple):
        for member in value:
            yield from _leaves_of(name, member)
    else:
        yield Leaf(name, value)
