"""What happens around every request: its id, its key, its place, and what is noted of it afterwards."""

import asyncio
import logging
import re
import uuid
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runtime.errors import VernierError
from server import auth, logs
from server.errors import RequestError, internal_error, problem_response
from server.timings import Timings

if TYPE_CHECKING:
    from server.service import Service

_log = logging.getLogger("server.requests")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS")
_UNCOUNTED = ("/health/", "/metrics", "/info", "/openapi.json", "/web/")
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
        scope.setdefault("state", {}).update(timings=timings, service=self._service, error_code=None)
        status = 0

        async def send_dressed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
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
            await problem_response(error)(scope, receive, send_dressed)
        except ClientDisconnect:
            status = status or 499
        except asyncio.CancelledError:
            status = status or 499
            raise
        except Exception:
            _log.exception("request failed", extra={"fields": {"event": "request_failed"}})
            scope["state"]["error_code"] = "internal"
            if status:
                raise
            await problem_response(internal_error())(scope, receive, send_dressed)
        finally:
            self._note(scope, status, timings)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        service = self._service
        try:
            needed = auth.scope_needed(scope["method"], path)
            headers = Headers(scope=scope)
            auth.check_origin(headers.get("sec-fetch-site"), needed)
            if service.settings.api_keys and needed is not None:
                auth.check_key(service.settings.api_keys, headers.get("authorization"), needed)
            counted = path != "/" and not path.startswith(_UNCOUNTED)
            if counted:
                service.check_ready()
                service.admission.enter()
        except VernierError as error:
            scope["state"]["error_code"] = error.code
            await _refuse(error)(scope, receive, send)
            return
        if not counted:
            await self._app(scope, receive, send)
            return
        try:
            await self._within_time(scope, receive, send)
        finally:
            service.admission.leave()

    async def _within_time(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "POST" and scope["path"].endswith("/items"):
            await self._app(scope, receive, send)
            return
        limit_s = self._service.settings.request_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                await self._app(scope, receive, send)
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


def _refuse(error: VernierError) -> Response:
    # The body was not read: the connection cannot be used again.
    response = problem_response(error)
    response.headers["Connection"] = "close"
    return response
