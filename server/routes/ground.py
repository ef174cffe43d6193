"""`POST /ground`."""

import asyncio
from collections.abc import Sequence

from fastapi import APIRouter, Request
from starlette.responses import Response

from runtime.encoder import Encoder, Floats
from runtime.grounding import Grounding
from runtime.phrases import Phrase, noun_phrases
from runtime.word_maps import WordMap, map_method_of
from server.answers import ServiceOf, TimingsOf, json_answer
from server.body import read_sent
from server.boxes import in_pixels
from server.errors import field_error
from server.heatmaps import heatmap_of
from server.openapi import body_of
from server.pictures import picture_bytes
from server.plain_route import PlainRoute
from server.schemas.ground import GroundAnswer, GroundedBox, GroundedWord, GroundRequest, PhraseGrounding
from server.seeing import Seen, see
from server.service import Service
from server.texts import check_texts

router = APIRouter(tags=["look closer"], route_class=PlainRoute)


@router.post("/ground", response_model=GroundAnswer, openapi_extra=body_of(GroundRequest, multipart=True))
async def ground(request: Request, service: ServiceOf, timings: TimingsOf) -> Response:
    """Find phrases in a picture."""
    with timings.stage("read"):
        sent = await read_sent(request, GroundRequest, max_bytes=service.settings.max_body_bytes)
    asked = sent.request
    service = service.at(asked.gallery)
    phrases = _phrases(service, asked)
    data = await picture_bytes(service, asked.image, sent.image, gallery=asked.gallery)
    picture = await see(service, data, timings)
    with timings.stage("ground"):
        found = await service.engines.ground(picture.features, [phrase.text for phrase in phrases], top_k=asked.top_k)
        heats, maps = await _maps(service, asked, picture, phrases)
    answer = GroundAnswer(
        groundings=[
            _grounding(service.encoder, phrase, grounding, heat, picture, asked)
            for phrase, grounding, heat in zip(phrases, found, heats, strict=True)
        ],
        words=[_word(service.encoder, one, picture, asked) for one in maps] if asked.words else None,
        image_size=picture.size_px,
        method=found[0].method if found else None,
        heatmap_method=None if asked.heatmap == "none" else map_method_of(service.encoder.manifest),
        timings_ms=timings.milliseconds(),
    )
    return json_answer(answer)


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


async def _maps(
    service: Service, asked: GroundRequest, picture: Seen, phrases: Sequence[Phrase]
) -> tuple[Sequence[Floats | None], Sequence[WordMap]]:
    """Map phrases, and words where they are asked for; None for each phrase when no heat map is."""
    if asked.heatmap == "none":
        return [None] * len(phrases), []
    engines, features = service.engines, picture.features
    of_phrases = engines.phrase_maps(features, [phrase.text for phrase in phrases])
    if not asked.words or asked.text is None:
        return await of_phrases, []
    return await asyncio.gather(of_phrases, engines.word_maps(features, asked.text))


def _grounding(
    encoder: Encoder, phrase: Phrase, found: Grounding, heat: Floats | None, picture: Seen, asked: GroundRequest
) -> PhraseGrounding:
    size = {"width_px": picture.width_px, "height_px": picture.height_px}
    return PhraseGrounding(
        phrase=phrase.text,
        start=phrase.start,
        end=phrase.end,
        boxes=[GroundedBox(box=in_pixels(box.box, encoder, **size), score=box.score) for box in found.boxes],
        heatmap=None if heat is None else heatmap_of(encoder, heat, picture.size_px, asked.heatmap),
    )


def _word(encoder: Encoder, found: WordMap, picture: Seen, asked: GroundRequest) -> GroundedWord:
    heatmap = heatmap_of(encoder, found.heat, picture.size_px, asked.heatmap)
    return GroundedWord(word=found.word, start=found.start, end=found.end, heatmap=heatmap)
