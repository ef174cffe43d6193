"""What the requests and answers share."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

GALLERY_NAME = r"^[a-z0-9][a-z0-9_-]{0,63}$"

Box = Annotated[
    tuple[float, float, float, float],
    Field(description="x0, y0, x1, y1 in pixels of the picture as sent, upright"),
]
Probability = Annotated[float, Field(ge=0, le=1)]
GalleryName = Annotated[str, Field(pattern=GALLERY_NAME, description="name of a gallery", examples=["default"])]
Span = Annotated[int, Field(ge=0, description="offset in characters of the text as sent")]

JsonObject = dict[str, Any]
"""Any JSON object: what may be in it is checked by the gallery, which says so more plainly."""


class Request(BaseModel):
    """A body that is sent to the server: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Answer(BaseModel):
    """A body that the server sends."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ImageReference(Request):
    """A picture: exactly one of its bytes, its address, or the item of the gallery that has it."""

    base64: str | None = Field(default=None, description="the bytes of a file (JPEG, PNG, WebP, …) in base64")
    url: str | None = Field(default=None, max_length=2048, description="address to fetch; refused unless allowed")
    item: str | None = Field(default=None, description="id of an item of the gallery that the request names")

    @model_validator(mode="after")
    def _exactly_one(self) -> "ImageReference":
        if sum(value is not None for value in (self.base64, self.url, self.item)) != 1:
            raise ValueError("give exactly one of base64, url and item")
        return self


class GallerySummary(Answer):
    """Which gallery answered."""

    name: str
    items: int
    version: int = Field(description="grows with every change")


class FieldProblem(Answer):
    """One field that cannot be used."""

    field: str
    message: str


class OpenAIError(Answer):
    """What went wrong, where OpenAI's clients look for it."""

    message: str
    type: str
    code: str
    param: str | None


class Problem(Answer):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str
    code: str = Field(description="stable name of what happened")
    errors: list[FieldProblem] | None = None
    error: OpenAIError | None = Field(default=None, description="the same for OpenAI's clients, under /v1/ alone")


TimingsMs = Annotated[dict[str, float], Field(description="milliseconds of each stage, and `total`")]
