"""What the server answers, typed. Fields that a newer server adds are ignored.

Boxes are (x0, y0, x1, y1) in pixels of the picture as sent; spans are character offsets of the text as sent. In a
notebook answers show their pictures (`vernier.client.display`), which are fetched when they are shown.
"""

from collections.abc import Callable
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, PrivateAttr

from vernier.client.errors import ClientError

Box = tuple[float, float, float, float]
Heatmap = str | tuple[tuple[float, ...], ...]
"""A PNG in base64, or rows of numbers in 0..1."""

PictureOf = Callable[[str], bytes]
"""Gives the stored picture of an item as the bytes of a file."""

_G = TypeVar("_G")


def _of(given: _G | None) -> _G:
    if given is None:
        raise ClientError("this answer came over no client of a server's address, so it has no picture to show.")
    return given


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _OfOnePicture(_Answer):
    """An answer about a picture that the caller has."""

    _look: Callable[[], bytes] | None = PrivateAttr(default=None)

    def shows(self, look: Callable[[], bytes]) -> None:
        """Take what gives the picture."""
        self._look = look

    def picture(self) -> bytes:
        """Return the picture that was asked about, as the bytes of a file.

        Raises:
            VernierError: it cannot be had again.
        """
        return _of(self._look)()


class Region(_Answer):
    """Where a phrase of the query is in a hit's picture."""

    phrase: str
    start: int
    end: int
    box: Box
    score: float


class WordError(_Answer):
    """How likely a word of the query is wrong of a hit's picture, and where it is, when heat maps were asked for."""

    word: str
    start: int
    end: int
    error_probability: float
    heatmap: Heatmap | None = None


class Hit(_Answer):
    """One result of a search. A notebook shows its picture with its regions.

    Attributes:
        score: cosine similarity.
        match: calibrated probability that the text is true of the picture; only when reranked.
        time_seconds: when the frame that fits best is shown; only of a video.
        image_size: (width, height) of the stored picture, which `regions` are in; only when explained.
        regions: only when explained.
        words: only when explained.
    """

    id: str
    score: float
    match: float | None = None
    time_seconds: float | None = None
    metadata: dict[str, Any] | None = None
    text: str | None = None
    image_size: tuple[int, int] | None = None
    regions: tuple[Region, ...] | None = None
    words: tuple[WordError, ...] | None = None
    _picture: PictureOf | None = PrivateAttr(default=None)

    def shows(self, picture: PictureOf) -> None:
        """Take what gives the stored picture of an item."""
        self._picture = picture

    def picture(self) -> bytes:
        """Return the stored picture of the item, as the bytes of a file.

        Raises:
            VernierError: it has none, or it cannot be had.
        """
        return _of(self._picture)(self.id)

    def _repr_html_(self) -> str:
        from vernier.client.display import hits_html

        return hits_html([self])


class SearchedGallery(_Answer):
    """The state of the gallery that was searched."""

    name: str
    items: int
    version: int


class SearchAnswer(_Answer):
    """Hits, best first.

    Attributes:
        left_out: hits below `min_match`, when that was asked for.
        pictures_read: stored pictures that rerank or explain had to look at; with features in the gallery none.
        heatmap_method: how heat maps were made, when they were asked for.
    """

    hits: tuple[Hit, ...]
    gallery: SearchedGallery
    left_out: int | None = None
    pictures_read: int | None = None
    heatmap_method: str | None = None
    timings_ms: dict[str, float] = {}

    def shows(self, picture: PictureOf) -> None:
        """Take what gives the stored picture of an item."""
        for hit in self.hits:
            hit.shows(picture)

    def _repr_html_(self) -> str:
        from vernier.client.display import hits_html

        return hits_html(self.hits)


class ScoredBox(_Answer):
    """A box with its calibrated probability."""

    box: Box
    score: float


class Grounding(_Answer):
    """Where one phrase is in the picture.

    Attributes:
        start: where the phrase begins in the text; in itself, when phrases were given.
        end: where it ends.
        boxes: best first; none when the phrase is not in the picture.
        heatmap: a PNG in base64, or rows of numbers in 0..1, as asked for.
    """

    phrase: str
    start: int
    end: int
    boxes: tuple[ScoredBox, ...]
    heatmap: Heatmap | None = None


class GroundedWord(_Answer):
    """Where one word of the text is; all words on one scale, so one that adds little to the match is pale."""

    word: str
    start: int
    end: int
    heatmap: Heatmap | None = None


class GroundAnswer(_OfOnePicture):
    """Where each phrase is. A notebook shows the picture with its boxes.

    Attributes:
        image_size: (width, height) of the upright picture in pixels.
        method: how phrases were found; None when there were none.
        words: heat of every word of the text, when it was asked for.
        heatmap_method: how heat maps were made; None when there are none.
        calibrated: whether scores are probabilities; else they order boxes, and no phrase is refused.
    """

    groundings: tuple[Grounding, ...]
    image_size: tuple[int, int]
    method: str | None = None
    words: tuple[GroundedWord, ...] | None = None
    heatmap_method: str | None = None
    calibrated: bool = False
    timings_ms: dict[str, float] = {}

    def _repr_html_(self) -> str:
        from vernier.client.display import ground_html

        return ground_html(self)


class Suggestion(_Answer):
    """A word that may be meant instead."""

    word: str
    probability: float


class JudgedWord(_Answer):
    """A word of the text: how likely it is wrong of the picture, and what may be meant instead."""

    word: str
    start: int
    end: int
    error_probability: float
    is_error: bool
    suggestions: tuple[Suggestion, ...] = ()


class ProofreadText(_Answer):
    """What is said of one text.

    Attributes:
        match: calibrated probability that the text as sent is true of the picture.
    """

    words: tuple[JudgedWord, ...]
    corrected_text: str
    match: float


class ProofreadAnswer(ProofreadText, _OfOnePicture):
    """A text proofread against a picture. A notebook shows both, each word coloured by how likely it is wrong.

    Attributes:
        match: calibrated probability that the text as sent is true of the picture.
        method: how words were judged.
    """

    method: str | None = None
    timings_ms: dict[str, float] = {}

    def _repr_html_(self) -> str:
        from vernier.client.display import proofread_html

        return proofread_html(self)


class RankedName(_Answer):
    """A phrase for a part of a picture, with its cosine, which orders and is no probability."""

    phrase: str
    score: float


class IdentifyAnswer(_Answer):
    """What a part of a picture may be, best first.

    Attributes:
        box: the part that was looked at; around a point, the largest of several.
        source: whose words were ranked: `request`, `gallery` or `bundle`.
        candidates: how many phrases were ranked.
    """

    names: tuple[RankedName, ...]
    box: Box
    image_size: tuple[int, int]
    source: str
    candidates: int
    timings_ms: dict[str, float] = {}


class EmbedAnswer(_Answer):
    """Unit vectors, one per input, and the digest of the space they live in."""

    embeddings: tuple[tuple[float, ...], ...]
    dim: int
    space: str
    timings_ms: dict[str, float] = {}


class Gallery(_Answer):
    """What a gallery says of itself.

    Attributes:
        version: grows with every change.
        index_kind: how vectors are searched; `flat` is exact.
        patch_tokens: how what belongs to pictures' patches is kept: none, int8 or fp16.
        read_only: whether another process writes in it.
    """

    name: str
    items: int
    version: int
    space: str
    dim: int
    index_kind: str
    patch_tokens: str = "none"
    read_only: bool = False


class Migration(_Answer):
    """How far a gallery is on its way to another model.

    Attributes:
        state: of the last migration since the server started.
        bundle: the bundle that it goes to, or went to.
        done: vectors that are made.
        total: vectors that there will be.
        space: the embedding space that the gallery answers from.
        other_space: that of the vectors kept beside: to go back to, or not whole yet.
        problem: why it failed or stopped.
    """

    state: Literal["none", "running", "done", "stopped", "failed"]
    bundle: str | None = None
    done: int
    total: int
    space: str
    other_space: str | None = None
    problem: dict[str, Any] | None = None


class Item(_Answer):
    """What a gallery holds under an id. A notebook shows its picture.

    Attributes:
        targets: the vectors it has: `image`, `text`.
        digest: sha256 of what it was made from.
        outcome: what a write did: created, replaced or unchanged.
    """

    id: str
    text: str | None = None
    metadata: dict[str, Any] = {}
    targets: tuple[str, ...] = ()
    has_picture: bool = False
    digest: str | None = None
    outcome: str | None = None
    _picture: PictureOf | None = PrivateAttr(default=None)

    def shows(self, picture: PictureOf) -> None:
        """Take what gives the stored picture of an item."""
        self._picture = picture

    def picture(self) -> bytes:
        """Return the stored picture, as the bytes of a file.

        Raises:
            VernierError: there is none, or it cannot be had.
        """
        return _of(self._picture)(self.id)

    def _repr_html_(self) -> str:
        from vernier.client.display import item_html

        return item_html(self)


class ItemPage(_Answer):
    """Some items, and the cursor of the next page; None on the last."""

    items: tuple[Item, ...]
    next_cursor: str | None = None


class Problem(_Answer):
    """An RFC 9457 problem."""

    code: str
    status: int
    title: str = ""
    detail: str = ""


class ItemOutcome(_Answer):
    """What became of one item of a bulk write.

    Attributes:
        outcome: created, replaced or unchanged; `skipped` when the journal had it; None when there is a problem.
        problem: why the item is not in the gallery.
    """

    id: str | None = None
    outcome: str | None = None
    problem: Problem | None = None

    @property
    def ok(self) -> bool:
        """Whether the item is in the gallery now."""
        return self.problem is None


class Health(_Answer):
    """Whether the server takes work: `status` is `ready`, or `not_ready` for the reason in `detail`."""

    status: str
    detail: str = ""
