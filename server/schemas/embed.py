"""Bodies of `/embed` and of the OpenAI-compatible `/v1/embeddings`."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from server.schemas.common import Answer, GalleryName, ImageReference, Request, TimingsMs


class EmbedInput(Request):
    """Exactly one of a text and a picture."""

    text: str | None = None
    image: ImageReference | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "EmbedInput":
        if (self.text is None) == (self.image is None):
            raise ValueError("give exactly one of text and image")
        return self


class EmbedRequest(Request):
    """Texts and pictures to embed."""

    inputs: list[EmbedInput] = Field(min_length=1)
    gallery: GalleryName = Field(default="default", description="where an image reference's `item` is")


class EmbedAnswer(Answer):
    """The unit vectors in the order of the inputs."""

    embeddings: list[list[float]]
    dim: int
    space: str = Field(description="digest that names the embedding space")
    timings_ms: TimingsMs


class OpenAIRequest(Request):
    """What OpenAI's clients send. An input is a text, or a picture as a `data:image/…;base64,` URI."""

    input: str | Annotated[list[str], Field(min_length=1)]
    model: str = Field(default="", description="accepted and not looked at: a server has one bundle")
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(default=None, ge=1, description="must be the bundle's own")
    user: str | None = None


class OpenAIEmbedding(Answer):
    """One vector; base64 is of little-endian float32."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class OpenAIUsage(Answer):
    """Subwords that the texts had; pictures count nothing."""

    prompt_tokens: int
    total_tokens: int


class OpenAIAnswer(Answer):
    """OpenAI's shape."""

    object: Literal["list"] = "list"
    data: list[OpenAIEmbedding]
    model: str
    usage: OpenAIUsage
