"""Why pictures and texts fit or do not: where each phrase is, and which words are doubtful; all hits together."""

import asyncio
from collections.abc import Awaitable, Collection, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from runtime.encoder import ImageFeatures, TextFeatures
from runtime.errors import GraphMissingError
from runtime.grounding import ScoredBox
from runtime.phrases import Phrase, noun_phrases
from runtime.preprocess.text import words
from runtime.proofread import ProofWord
from runtime.word_maps import map_method_of
from server.boxes import in_pixels
from server.heatmaps import HeatmapForm, heatmap_of
from server.schemas.common import JsonObject
from server.schemas.search import Explained, HitWord
from server.service import Service


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What a hit carries when it is explained.

    Attributes:
        image_size: width and height in pixels of the picture that the boxes are in.
        regions: each a `HitRegion` as plain JSON: a page of hits has dozens.
    """

    image_size: tuple[int, int] | None
    regions: list[JsonObject]
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
    *,
    phrases: Sequence[Phrase],
    phrase_texts: TextFeatures,
) -> list[Explanation]:
    """Ground the phrases of a text in pictures and judge its words by each, all pictures at once.

    What is not wanted of the two is not done.

    Args:
        service: of the gallery.
        images: features of the pictures.
        sizes_px: width and height of each.
        text: what they are held against.
        wanted: of an explanation.
        phrases: of the text, those whose boxes are wanted.
        phrase_texts: the phrases, embedded.

    Raises:
        EngineError: the engine failed.
    """
    names = [phrase.text for phrase in phrases]
    judged, boxes = await asyncio.gather(
        _judged(service, images, text, wanted),
        _or_none(service.engines.boxes(images, names, texts=phrase_texts)),
    )
    regions = _regions(service, [phrases] * len(boxes), boxes, sizes_px)
    return [
        Explanation(
            image_size=size,
            regions=regions[at] if regions else [],
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
    by_text = [list(islice(found, len(phrases))) for phrases in listed]
    regions = _regions(service, listed, by_text if boxes else [], [size_px] * len(short))
    explained = {
        text: Explanation(
            image_size=size_px,
            regions=regions[at] if regions else [],
            words=_words(proofs[at].words) if proofs else [],
        )
        for at, text in enumerate(short)
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
    service: Service,
    phrases: Sequence[Sequence[Phrase]],
    boxes: Sequence[Sequence[Sequence[ScoredBox]]],
    sizes_px: Sequence[tuple[int, int]],
) -> list[list[JsonObject]]:
    """Return the regions of each pair, from its phrases, the boxes of each of them, and the size of its picture.

    Those of all pairs are turned into pixels together: one by one, that would be the dearest part of a page of hits.
    """
    found = [
        (at, phrase, box)
        for at, (named, of_pair) in enumerate(zip(phrases, boxes, strict=True))
        for phrase, of_phrase in zip(named, of_pair, strict=True)
        for box in of_phrase
    ]
    pixels = in_pixels([box.box for _, _, box in found], service.encoder, [sizes_px[at] for at, _, _ in found])
    regions: list[list[JsonObject]] = [[] for _ in boxes]
    for (at, phrase, box), place in zip(found, pixels, strict=True):
        regions[at].append(
            {"phrase": phrase.text, "start": phrase.start, "end": phrase.end, "box": place, "score": box.score}
        )
    return regions
