"""`POST /ground`."""

import io
from base64 import b64encode

import numpy as np
from fastapi import APIRouter, Request
from PIL import Image
from starlette.responses import Response

from runtime.encoder import Encoder, Floats
from runtime.grounding import Grounding
from runtime.phrases import Phrase, noun_phrases
from server.answers import ServiceOf, TimingsOf, json_answer
from server.body import read_sent
from server.boxes import in_pixels
from server.errors import field_error
from server.openapi import body_of
from server.pictures import picture_bytes
from server.plain_route import PlainRoute
from server.schemas.ground import GroundAnswer, GroundedBox, GroundRequest, PhraseGrounding
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
    answer = GroundAnswer(
        groundings=[
            _grounding(service.encoder, phrase, grounding, picture, asked.heatmap)
            for phrase, grounding in zip(phrases, found, strict=True)
        ],
        image_size=picture.size_px,
        method=found[0].method if found else None,
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


def _grounding(encoder: Encoder, phrase: Phrase, found: Grounding, picture: Seen, heatmap: str) -> PhraseGrounding:
    size = {"width_px": picture.width_px, "height_px": picture.height_px}
    return PhraseGrounding(
        phrase=phrase.text,
        start=phrase.start,
        end=phrase.end,
        boxes=[GroundedBox(box=in_pixels(box.box, encoder, **size), score=box.score) for box in found.boxes],
        heatmap=_heatmap(encoder, found.heat, picture, heatmap),
    )


def _heatmap(encoder: Encoder, heat: Floats, picture: Seen, form: str) -> str | list[list[float]] | None:
    """Show a heat map in one of its forms. What the encoder does not see of a picture that it crops is cold."""
    if form == "none":
        return None
    whole = _over_picture(encoder, heat, picture)
    if form == "grid":
        return [[round(float(value), 4) for value in row] for row in whole]
    file = io.BytesIO()
    Image.fromarray((whole * 255).round().astype(np.uint8)).save(file, "PNG")
    return b64encode(file.getvalue()).decode()


def _over_picture(encoder: Encoder, heat: Floats, picture: Seen) -> Floats:
    rows, columns = heat.shape
    transform = encoder.manifest.image.transform()
    x0, y0, x1, y1 = transform.box_in_picture(
        (0.0, 0.0, 1.0, 1.0), width_px=picture.width_px, height_px=picture.height_px
    )
    left, right = round(x0 * columns / (x1 - x0)), round((1 - x1) * columns / (x1 - x0))
    top, bottom = round(y0 * rows / (y1 - y0)), round((1 - y1) * rows / (y1 - y0))
    return np.pad(heat, ((top, bottom), (left, right)))
