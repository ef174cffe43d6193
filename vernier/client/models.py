"""What the server answers, typed. Fields that a newer server adds are ignored.

Boxes are (x0, y0, x1, y1) in pixels of the picture as sent; spans are character offsets of the text as sent.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict

Box = tuple[float, float, float, float]


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Region(_Answer):
    """Where a phrase of the query is in a hit's picture."""

    phrase: str
    start: int
    end: int
    box: Box
    score: float


class WordError(_Answer):
    """How likely a word of the query is wrong of a hit's picture."""

    word: str
    start: int
    end: int
    error_probability: float


class Hit(_Answer):
    """One result of a search.

    Attributes:
        score: cosine similarity.
        match: calibrated probability that the text is true of the picture; only when reranked.
        image_size: (width, height) of the stored picture, which `regions` are in; only when explained.
        regions: only when explained.
        words: only when explained.
    """

    id: str
    score: float
    match: float | None = None
    metadata: dict[str, Any] | None = None
    text: str | None = None
    image_size: tuple[int, int] | None = None
    regions: tuple[Region, ...] | None = None
    words: tuple[WordError, ...] | None = None


class SearchedGallery(_Answer):
    """The state of the gallery that was searched."""

    name: str
    items: int
    version: int


class SearchAnswer(_Answer):
    """Hits, best first."""

    hits: tuple[Hit, ...]
    gallery: SearchedGallery
    timings_ms: dict[str, float] = {}


class ScoredBox(_Answer):
    """A box with its calibrated probability."""

    box: Box
    score: float


class Grounding(_Answer):
    """Where one phrase is in the picture.

    Attributes:
        start: where the phrase begins in the text; in itself, when phrases were given.
        end: where it ends.
        boxes: best first.
        heatmap: a PNG in base64, or rows of numbers in 0..1, as asked for.
    """

    phrase: str
    start: int
    end: int
    boxes: tuple[ScoredBox, ...]
    heatmap: str | tuple[tuple[float, ...], ...] | None = None


class GroundAnswer(_Answer):
    """Where each phrase is.

    Attributes:
        image_size: (width, height) of the upright picture in pixels.
        method: how phrases were found; None when there were none.
    """

    groundings: tuple[Grounding, ...]
    image_size: tuple[int, int]
    method: str | None = None
    timings_ms: dict[str, float] = {}


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


class ProofreadAnswer(_Answer):
    """A text proofread against a picture.

    Attributes:
        match: calibrated probability that the text as sent is true of the picture.
        method: how words were judged.
    """

    words: tuple[JudgedWord, ...]
    corrected_text: str
    match: float
    method: str | None = None
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
        read_only: whether another process writes in it.
    """

    name: str
    items: int
    version: int
    space: str
    dim: int
    index_kind: str
    read_only: bool = False


class Item(_Answer):
    """What a gallery holds under an id.

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
    """What became of one item of a bulk write: `outcome` is created, replaced or unchanged, or there is a problem."""

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
