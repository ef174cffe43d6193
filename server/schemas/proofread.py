"""Bodies of `/proofread`."""

from pydantic import Field

from server.schemas.common import Answer, GalleryName, ImageReference, Probability, Request, Span, TimingsMs


class ProofreadRequest(Request):
    """A picture and a text that may be wrong about it."""

    image: ImageReference | None = Field(
        default=None, description="left out when the picture comes as part `image` of multipart/form-data"
    )
    gallery: GalleryName = Field(default="default", description="where an image reference's `item` is")
    text: str
    suggestions: int = Field(default=3, ge=0, le=20, description="most suggestions per wrong word")
    threshold: Probability | None = Field(
        default=None, description="probability from which a word is wrong; the bundle's own when left out"
    )


class SuggestedWord(Answer):
    """A word that would fit better."""

    word: str
    probability: Probability


class JudgedWord(Answer):
    """One word of the text."""

    word: str
    start: Span
    end: Span
    error_probability: Probability
    is_error: bool
    suggestions: list[SuggestedWord]


class ProofreadAnswer(Answer):
    """Every word of the text, in order."""

    words: list[JudgedWord]
    corrected_text: str
    match: Probability = Field(description="calibrated probability that the text is true of the picture")
    method: str = Field(description="how the words were judged")
    timings_ms: TimingsMs
