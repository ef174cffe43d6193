"""`POST /identify`: what is this? The reverse of `/ground`: a part of a picture, and the phrases that fit it."""

import numpy as np
from fastapi import APIRouter, Request
from PIL import Image
from starlette.responses import Response

from runtime.encoder import Floats
from server.answers import ServiceOf, TimingsOf, json_answer
from server.body import read_sent
from server.errors import field_error
from server.openapi import body_of
from server.pictures import Picture, decoded, picture_bytes
from server.plain_route import PlainRoute
from server.schemas.identify import IdentifyAnswer, IdentifyRequest, RankedName, Source
from server.service import Service
from server.texts import check_texts

router = APIRouter(tags=["look closer"], route_class=PlainRoute)

Box = tuple[float, float, float, float]

_SHARES_AROUND_POINT = (0.2, 0.3, 0.4, 0.5)
"""Sides of the squares around a point, in shares of the picture's shorter side: how large the thing is, nobody said."""


@router.post("/identify", response_model=IdentifyAnswer, openapi_extra=body_of(IdentifyRequest, multipart=True))
async def identify(request: Request, service: ServiceOf, timings: TimingsOf) -> Response:
    """Rank phrases by how well they fit a part of a picture."""
    with timings.stage("read"):
        sent = await read_sent(request, IdentifyRequest, max_bytes=service.settings.max_body_bytes)
    asked = sent.request
    service = service.at(asked.gallery)
    data = await picture_bytes(service, asked.image, sent.image, gallery=asked.gallery)
    picture = await decoded(service, data, timings)
    boxes = _boxes(asked, picture)
    with timings.stage("embed_image"):
        alone = [await service.engines.decode(_alone, picture, box) for box in boxes]
        looks = (await service.engines.image_features(alone)).embedding
    look = looks.sum(axis=0)
    with timings.stage("embed_text"):
        phrases, embeddings, source = await _candidates(service, asked)
    scores = embeddings @ (look / np.linalg.norm(look))
    best = np.argsort(-scores, kind="stable")[: asked.top_k]
    answer = IdentifyAnswer(
        names=[RankedName(phrase=phrases[at], score=round(float(scores[at]), 4)) for at in best],
        box=boxes[-1],
        image_size=(picture.width_px, picture.height_px),
        source=source,
        candidates=len(phrases),
        timings_ms=timings.milliseconds(),
    )
    return json_answer(answer)


async def _candidates(service: Service, asked: IdentifyRequest) -> tuple[list[str], Floats, Source]:
    if asked.phrases is None:
        words = await service.gallery_words.of(service, asked.gallery)
        return words.phrases, words.embeddings, words.source
    limits = service.settings
    if len(asked.phrases) > limits.max_texts:
        raise field_error("phrases", f"at most {limits.max_texts} phrases are ranked at once")
    check_texts(asked.phrases, max_words=limits.max_judged_words)
    return asked.phrases, (await service.engines.text_features(asked.phrases)).embedding, "request"


def _boxes(asked: IdentifyRequest, picture: Picture) -> list[Box]:
    """Return the parts to look at, the largest last."""
    if asked.box is not None:
        return [_within(asked.box[0], asked.box[1], asked.box[2], asked.box[3], picture, field="box")]
    assert asked.point is not None
    x, y = asked.point
    halves = [share * min(picture.width_px, picture.height_px) / 2 for share in _SHARES_AROUND_POINT]
    return [_within(x - half, y - half, x + half, y + half, picture, field="point") for half in halves]


def _within(x0: float, y0: float, x1: float, y1: float, picture: Picture, *, field: str) -> Box:
    """Cut a box to the picture.

    Raises:
        RequestError: `request_invalid` when nothing of it is in the picture.
    """
    width_px, height_px = picture.width_px, picture.height_px
    box = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width_px)), min(y1, float(height_px)))
    if box[0] >= box[2] or box[1] >= box[3]:
        raise field_error(field, f"this is outside of the picture of {width_px} x {height_px} pixels")
    return box


def _alone(picture: Picture, box: Box) -> Image.Image:
    """Return the picture with all but a box painted over in its median colour.

    The thing keeps its size and place, as the encoder is used to; cut out and enlarged, it is told far worse.
    """
    pixels = np.asarray(picture.image)
    height, width = pixels.shape[:2]
    across, down = width / picture.width_px, height / picture.height_px
    columns = slice(int(box[0] * across), max(int(np.ceil(box[2] * across)), int(box[0] * across) + 1))
    rows = slice(int(box[1] * down), max(int(np.ceil(box[3] * down)), int(box[1] * down) + 1))
    shown = np.empty_like(pixels)
    shown[:] = np.median(pixels.reshape(-1, pixels.shape[2]), axis=0).astype(pixels.dtype)
    shown[rows, columns] = pixels[rows, columns]
    return Image.fromarray(shown)
