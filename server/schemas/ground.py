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
    phrases: list[str] | None = Field(
        default=None, min_length=1, description="phrases, or the names of classes: each is looked for by itself"
    )
    text: str | None = None
    top_k: int = Field(default=1, ge=1, le=100, description="most boxes per phrase; no two overlap by more than half")
    threshold: Probability | None = Field(
        default=None,
        description="score below which a box is not given; the bundle's own when left out, which `calibration` of its "
        "manifest describes",
    )
    budget: int | None = Field(
        default=None,
        ge=0,
        description="masked pictures that the image encoder may look at, for all phrases together, where the bundle is "
        "two encoders alone; 0 answers at once by the similarity of patches. The server's own when left out",
    )
    heatmap: Literal["none", "png", "grid"] = Field(
        default="none", description="`png`: a grey picture in base64; `grid`: rows of numbers in 0..1"
    )
    words: bool = Field(default=False, description="also give a heat map of every word of `text`")

    @model_validator(mode="after")
    def _phrases_or_text(self) -> "GroundRequest":
        if (self.phrases is None) == (self.text is None):
            raise ValueError("give either phrases or text")
        if self.words and (self.text is None or self.heatmap == "none"):
            raise ValueError("words are those of text, and carry heat maps: give text, and png or grid as heatmap")
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
    boxes: list[GroundedBox] = Field(description="best first; none when the phrase is not in the picture")
    heatmap: str | list[list[float]] | None = Field(
        default=None, description="over the whole picture, row by row from the top left"
    )


class GroundedWord(Answer):
    """Where one word of the text is; all words on one scale, so one that adds little to the match is pale."""

    word: str
    start: Span
    end: Span
    heatmap: str | list[list[float]] | None = Field(default=None, description="as a phrase's")


class GroundAnswer(Answer):
    """Where the phrases are."""

    groundings: list[PhraseGrounding]
    image_size: tuple[int, int] = Field(description="width and height in pixels of the upright picture")
    method: str | None = Field(description="how they were found; null when there was nothing to find")
    words: list[GroundedWord] | None = Field(default=None, description="when they were asked for")
    heatmap_method: str | None = Field(
        default=None, description="how heat maps were made: `grad_cam`, `attention`, `patch_similarity` or `shapley`"
    )
    calibrated: bool = Field(
        description="whether scores are probabilities fitted for this method; else they order boxes, and no phrase is "
        "refused unless the request has a threshold"
    )
    timings_ms: TimingsMs
