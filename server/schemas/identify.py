"""Bodies of `/identify`."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from server.schemas.common import Answer, Box, GalleryName, ImageReference, Request, TimingsMs

Source = Literal["request", "gallery", "bundle"]
Pixels = Annotated[float, Field(ge=0)]


class IdentifyRequest(Request):
    """A part of a picture, given by exactly one of a point and a box."""

    image: ImageReference | None = Field(
        default=None, description="left out when the picture comes as part `image` of multipart/form-data"
    )
    gallery: GalleryName = Field(default="default", description="whose words are ranked, and where `item` is")
    point: list[Pixels] | None = Field(
        default=None, min_length=2, max_length=2, description="x, y in pixels of the picture as sent, upright"
    )
    box: list[Pixels] | None = Field(
        default=None, min_length=4, max_length=4, description="x0, y0, x1, y1 in pixels of the picture as sent, upright"
    )
    phrases: list[str] | None = Field(
        default=None, min_length=1, description="what it may be; the gallery's own words when left out"
    )
    top_k: int = Field(default=5, ge=1, le=100, description="most names")

    @model_validator(mode="after")
    def _one_place(self) -> "IdentifyRequest":
        if (self.point is None) == (self.box is None):
            raise ValueError("give either point or box")
        if self.box is not None and not (self.box[0] < self.box[2] and self.box[1] < self.box[3]):
            raise ValueError("a box is x0, y0, x1, y1 with x0 < x1 and y0 < y1")
        return self


class RankedName(Answer):
    """A phrase for the part of the picture."""

    phrase: str
    score: float = Field(description="cosine between the phrase and that part of the picture")


class IdentifyAnswer(Answer):
    """What the part of the picture may be."""

    names: list[RankedName] = Field(description="best first")
    box: Box = Field(description="the part that was looked at; around a point, the largest of several")
    image_size: tuple[int, int] = Field(description="width and height in pixels of the upright picture")
    source: Source = Field(description="whose words were ranked: the bundle's when no item of the gallery has a text")
    candidates: int = Field(description="how many phrases were ranked")
    timings_ms: TimingsMs
