"""`POST /search` and `POST /search/batch`."""

import asyncio

from fastapi import APIRouter, Request
from starlette.responses import Response

from runtime.errors import VernierError
from server.answers import ServiceOf, TimingsOf, plain_answer
from server.body import read_json, read_sent
from server.errors import field_error, problem_of, status_of
from server.openapi import body_of
from server.plain_route import PlainRoute
from server.querying import answer
from server.schemas.common import JsonObject
from server.schemas.search import BatchAnswer, BatchRequest, SearchAnswer, SearchRequest
from server.service import Service
from server.timings import Timings

router = APIRouter(tags=["search"], route_class=PlainRoute)


@router.post("/search", response_model=SearchAnswer, openapi_extra=body_of(SearchRequest, multipart=True))
async def search(request: Request, service: ServiceOf, timings: TimingsOf) -> Response:
    """Find what fits a text, a picture, or both."""
    with timings.stage("read"):
        sent = await read_sent(request, SearchRequest, max_bytes=service.settings.max_body_bytes)
    return plain_answer(await answer(service, sent.request, sent.image, timings))


@router.post("/search/batch", response_model=BatchAnswer, openapi_extra=body_of(BatchRequest))
async def search_batch(request: Request, service: ServiceOf, timings: TimingsOf) -> Response:
    """Answer several queries; one that fails has its problem in its place."""
    with timings.stage("read"):
        batch = await read_json(request, BatchRequest, max_bytes=service.settings.max_body_bytes)
    limits = service.settings
    if len(batch.queries) > limits.max_texts:
        raise field_error("queries", f"at most {limits.max_texts} queries are taken at once")
    if sum(query.image is not None for query in batch.queries) > limits.max_images:
        raise field_error("queries", f"at most {limits.max_images} of the queries may have a picture")
    results = await asyncio.gather(*(_one(service, query) for query in batch.queries))
    return plain_answer({"results": results})


async def _one(service: Service, query: SearchRequest) -> JsonObject:
    try:
        return await answer(service, query, None, Timings())
    except VernierError as error:
        if status_of(error) == 500:
            raise
        return problem_of(error)
