"""The door on real sockets: who is refused never reaches the application, and keeps the connection where it can."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from runtime.engines.fake import fake_encoder
from server.app import create_app
from server.door import Visit
from server.protocol import Protocol
from server.service import Service
from tests.unit.server.conftest import settings_for

SEARCH = b'{"text": "red"}'


class Counted:
    """An application that notes what reaches it."""

    def __init__(self, app: Any) -> None:
        self.app, self.state, self.paths = app, app.state, []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            self.paths.append(scope["path"])
        await self.app(scope, receive, send)


class Caller:
    """One connection."""

    def __init__(self, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        self.reader, self.writer = streams

    def send(self, method: str, path: str, *headers: str, body: bytes = b"", length: int | None = None) -> None:
        lines = [f"{method} {path} HTTP/1.1", "Host: x", *headers]
        if body or length:
            lines += ["Content-Type: application/json", f"Content-Length: {length or len(body)}"]
        self.writer.write(("\r\n".join(lines) + "\r\n\r\n").encode() + body)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        return int(head[0].split()[1]), headers, await self.reader.readexactly(int(headers["content-length"]))

    async def is_closed(self) -> bool:
        return await asyncio.wait_for(self.reader.read(1), 10) == b""


@asynccontextmanager
async def listening(folder: Path, **changes: Any) -> AsyncIterator[tuple[Counted, Any]]:
    settings = settings_for(folder, **changes)
    app = Counted(create_app(settings, service=Service(settings, encoder=fake_encoder())))
    server = uvicorn.Server(
        uvicorn.Config(app, http=Protocol, proxy_headers=False, port=0, log_config=None, lifespan="on")
    )
    serving = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.01)
    host, port = server.servers[0].sockets[0].getsockname()
    callers = []

    async def call() -> Caller:
        callers.append(Caller(await asyncio.open_connection(host, port)))
        return callers[-1]

    try:
        yield app, call
    finally:
        for caller in callers:
            caller.writer.close()
        server.should_exit = True
        await serving


async def test_who_is_refused_never_reaches_the_application(tmp_path: Path) -> None:
    async with listening(tmp_path, max_waiting=1) as (app, call):
        first, second = await call(), await call()
        first.send("POST", "/search", body=SEARCH[:4], length=len(SEARCH))
        while app.state.service.admission.inside == 0:
            await asyncio.sleep(0.01)
        for _ in range(3):
            second.send("POST", "/search", body=SEARCH)
            status, headers, body = await second.answer()
            assert (status, headers["content-type"]) == (429, "application/problem+json")
            assert int(headers["retry-after"]) >= 1
            assert "x-request-id" in headers
            assert "total;dur=" in headers["server-timing"]
            assert b'"overloaded"' in body
        assert app.paths == ["/search"]
        first.writer.write(SEARCH[4:])
        assert (await first.answer())[0] == 200
        second.send("POST", "/search", body=SEARCH)
        assert (await second.answer())[0] == 200
        assert app.paths == ["/search", "/search"]
        assert app.state.service.admission.inside == 0
        told = app.state.service.metrics.exposition().decode()
        assert 'vernier_rejected_total{code="overloaded"} 3.0' in told


async def test_the_body_of_a_refused_request_is_dropped_and_the_connection_kept(tmp_path: Path) -> None:
    async with listening(tmp_path, api_keys="read:0123456789abcdef", max_body_bytes=1_000_000) as (app, call):
        caller = await call()
        caller.send("POST", "/search", length=900_000)
        assert (await caller.answer())[0] == 401
        for _ in range(9):
            caller.writer.write(b"x" * 100_000)
            await caller.writer.drain()
        caller.send("GET", "/health/live")
        assert (await caller.answer())[0] == 200
        assert app.paths == ["/health/live"]


@pytest.mark.parametrize("header", ["Content-Length: 2000000", "Transfer-Encoding: chunked", "Expect: 100-continue"])
async def test_where_the_body_cannot_be_dropped_the_connection_is(tmp_path: Path, header: str) -> None:
    async with listening(tmp_path, api_keys="read:0123456789abcdef", max_body_bytes=1_000_000) as (app, call):
        caller = await call()
        length = () if header.startswith(("Content", "Transfer")) else ("Content-Length: 10",)
        caller.send("POST", "/search", header, *length)
        status, headers, _ = await caller.answer()
        assert (status, headers["connection"]) == (401, "close")
        assert await caller.is_closed()
        assert app.paths == []


async def test_a_refused_body_that_does_not_come_ends_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.protocol._TAKEN_IN_S", 0.05)
    async with listening(tmp_path, api_keys="read:0123456789abcdef") as (_, call):
        caller = await call()
        caller.send("POST", "/search", body=b"x", length=1000)
        assert (await caller.answer())[0] == 401
        assert await caller.is_closed()


async def test_requests_sent_at_once_are_answered_in_order(tmp_path: Path) -> None:
    async with listening(tmp_path, api_keys="read:0123456789abcdef") as (app, call):
        caller = await call()
        key = "Authorization: Bearer 0123456789abcdef"
        caller.send("GET", "/info", key)
        caller.send("GET", "/info")
        caller.send("GET", "/galleries", key)
        assert [(await caller.answer())[0] for _ in range(3)] == [200, 401, 200]
        assert app.paths == ["/info", "/galleries"]


async def test_callers_behind_a_trusted_proxy_have_rates_of_their_own(tmp_path: Path) -> None:
    async with listening(tmp_path, rate_limit=0.001, rate_burst=1) as (_, call):
        caller = await call()
        statuses = []
        for address in ("203.0.113.1", "203.0.113.2", "203.0.113.1"):
            caller.send("GET", "/info", f"X-Forwarded-For: {address}")
            statuses.append((await caller.answer())[0])
        assert statuses == [200, 200, 429]


async def test_what_was_refused_leaves_no_work_for_the_garbage_collector(tmp_path: Path) -> None:
    async with listening(tmp_path, rate_limit=0.001, rate_burst=1) as (_, call):
        caller = await call()
        gc.collect()
        gc.disable()
        try:
            for at in range(30):
                caller.send("POST", "/search", body=SEARCH)
                assert (await caller.answer())[0] == (429 if at else 200)
            kept = [found for found in gc.get_objects() if type(found) is Visit]  # isinstance would ask lazy proxies
        finally:
            gc.enable()
        assert len(kept) <= 2  # a connection may hold its last one
