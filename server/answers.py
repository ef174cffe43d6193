"""Small things every route needs."""

from collections.abc import Mapping
from typing import Annotated, Any

import orjson
from fastapi import Depends, Request
from pydantic import BaseModel
from starlette.responses import Response

from server.service import Service
from server.timings import Timings


# Coroutines, because FastAPI gives every plain function a trip to a thread.
async def _service(request: Request) -> Service:
    service = request.state.service
    assert isinstance(service, Service)
    return service


async def _timings(request: Request) -> Timings:
    timings = request.state.timings
    assert isinstance(timings, Timings)
    return timings


ServiceOf = Annotated[Service, Depends(_service)]
TimingsOf = Annotated[Timings, Depends(_timings)]


def plain_answer(body: Mapping[str, Any]) -> Response:
    """Return plain values as JSON."""
    return Response(orjson.dumps(body), media_type="application/json")


def json_answer(body: BaseModel, *, status: int = 200, keep_none: bool = False) -> Response:
    """Return a model as JSON. Optional fields that are not there are left out unless `keep_none`."""
    data = body.model_dump_json(exclude_none=not keep_none)
    return Response(data, status_code=status, media_type="application/json")
