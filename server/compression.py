"""Answers compressed for clients that say they can read it: text alone, and not on the event loop when it is long."""

import asyncio
import gzip

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LEVEL = 4
_SHORTEST = 1_000
_COMPRESSED_AT_ONCE = 16_000
_TYPES = ("application/json", "application/problem+json", "text/", "image/svg+xml")


class Gzip:
    """Compresses whole answers; an answer that comes in pieces is left as it is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http" or not accepts_gzip(Headers(scope=scope).get("accept-encoding", "")):
            await self._app(scope, receive, send)
            return
        start: Message | None = None

        async def send_compressed(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            if start is not None:
                begun, start = start, None
                if not message.get("more_body", False):
                    message = {**message, "body": await _compress(begun, message.get("body", b""))}
                await send(begun)
            await send(message)

        await self._app(scope, receive, send_compressed)


def accepts_gzip(accept_encoding: str) -> bool:
    """Say whether a client reads gzip, going by its `Accept-Encoding`."""
    for entry in accept_encoding.lower().split(","):
        name, _, parameters = entry.partition(";")
        if name.strip() in ("gzip", "*"):
            return parameters.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


async def _compress(start: Message, body: bytes) -> bytes:
    headers = MutableHeaders(raw=start["headers"])
    if not headers.get("content-type", "").startswith(_TYPES):
        return body
    headers.add_vary_header("Accept-Encoding")
    if len(body) < _SHORTEST or "content-encoding" in headers:
        return body
    if len(body) <= _COMPRESSED_AT_ONCE:
        small = gzip.compress(body, _LEVEL, mtime=0)
    else:
        small = await asyncio.to_thread(gzip.compress, body, _LEVEL, mtime=0)
    headers["Content-Encoding"] = "gzip"
    headers["Content-Length"] = str(len(small))
    if "etag" in headers:
        headers["ETag"] = f"W/{headers['etag']}"
    return small
