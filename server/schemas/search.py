"""Bodies of `/search` and `/search/batch`."""

from typing import Literal, get_args

from pydantic import Field, JsonValue

from server.schemas.common import (
    Answer,
    Box,
    GalleryName,
    GallerySummary,
    ImageReference,
    JsonObject,
    Probability,
    Problem,
    Request,
    Span,
    TimingsMs,
)

Target = Literal["image", "text"]
Explained = Literal["regions", "words"]


class SearchRequest(Request):
    """A query: a text, a picture, or both; its vector is the weighted sum of their unit vectors."""

    text: str | None = None
    negative_text: str | None = Field(default=None, description="what the hits should be unlike")
    image: ImageReference | None = Field(
        default=None, description="left out when the picture comes as part `image` of multipart/form-data"
    )
    text_weight: float = Field(default=1.0, gt=0, le=100)
    image_weight: float = Field(default=1.0, gt=0, le=100)
    negative_weight: float = Field(default=0.5, gt=0, le=100, description="how much `negative_text` is taken away")
    exclude_ids: list[str] = Field(default=[], description="items that are not wanted among the hits")
    target: Target = Field(default="image", description="search among the items' pictures or among their texts")
    gallery: GalleryName = "default"
    top_k: int = Field(default=10, ge=1, description="most hits")
    filter: JsonObject | None = Field(
        default=None,
        description="condition on the metadata",
        examples=[{"year": {"gte": 2020}}, {"or": [{"set": "a"}, {"not": {"set": {"in": ["b"]}}}]}],
    )
    min_score: float | None = Field(default=None, ge=-1, le=1, description="hits of a lower score are left out")
    rerank: int = Field(default=0, ge=0, description="how many of the best hits the fusion encoder scores anew")
    min_match: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="hits of a lower `match` are left out; without `rerank` all `top_k` hits are re-scored",
    )
    explain: bool | list[Explained] = Field(
        default=False,
        description="say of each hit where each phrase is (`regions`) and which words do not fit (`words`): both, or "
        "those named",
    )
    heatmap: Literal["none", "png", "grid"] = Field(
        default="none", description="with `explain`, where in the picture each word is; forms as in `/ground`"
    )
    include: list[Literal["metadata", "text"]] = Field(default=["metadata"], description="what each hit carries")

    @property
    def explained(self) -> frozenset[Explained]:
        """What is said of each hit."""
        if isinstance(self.explain, bool):
            return frozenset(get_args(Explained)) if self.explain else frozenset()
        return frozenset(self.explain)


class BatchRequest(Request):
    """Several queries at once."""

    queries: list[SearchRequest] = Field(min_length=1)


class HitRegion(Answer):
    """Where one phrase of the query is in the picture of a hit."""

    phrase: str
    start: Span
    end: Span
    box: Box
    score: Probability


class HitWord(Answer):
    """How badly one word of the query fits a hit."""

    word: str
    start: Span
    end: Span
    error_probability: Probability
    heatmap: str | list[list[float]] | None = Field(
        default=None, description="when it was asked for: over the whole picture, all words of a hit on one scale"
    )


class Hit(Answer):
    """One result, best first. Fields that were not asked for are left out."""

    id: str
    score: float = Field(description="cosine between the query and the item")
    match: Probability | None = Field(default=None, description="calibrated; when it was re-scored")
    time_seconds: float | None = Field(
        default=None, description="of a video: when the frame that fits the query best is shown"
    )
    metadata: dict[str, JsonValue] | None = None
    text: str | None = None
    image_size: tuple[int, int] | None = Field(
        default=None, description="width and height in pixels of the stored picture that `regions` are in"
    )
    regions: list[HitRegion] | None = None
    words: list[HitWord] | None = None


class SearchAnswer(Answer):
    """The hits of one query."""

    hits: list[Hit]
    left_out: int | None = Field(
        default=None, description="hits below `min_match`, or that could not be re-scored; when it was asked for"
    )
    pictures_read: int | None = Field(
        default=None,
        description="stored pictures that rerank or explain had to look at, because the gallery keeps no features of "
        "them; when either was asked for",
    )
    heatmap_method: str | None = Field(
        default=None, description="how heat maps were made, as in `/ground`; when they were asked for"
    )
    gallery: GallerySummary
    timings_ms: TimingsMs


class BatchAnswer(Answer):
    """The answers in the order of the queries; what failed has its problem instead."""

    results: list[SearchAnswer | Problem]
