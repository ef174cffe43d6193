"""Bodies of `/proofread`."""

from pydantic import Field

from runtime.word_judges import Method
from server.schemas.common import (
    Answer,
    GalleryName,
    ImageReference,
    Probability,
    Problem,
    Request,
    Span,
    TimingsMs,
)


class ProofreadRequest(Request):
    """A picture and a text, or several, that may be wrong about it."""

    image: ImageReference | None = Field(
        default=None, description="left out when the picture comes as part `image` of multipart/form-data"
    )
    gallery: GalleryName = Field(default="default", description="where an image reference's `item` is")
    text: str | None = Field(default=None, description="one text; the answer holds what is said of it")
    texts: list[str] | None = Field(
        default=None,
        min_length=1,
        description="several texts in place of `text`; the picture is looked at once, and the answer holds `results`",
    )
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


class ProofreadText(Answer):
    """Every word of a text, in order."""

    words: list[JudgedWord]
    corrected_text: str
    match: Probability = Field(description="calibrated probability that the text is true of the picture")


class ProofreadAnswer(ProofreadText):
    """What is said of the one text."""

    method: Method = Field(description="how the words were judged")
    timings_ms: TimingsMs


class ProofreadTextsAnswer(Answer):
    """What is said of several texts, in their order; what cannot be proofread has its problem instead."""

    results: list[ProofreadText | Problem]
    method: Method = Field(description="how the words were judged")
    timings_ms: TimingsMs
