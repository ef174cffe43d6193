"""Bodies of `/ground`."""

from typing import Literal

from pydantic import Field, model_validator

from server.schemas.common import Answer, Box, GalleryName, ImageReference, Probability, Request, Span, TimingsMs


class GroundRequest(Request):
    """Phrases to find in a picture, or a text whose noun phrases are found."""

    image: ImageReference | None = Field(
        default=None, description="left out when the picture comes as part `image` of multipart/form-data"
    )
    gallery: GalleryName = Field(default="default", description="where an image reference's `item` is")
    phrases: list[str] | None = Field(default=None, min_length=1)
    text: str | None = None
    top_k: int = Field(default=1, ge=1, le=20, description="most boxes per phrase")
    heatmap: Literal["none", "png", "grid"] = Field(
        default="none", description="`png`: a grey picture in base64; `grid`: rows of numbers in 0..1"
    )

    @model_validator(mode="after")
    def _phrases_or_text(self) -> "GroundRequest":
        if (self.phrases is None) == (self.text is None):
            raise ValueError("give either phrases or text")
        return self


class GroundedBox(Answer):
    """One box."""

    box: Box
    score: Probability


class PhraseGrounding(Answer):
    """Where one phrase is. Without a text, `start` and `end` span the phrase itself."""

    phrase: str
    start: Span
    end: Span
    boxes: list[GroundedBox] = Field(description="best first")
    heatmap: str | list[list[float]] | None = Field(
        default=None, description="over the whole picture, row by row from the top left"
    )


class GroundAnswer(Answer):
    """Where the phrases are."""

    groundings: list[PhraseGrounding]
    image_size: tuple[int, int] = Field(description="width and height in pixels of the upright picture")
    method: str | None = Field(description="how they were found; null when there was nothing to find")
    timings_ms: TimingsMs
