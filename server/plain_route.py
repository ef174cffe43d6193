"""Routes whose functions read the request by themselves."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from server.service import Service
from server.timings import Timings

Endpoint = Callable[[Request, Service, Timings], Awaitable[Response]]


class PlainRoute(APIRoute):
    """A route that FastAPI documents and does not stand in the way of.

    Its function takes the request, the service and the stopwatch, and gives a response. What FastAPI would do about
    dependencies, bodies and answers takes as long as a text search itself.
    """

    def __init__(self, path: str, endpoint: Endpoint, **options: Any) -> None:  # noqa: ANN401  as FastAPI has it
        super().__init__(path, endpoint, **options)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            state = scope["state"]
            response = await endpoint(Request(scope, receive, send), state["service"], state["timings"])
            await response(scope, receive, send)

        self.app = app
