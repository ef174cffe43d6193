"""Bodies of `/health/*` and `/info`."""

from typing import Literal

from pydantic import Field

from server.schemas.common import Answer
from server.schemas.galleries import GalleryAnswer


class HealthAnswer(Answer):
    """A probe's answer."""

    status: Literal["live", "ready"]


class GraphInfo(Answer):
    """One graph as it really runs."""

    provider: str
    precision: str


class BundleInfo(Answer):
    """The model that is served."""

    name: str
    space: str
    dim: int
    recipe: str
    grounding: str = Field(description="method of `/ground`, or `none`")
    heatmaps: str = Field(description="`heatmap_method` of `/ground`, or `none`")
    proofreading: str = Field(description="method of `/proofread`")
    rerank: bool
    min_match: float | None = Field(description="the bundle's suggestion for `min_match`; null when it has none")
    min_match_among_neighbours: float | None = Field(
        description="the same for galleries whose pictures differ from each other in one thing; null when not fitted"
    )


class Limits(Answer):
    """What a request may hold."""

    max_body_bytes: int
    max_bulk_bytes: int
    max_pixels: int
    max_words: int
    max_judged_words: int
    max_texts: int
    max_images: int
    max_top_k: int
    max_reranked: int


class ThreadInfo(Answer):
    """How many threads do what."""

    cores: int = Field(description="cores that the server may use")
    engine_workers: int = Field(description="batches that engines run at the same time")
    engine: int = Field(description="threads within one engine call, where it runs on the CPU")
    decode: int
    search: int


class GpuSearchInfo(Answer):
    """Which GPUs search; each gallery's `index_kind` says what does."""

    wanted: str = Field(description="what the operator asked for")
    cards: int = Field(description="GPUs that were shown to work")
    fallback: str | None = Field(
        description="why the CPU searches although a GPU was asked for or is there; null when nothing fell back"
    )


class InfoAnswer(Answer):
    """What is running."""

    version: str
    bundle: BundleInfo
    graphs: dict[str, GraphInfo]
    provider_fallback: str | None = Field(
        description="why the graphs are not on the provider that was asked for; null when they are"
    )
    gpu_search: GpuSearchInfo
    threads: ThreadInfo
    galleries: list[GalleryAnswer]
    limits: Limits
