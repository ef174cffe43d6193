"""What happens around every request: its id, its key, its place, and what is noted of it afterwards."""

import asyncio
import contextlib
import logging
import re
import time
import uuid
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runtime.errors import VernierError
from server import auth, logs, work
from server.admission import Place
from server.client_watch import ClientLeft, ClientWatch
from server.errors import RequestError, field_error, internal_error, problem_response
from server.timings import Timings
from server.timings import current as current_timings

if TYPE_CHECKING:
    from server.service import Service

_log = logging.getLogger("server.requests")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS")
_UNCOUNTED = ("/health/", "/metrics", "/info", "/openapi.json", "/web/")
_AROUND_S = 0.001  # what a request costs beside the calls that are measured
_TAKEN_IN, _TAKEN_IN_S = 1_000_000, 5.0  # bytes of a refused body, and seconds
_COSTLY = ("/search", "/search/batch", "/ground", "/proofread", "/embed", "/v1/embeddings")
_DIGITS_WITHOUT_PICTURE = 4  # of the body's length: no picture fits in so few bytes
_SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}


class RequestMiddleware:
    """The outermost layer: gives ids, checks keys, admits, times, logs and counts; no error gets past it."""

    def __init__(self, app: ASGIApp, *, service: "Service") -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        identity = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        token = logs.request_id.set(identity)
        try:
            await self._handle(scope, receive, send, identity)
        finally:
            logs.request_id.reset(token)

    async def _handle(self, scope: Scope, receive: Receive, send: Send, identity: str) -> None:
        timings = Timings()
        scope.setdefault("state", {}).update(timings=timings, service=self._service, error_code=None, answered=False)
        stopwatch = current_timings.set(timings)
        status = 0

        async def send_dressed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                scope["state"]["answered"] = status < 400
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = identity
                headers["Server-Timing"] = timings.server_timing()
                for name, value in _SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._admit(scope, receive, send_dressed)
        except VernierError as error:
            scope["state"]["error_code"] = error.code
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
            scope["state"]["error_code"] = "internal"
            if status:
                raise
            await problem_response(internal_error(), path=scope["path"])(scope, receive, send_dressed)
        finally:
            current_timings.reset(stopwatch)
            self._note(scope, status, timings)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        service = self._service
        place = None
        try:
            needed = auth.scope_needed(scope["method"], path)
            headers = Headers(scope=scope)
            auth.check_origin(headers.get("sec-fetch-site"), needed)
            if needed is not None:
                caller: Hashable = (scope.get("client") or ("",))[0]
                if service.settings.api_keys:
                    caller = auth.check_key(service.settings.api_keys, headers.get("authorization"), needed)
                service.rate_limits.take(caller)
            timeout_s = self._timeout_s(scope)
            if path != "/" and not path.startswith(_UNCOUNTED):
                service.check_ready()
                is_ingest = needed == "write"
                place = service.admission.enter(_kind(scope, headers), is_ingest=is_ingest, timeout_s=timeout_s)
        except VernierError as error:
            scope["state"]["error_code"] = error.code
            await _refuse(error, scope, receive, send)
            return
        if place is None:
            await self._app(scope, receive, send)
            return
        try:
            await self._work(scope, receive, send, place, timeout_s)
        finally:
            service.admission.leave(place, own_s=_own_s(scope["state"]))

    def _timeout_s(self, scope: Scope) -> float | None:
        """Return the seconds that the caller waits; None when it did not say.

        Raises:
            RequestError: `request_invalid`.
        """
        if b"timeout_ms" not in scope["query_string"]:
            return None
        given = QueryParams(scope["query_string"]).get("timeout_ms", "")
        longest_ms = self._service.settings.request_timeout_s * 1000
        if not (given.isascii() and given.isdigit() and 1 <= int(given[:12]) <= longest_ms):
            raise field_error("timeout_ms", f"a whole number of milliseconds from 1 to {longest_ms:.0f}")
        return int(given) / 1000

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

    def _note(self, scope: Scope, status: int, timings: Timings) -> None:
        route = getattr(scope.get("route"), "path", "unknown")
        method = scope["method"] if scope["method"] in _METHODS else "other"  # anyone may send any word
        code = scope["state"]["error_code"]
        fields = {
            "event": "request",
            "method": method,
            "route": route,
            "status": status,
            "ms": timings.milliseconds(),
        }
        if code is not None:
            fields["code"] = code
        quiet = route in ("/health/live", "/health/ready", "/metrics") and status < 400
        _log.log(logging.DEBUG if quiet else logging.INFO, "request", extra={"fields": fields})
        self._service.metrics.observe(
            method=method,
            route=route,
            status=status,
            seconds=timings.total_s,
            stages_s=timings.stages_s,
            code=code,
        )


def _kind(scope: Scope, headers: Headers) -> str:
    """Return what a request's cost is expected from."""
    path = scope["path"]
    if path.startswith("/galleries"):
        return f"{scope['method']} {'items' if '/items' in path else 'galleries'}"
    is_small = headers.get("content-type", "").startswith("application/json") and (
        len(headers.get("content-length", "x" * 9)) <= _DIGITS_WITHOUT_PICTURE
    )
    known = path if path in _COSTLY else "other"
    return known if is_small else f"{known} with a picture"


def _own_s(state: dict[str, Any]) -> float | None:
    """Return the seconds that a request took without waiting; None when it was refused or ended early."""
    if state["error_code"] is not None or not state["answered"]:
        return None
    timings: Timings = state["timings"]
    return timings.worked_s + _AROUND_S


async def _refuse(error: VernierError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer without waiting for the body. A short one is taken in afterwards, so that the connection can be kept."""
    response = problem_response(error, path=scope["path"])
    headers = Headers(scope=scope)
    declared = headers.get("content-length", "" if "transfer-encoding" in headers else "0")
    if not declared.isdigit() or int(declared) > _TAKEN_IN:
        response.headers["Connection"] = "close"
        await response(scope, receive, send)
        return
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": True})
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_TAKEN_IN_S):
            while int(declared) and (message := await receive())["type"] == "http.request" and message.get("more_body"):
                pass
    await send({"type": "http.response.body", "body": b"", "more_body": False})
