"""Why a picture and a text fit or do not: where each phrase is, and which words are doubtful."""

from dataclasses import dataclass

from runtime.encoder import ImageFeatures
from runtime.errors import GraphMissingError
from runtime.phrases import noun_phrases
from runtime.preprocess.text import words
from server.boxes import in_pixels
from server.schemas.search import HitRegion, HitWord
from server.service import Service


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What a hit carries when it is explained.

    Attributes:
        image_size: width and height in pixels of the picture that the boxes are in.
    """

    image_size: tuple[int, int] | None
    regions: list[HitRegion]
    words: list[HitWord]

    @classmethod
    def nothing(cls) -> "Explanation":
        """Return what is said of a hit that has no picture, or where nothing was asked in words."""
        return cls(image_size=None, regions=[], words=[])


async def explain_pair(service: Service, image: ImageFeatures, size_px: tuple[int, int], text: str) -> Explanation:
    """Ground the phrases of a text in a picture and judge its words.

    Raises:
        EngineError: the engine failed.
    """
    if len(words(text)) > service.settings.max_judged_words:
        return Explanation(image_size=size_px, regions=[], words=[])
    (proof,) = await service.engines.proofread(image, [text], num_suggestions=0)
    return Explanation(
        image_size=size_px,
        regions=await _regions(service, image, size_px, text),
        words=[
            HitWord(word=word.word, start=word.start, end=word.end, error_probability=word.error_probability)
            for word in proof.words
        ],
    )


async def _regions(service: Service, image: ImageFeatures, size_px: tuple[int, int], text: str) -> list[HitRegion]:
    phrases = noun_phrases(text)
    try:
        groundings = await service.engines.ground(image, [phrase.text for phrase in phrases])
    except GraphMissingError:
        return []  # the hit is worth showing without boxes; /info says that this bundle cannot ground
    width_px, height_px = size_px
    return [
        HitRegion(
            phrase=phrase.text,
            start=phrase.start,
            end=phrase.end,
            box=in_pixels(found.box, service.encoder, width_px=width_px, height_px=height_px),
            score=found.score,
        )
        for phrase, grounding in zip(phrases, groundings, strict=True)
        for found in grounding.boxes
    ]
