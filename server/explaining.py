"""Why pictures and texts fit or do not: where each phrase is, and which words are doubtful; all hits together."""

import asyncio
from collections.abc import Awaitable, Collection, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from runtime.encoder import ImageFeatures
from runtime.errors import GraphMissingError
from runtime.grounding import ScoredBox
from runtime.phrases import Phrase, noun_phrases
from runtime.preprocess.text import words
from runtime.proofread import ProofWord
from runtime.word_maps import map_method_of
from server.boxes import in_pixels
from server.heatmaps import HeatmapForm, heatmap_of
from server.schemas.search import Explained, HitRegion, HitWord
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


async def explain_pictures(
    service: Service,
    images: ImageFeatures,
    sizes_px: Sequence[tuple[int, int]],
    text: str,
    wanted: Collection[Explained],
) -> list[Explanation]:
    """Ground the phrases of a text in pictures and judge its words by each, all pictures at once.

    What is not wanted of the two is not done.

    Raises:
        EngineError: the engine failed.
    """
    if len(words(text)) > service.settings.max_judged_words:
        return [Explanation(image_size=size, regions=[], words=[]) for size in sizes_px]
    phrases = noun_phrases(text) if "regions" in wanted else []
    judged, boxes = await asyncio.gather(
        _judged(service, images, text, wanted),
        _or_none(service.engines.boxes(images, [phrase.text for phrase in phrases])),
    )
    return [
        Explanation(
            image_size=size,
            regions=_regions(service, phrases, boxes[at] if boxes else [], size),
            words=_words(judged[at]) if judged else [],
        )
        for at, size in enumerate(sizes_px)
    ]


async def explain_texts(
    service: Service,
    image: ImageFeatures,
    size_px: tuple[int, int],
    texts: Sequence[str],
    wanted: Collection[Explained],
) -> list[Explanation]:
    """Ground the phrases of texts in one picture and judge their words by it, all texts at once.

    What is not wanted of the two is not done.

    Raises:
        EngineError: the engine failed.
    """
    short = [text for text in texts if len(words(text)) <= service.settings.max_judged_words]
    listed = [noun_phrases(text) if "regions" in wanted else [] for text in short]
    proofs, boxes = await asyncio.gather(
        service.engines.proofread(image, short if "words" in wanted else [], num_suggestions=0),
        _or_none(service.engines.boxes(image, [phrase.text for phrases in listed for phrase in phrases])),
    )
    found = iter(boxes[0] if boxes else ())
    explained = {
        text: Explanation(
            image_size=size_px,
            regions=_regions(service, phrases, list(islice(found, len(phrases))), size_px),
            words=_words(proofs[at].words) if proofs else [],
        )
        for at, (text, phrases) in enumerate(zip(short, listed, strict=True))
    }
    return [explained.get(text) or Explanation(image_size=size_px, regions=[], words=[]) for text in texts]


async def with_heatmaps(
    service: Service,
    explained: Sequence[Explanation],
    images: ImageFeatures,
    texts: Sequence[str],
    form: HeatmapForm,
) -> list[Explanation]:
    """Give explained words their heat maps; none where the bundle allows none.

    Args:
        service: of the gallery.
        explained: of pairs.
        images: of each pair, or one for all of them.
        texts: of each pair, or one for all of them.
        form: how maps are sent; `none` leaves everything as it is.

    Raises:
        EngineError: the engine failed.
    """
    if form == "none" or map_method_of(service.encoder.manifest) is None:
        return list(explained)
    pairs = [
        (one, images[[at if len(images) > 1 else 0]], texts[at if len(texts) > 1 else 0])
        for at, one in enumerate(explained)
    ]
    return list(await asyncio.gather(*(_heated(service, *pair, form) for pair in pairs)))


async def _heated(
    service: Service, explained: Explanation, image: ImageFeatures, text: str, form: HeatmapForm
) -> Explanation:
    if not explained.words or explained.image_size is None:
        return explained
    maps = {one.start: one.heat for one in await service.engines.word_maps(image, text)}
    warm = [
        word.model_copy(update={"heatmap": heatmap_of(service.encoder, maps[word.start], explained.image_size, form)})
        for word in explained.words
    ]
    return replace(explained, words=warm)


async def _judged(
    service: Service, images: ImageFeatures, text: str, wanted: Collection[Explained]
) -> list[tuple[ProofWord, ...]]:
    return await service.engines.judge_words(images, text) if "words" in wanted else []


async def _or_none(boxes: Awaitable[list[list[tuple[ScoredBox, ...]]]]) -> list[list[tuple[ScoredBox, ...]]]:
    try:
        return await boxes
    except GraphMissingError:
        return []  # hits are worth showing without boxes; /info says that this bundle cannot ground


def _words(judged: Sequence[ProofWord]) -> list[HitWord]:
    return [
        HitWord(word=word.word, start=word.start, end=word.end, error_probability=word.error_probability)
        for word in judged
    ]


def _regions(
    service: Service, phrases: Sequence[Phrase], boxes: Sequence[Sequence[ScoredBox]], size_px: tuple[int, int]
) -> list[HitRegion]:
    width_px, height_px = size_px
    return [
        HitRegion(
            phrase=phrase.text,
            start=phrase.start,
            end=phrase.end,
            box=in_pixels(found.box, service.encoder, width_px=width_px, height_px=height_px),
            score=found.score,
        )
        for phrase, of_phrase in zip(phrases, boxes, strict=bool(boxes))
        for found in of_phrase
    ]
