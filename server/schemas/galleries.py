"""Bodies of `/galleries` and of their items."""

from typing import Literal

from pydantic import Field, JsonValue, model_validator

from server.schemas.common import Answer, GalleryName, ImageReference, JsonObject, Problem, Request


class NewGallery(Request):
    """A gallery to make."""

    name: GalleryName
    patch_tokens: Literal["none", "int8", "fp16"] | None = Field(
        default=None,
        description="how what belongs to pictures' patches is kept, for rerank and explain; as the server is set when "
        "left out",
    )


class GalleryAnswer(Answer):
    """What a gallery is."""

    name: str
    items: int
    version: int = Field(description="grows with every change")
    space: str = Field(description="digest of the embedding space that filled it")
    dim: int
    index_kind: str
    patch_tokens: Literal["none", "int8", "fp16"] = Field(
        description="how what belongs to pictures' patches is kept; without it rerank looks at the stored pictures"
    )
    read_only: bool = Field(description="whether another process writes in it, so that this one only follows")


class GalleriesAnswer(Answer):
    """Every gallery."""

    galleries: list[GalleryAnswer]


class ItemRequest(Request):
    """What an item is to be: a picture, a text, or both."""

    image: ImageReference | None = Field(
        default=None, description="left out when the picture comes as part `image` of multipart/form-data"
    )
    text: str | None = None
    metadata: JsonObject = Field(default={})


class BulkItem(ItemRequest):
    """One line of a bulk write."""

    id: str


class BulkPart(Request):
    """One entry of part `items` of a multipart bulk write."""

    id: str
    file: str | None = Field(default=None, description="name of the part, or of the file, that is the picture")
    text: str | None = None
    metadata: JsonObject = Field(default={})

    @model_validator(mode="after")
    def _something(self) -> "BulkPart":
        if self.file is None and self.text is None:
            raise ValueError("give file or text")
        return self


class ItemAnswer(Answer):
    """An item."""

    id: str
    text: str | None
    metadata: dict[str, JsonValue]
    targets: list[Literal["image", "text"]] = Field(description="what the item is found by")
    has_picture: bool = Field(description="whether `…/image` gives a picture")
    digest: str = Field(description="sha256 of what it was made from")


class WrittenItem(ItemAnswer):
    """An item that was just written."""

    outcome: Literal["created", "replaced", "unchanged"]


class BulkOutcome(Answer):
    """What became of one item of a bulk write."""

    id: str | None
    line: int = Field(description="counted from 1")
    outcome: Literal["created", "replaced", "unchanged"] | None = None
    problem: Problem | None = None


class BulkAnswer(Answer):
    """What became of every item, in the order sent."""

    created: int
    replaced: int
    unchanged: int
    failed: int
    results: list[BulkOutcome]


class PageAnswer(Answer):
    """Some of a gallery's items."""

    items: list[ItemAnswer]
    next_cursor: str | None = Field(description="send it for the next page; null on the last one")
