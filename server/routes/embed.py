"""`POST /embed` and the OpenAI-compatible `POST /v1/embeddings`."""

import asyncio
import re
from base64 import b64encode
from collections.abc import Sequence

import numpy as np
from fastapi import APIRouter, Request
from starlette.responses import Response

from runtime.encoder import Floats
from server.answers import ServiceOf, TimingsOf, json_answer
from server.body import IMAGE, JSON, content_type, no_parameters, read_all, read_json, unsupported_type
from server.errors import field_error
from server.openapi import body_of, picture_body
from server.pictures import picture_bytes
from server.plain_route import PlainRoute
from server.schemas.common import ImageReference
from server.schemas.embed import (
    EmbedAnswer,
    EmbedInput,
    EmbedRequest,
    OpenAIAnswer,
    OpenAIEmbedding,
    OpenAIRequest,
    OpenAIUsage,
)
from server.seeing import see
from server.service import Service
from server.texts import check_texts
from server.timings import Timings

router = APIRouter(tags=["embed"], route_class=PlainRoute)

_DATA_URI = re.compile(r"data:image/[a-z0-9.+-]+;base64,", re.IGNORECASE)


@router.post("/embed", response_model=EmbedAnswer, openapi_extra=picture_body(EmbedRequest))
async def embed(request: Request, service: ServiceOf, timings: TimingsOf) -> Response:
    """Embed texts and pictures in the joint space."""
    with timings.stage("read"):
        picture, asked = await _read(request, service)
    service = service.at("default" if asked is None else asked.gallery)
    if picture is not None:
        vectors = (await see(service, picture, timings)).features.embedding
    elif asked is not None:
        vectors, _ = await _embed(service, asked.inputs, timings, gallery=asked.gallery, field="inputs")
    answer = EmbedAnswer(
        embeddings=vectors.tolist(),
        dim=service.encoder.dim,
        space=service.encoder.space,
        timings_ms=timings.milliseconds(),
    )
    return json_answer(answer)


@router.post("/v1/embeddings", response_model=OpenAIAnswer, openapi_extra=body_of(OpenAIRequest))
async def openai_embeddings(request: Request, service: ServiceOf, timings: TimingsOf) -> Response:
    """Embed texts and `data:` pictures for a client of OpenAI's interface."""
    with timings.stage("read"):
        asked = await read_json(request, OpenAIRequest, max_bytes=service.settings.max_body_bytes)
    service = service.at("default")
    if asked.dimensions not in (None, service.encoder.dim):
        raise field_error("dimensions", f"this bundle's embeddings have {service.encoder.dim} dimensions")
    inputs = [_input_of(entry) for entry in ([asked.input] if isinstance(asked.input, str) else asked.input)]
    vectors, num_subwords = await _embed(service, inputs, timings, gallery="default", field="input")
    as_base64 = asked.encoding_format == "base64"
    answer = OpenAIAnswer(
        data=[
            OpenAIEmbedding(index=row, embedding=_base64(vector) if as_base64 else vector.tolist())
            for row, vector in enumerate(vectors)
        ],
        model=service.encoder.manifest.name,
        usage=OpenAIUsage(prompt_tokens=num_subwords, total_tokens=num_subwords),
    )
    return json_answer(answer)


async def _read(request: Request, service: Service) -> tuple[bytes | None, EmbedRequest | None]:
    """Read either one picture as it is, or a JSON request."""
    max_bytes = service.settings.max_body_bytes
    kind = content_type(request)
    if kind.startswith(IMAGE):
        no_parameters(request)
        return await read_all(request, max_bytes=max_bytes), None
    if kind != JSON:
        raise unsupported_type(kind, JSON, f"{IMAGE}*")
    return None, await read_json(request, EmbedRequest, max_bytes=max_bytes)


def _input_of(entry: str) -> EmbedInput:
    if found := _DATA_URI.match(entry):
        return EmbedInput(image=ImageReference(base64=entry[found.end() :]))
    return EmbedInput(text=entry)


def _base64(vector: Floats) -> str:
    return b64encode(vector.astype("<f4").tobytes()).decode()


async def _embed(
    service: Service, inputs: Sequence[EmbedInput], timings: Timings, *, gallery: str, field: str
) -> tuple[Floats, int]:
    """Return the vectors in the order of the inputs [inputs, dim], and how many subwords the texts had."""
    limits = service.settings
    if len(inputs) > limits.max_texts:
        raise field_error(field, f"at most {limits.max_texts} inputs are embedded at once")
    references = [(row, entry.image) for row, entry in enumerate(inputs) if entry.image is not None]
    if len(references) > limits.max_images:
        raise field_error(field, f"at most {limits.max_images} pictures are embedded at once")
    texts = [(row, entry.text) for row, entry in enumerate(inputs) if entry.text is not None]
    check_texts([text for _, text in texts], max_words=limits.max_words)
    vectors = np.zeros((len(inputs), service.encoder.dim), np.float32)
    num_subwords = 0
    if texts:
        with timings.stage("embed_text"):
            found = await service.engines.text_features([text for _, text in texts])
        vectors[[row for row, _ in texts]] = found.embedding
        num_subwords = int(found.batch.mask.sum())
    if references:
        files = [await picture_bytes(service, reference, None, gallery=gallery) for _, reference in references]
        pictures = await asyncio.gather(*(see(service, file, timings) for file in files))
        vectors[[row for row, _ in references]] = [picture.features.embedding[0] for picture in pictures]
    return vectors, num_subwords
