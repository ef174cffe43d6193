"""`POST /ground`."""

import asyncio
from collections.abc import Sequence

from fastapi import APIRouter, Request
from starlette.responses import Response

from runtime.encoder import Encoder, Floats
from runtime.grounding import LEAST_BUDGET, Grounding, Method, is_calibrated, method_of
from runtime.phrases import Phrase, noun_phrases
from runtime.word_maps import WordMap, map_method_of
from server.answers import ServiceOf, TimingsOf, json_answer
from server.body import read_sent
from server.boxes import in_pixels
from server.errors import field_error
from server.heatmaps import heatmap_of
from server.hit_features import features_of_hits, to_explain
from server.openapi import body_of
from server.pictures import decoded, item_picture, one_picture, picture_bytes, unknown_item
from server.plain_route import PlainRoute
from server.schemas.ground import GroundAnswer, GroundedBox, GroundedWord, GroundRequest, PhraseGrounding
from server.schemas.search import Explained
from server.seeing import Seen, see
from server.service import Service
from server.texts import check_texts
from server.timings import Timings

_REGIONS: tuple[Explained, ...] = ("regions",)

router = APIRouter(tags=["look closer"], route_class=PlainRoute)


@router.post("/ground", response_model=GroundAnswer, openapi_extra=body_of(GroundRequest, multipart=True))
async def ground(request: Request, service: ServiceOf, timings: TimingsOf) -> Response:
    """Find phrases in a picture."""
    with timings.stage("read"):
        sent = await read_sent(request, GroundRequest, max_bytes=service.settings.max_body_bytes)
    asked = sent.request
    service = service.at(asked.gallery)
    phrases = _phrases(service, asked)
    manifest, budget = service.encoder.manifest, _budget(service, asked)
    method = method_of(manifest, budget=budget)
    one_picture(asked.image, sent.image)
    if asked.image is not None and asked.image.item is not None and method not in ("shapley", None):
        picture, pixels = await _kept(service, asked, asked.image.item, timings), None
    else:
        data = await picture_bytes(service, asked.image, sent.image, gallery=asked.gallery)
        picture = await see(service, data, timings)
        pixels = await _pixels(service, data, timings) if method == "shapley" and phrases else None
    with timings.stage("ground"):
        found = await service.engines.ground(
            picture.features,
            [phrase.text for phrase in phrases],
            pixels=pixels,
            budget=budget,
            top_k=asked.top_k,
            threshold=asked.threshold,
        )
        heats, maps = await _maps(service, asked, picture, phrases, found, method)
    answer = GroundAnswer(
        groundings=[
            _grounding(service.encoder, phrase, grounding, heat, picture, asked)
            for phrase, grounding, heat in zip(phrases, found, heats, strict=True)
        ],
        words=[_word(service.encoder, one, picture, asked) for one in maps] if asked.words else None,
        image_size=picture.size_px,
        method=found[0].method if found else None,
        calibrated=method is not None and is_calibrated(manifest, method),
        heatmap_method=None if asked.heatmap == "none" else _map_method(service.encoder, asked, method),
        timings_ms=timings.milliseconds(),
    )
    return json_answer(answer)


def _budget(service: Service, asked: GroundRequest) -> int:
    limits = service.settings
    if asked.budget is None:
        return limits.ground_budget
    if asked.budget > limits.max_ground_budget:
        raise field_error("budget", f"at most {limits.max_ground_budget} masked pictures are looked at")
    if 0 < asked.budget < LEAST_BUDGET:
        raise field_error("budget", f"fewer than {LEAST_BUDGET} masked pictures say nothing; name 0 for none")
    return asked.budget


async def _kept(service: Service, asked: GroundRequest, item: str, timings: Timings) -> Seen:
    """Return what a gallery keeps of a stored picture; where it keeps too little, the picture is looked at."""
    with timings.stage("store"):
        parts = to_explain(service.encoder, _REGIONS, with_heatmaps=asked.heatmap != "none")
        found = await features_of_hits(service, service.galleries.get(asked.gallery), [item], parts, to_proofread=False)
    if found is None:
        await item_picture(service, asked.gallery, item)  # says what is missing: the item or its picture
        raise unknown_item(asked.gallery)
    (width_px, height_px) = found.sizes_px[0]
    return Seen(features=found.features, width_px=width_px, height_px=height_px)


async def _pixels(service: Service, data: bytes, timings: Timings) -> Floats:
    """Return the encoder's input of a picture, to mask parts of."""
    picture = await decoded(service, data, timings)
    return await service.engines.decode(service.encoder.image_input, picture.image)


def _phrases(service: Service, asked: GroundRequest) -> list[Phrase]:
    limits = service.settings
    if asked.text is not None:
        check_texts([asked.text], max_words=limits.max_judged_words)
        return noun_phrases(asked.text)
    phrases = asked.phrases or []
    if len(phrases) > limits.max_texts:
        raise field_error("phrases", f"at most {limits.max_texts} phrases are looked for at once")
    check_texts(phrases, max_words=limits.max_judged_words)
    return [Phrase(phrase, 0, len(phrase)) for phrase in phrases]


def _map_method(encoder: Encoder, asked: GroundRequest, method: Method | None) -> str | None:
    """Name how maps are made: where pictures were masked to find phrases alone, by what that showed."""
    return method if method == "shapley" and not asked.words else map_method_of(encoder.manifest)


async def _maps(
    service: Service,
    asked: GroundRequest,
    picture: Seen,
    phrases: Sequence[Phrase],
    found: Sequence[Grounding],
    method: Method | None,
) -> tuple[Sequence[Floats | None], Sequence[WordMap]]:
    """Map phrases, and words where they are asked for; None for each phrase when no heat map is."""
    if asked.heatmap == "none":
        return [None] * len(phrases), []
    if _map_method(service.encoder, asked, method) == "shapley":
        return [grounding.heat for grounding in found], []
    engines, features = service.engines, picture.features
    of_phrases = engines.phrase_maps(features, [phrase.text for phrase in phrases])
    if not asked.words or asked.text is None:
        return await of_phrases, []
    return await asyncio.gather(of_phrases, engines.word_maps(features, asked.text))


def _grounding(
    encoder: Encoder, phrase: Phrase, found: Grounding, heat: Floats | None, picture: Seen, asked: GroundRequest
) -> PhraseGrounding:
    places = in_pixels([box.box for box in found.boxes], encoder, [picture.size_px] * len(found.boxes))
    return PhraseGrounding(
        phrase=phrase.text,
        start=phrase.start,
        end=phrase.end,
        boxes=[GroundedBox(box=place, score=box.score) for place, box in zip(places, found.boxes, strict=True)],
        heatmap=None if heat is None else heatmap_of(encoder, heat, picture.size_px, asked.heatmap),
    )


def _word(encoder: Encoder, found: WordMap, picture: Seen, asked: GroundRequest) -> GroundedWord:
    heatmap = heatmap_of(encoder, found.heat, picture.size_px, asked.heatmap)
    return GroundedWord(word=found.word, start=found.start, end=found.end, heatmap=heatmap)
