"""What happens around every request: it knocks at the door, is timed, and noted afterwards."""

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runtime.errors import VernierError
from server import logs, work
from server.admission import Place
from server.client_watch import ClientLeft, ClientWatch
from server.door import Visit
from server.errors import RequestError, internal_error, problem_response
from server.noting import note
from server.timings import Timings
from server.timings import current as current_timings

if TYPE_CHECKING:
    from server.service import Service

_log = logging.getLogger("server.requests")

_AROUND_S = 0.001  # what a request costs beside the calls that are measured


class RequestMiddleware:
    """The outermost layer; no error gets past it."""

    def __init__(self, app: ASGIApp, *, service: "Service") -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        visit = self._service.door.knock(scope)
        token = logs.request_id.set(visit.identity)
        stopwatch = current_timings.set(visit.timings)
        try:
            await self._handle(scope, receive, send, visit)
        finally:
            current_timings.reset(stopwatch)
            logs.request_id.reset(token)

    async def _handle(self, scope: Scope, receive: Receive, send: Send, visit: Visit) -> None:
        state = scope["state"]
        status = 0

        async def send_dressed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                state["answered"] = status < 400
                message = {**message, "headers": visit.dress(list(message["headers"]))}
            await send(message)

        try:
            if visit.refusal is not None:
                raise visit.refusal
            elif visit.place is None:
                await self._app(scope, receive, send_dressed)
            else:
                await self._work(scope, receive, send_dressed, visit.place, visit.timeout_s)
        except VernierError as error:
            state["error_code"] = error.code
            if status:
                raise
            await problem_response(error, path=scope["path"])(scope, receive, send_dressed)
        except (ClientDisconnect, ClientLeft):
            status = status or 499
        except asyncio.CancelledError:
            status = status or 499
            raise
        except Exception:
            _log.exception("request failed", extra={"fields": {"event": "request_failed"}})
            state["error_code"] = "internal"
            if status:
                raise
            await problem_response(internal_error(), path=scope["path"])(scope, receive, send_dressed)
        finally:
            if visit.place is not None:
                self._service.admission.leave(visit.place, own_s=_own_s(state))
            note(self._service, scope, status)  # type: ignore[arg-type]

    async def _work(
        self, scope: Scope, receive: Receive, send: Send, place: Place, asked_timeout_s: float | None
    ) -> None:
        """Run the request until it is answered, its time is up, or its client has left."""
        is_bulk = scope["method"] == "POST" and scope["path"].endswith("/items")
        limit_s = asked_timeout_s or (None if is_bulk else self._service.settings.request_timeout_s)
        deadline = None if limit_s is None else time.monotonic() + limit_s
        with work.doing(work.Work(is_ingest=place.is_ingest, deadline=deadline)):
            if scope["method"] in ("GET", "HEAD", "DELETE"):  # nobody reads a body that they may have
                self._service.admission.begin(place)
            client = ClientWatch(receive, on_complete=lambda: self._service.admission.begin(place))
            try:
                async with asyncio.timeout(limit_s), client:
                    await self._app(scope, client.receive, send)
            except TimeoutError:
                raise RequestError(f"no answer within {limit_s:g} s.", code="timed_out") from None


def _own_s(state: dict[str, Any]) -> float | None:
    """Return the seconds that a request took without waiting; None when it was refused or ended early."""
    if state["error_code"] is not None or not state["answered"]:
        return None
    timings: Timings = state["timings"]
    return timings.worked_s + _AROUND_S
