"""A load generator that costs little: requests ready as bytes, plain sockets, closed or open loop."""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

_PATIENCE_S = 60
_KEPT_S = 3.0  # an idle connection is not used after so long, because the server may be closing it just then


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer.

    Attributes:
        status: 0 when there was none.
        seconds: from when it was due.
        late_s: how much of that passed before this process got round to sending it.
    """

    status: int
    seconds: float
    late_s: float = 0.0


@dataclass(slots=True)
class Load:
    """What was answered, in how long."""

    seconds: float = 0.0
    answers: list[Answer] = field(default_factory=list)

    def __iadd__(self, other: "Load") -> Self:
        self.seconds += other.seconds
        self.answers += other.answers
        return self

    def per_s(self, status: int = 200) -> float:
        """Return answers of a status per second."""
        return sum(answer.status == status for answer in self.answers) / self.seconds

    def quantile_ms(self, share: float, status: int = 200) -> float:
        """Return the milliseconds within which a share of the answers of a status came."""
        found = sorted(answer.seconds for answer in self.answers if answer.status == status)
        return 1000 * found[min(len(found) - 1, int(share * len(found)))] if found else float("nan")

    def late_ms(self, share: float) -> float:
        """Return the milliseconds within which this process sent a share of the requests that were due."""
        found = sorted(answer.late_s for answer in self.answers)
        return 1000 * found[min(len(found) - 1, int(share * len(found)))] if found else float("nan")

    def statuses(self) -> dict[str, int]:
        """Return how many answers had each status."""
        return {
            str(key): sum(a.status == key for a in self.answers) for key in sorted({a.status for a in self.answers})
        }


def request_bytes(path: str, body: bytes, content_type: str, *, host: str, method: str = "POST") -> bytes:
    """Return a request as it goes over the wire."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}"]
    if content_type:
        lines += [f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def closed_loop(address: tuple[str, int], requests: Callable[[], bytes], *, clients: int, seconds: float) -> Load:
    """Let clients send one request after another."""
    return asyncio.run(_closed_loop(address, requests, clients, seconds))


def open_loop(address: tuple[str, int], requests: Callable[[], bytes], *, per_s: float, seconds: float) -> Load:
    """Let requests come at random moments, whether or not earlier ones were answered; latency counts from then."""
    return asyncio.run(_open_loop(address, requests, per_s, seconds))


async def _closed_loop(address: tuple[str, int], requests: Callable[[], bytes], clients: int, seconds: float) -> Load:
    load, until = Load(seconds=seconds), time.perf_counter() + seconds

    async def client() -> None:
        connection = Connection(address)
        while (now := time.perf_counter()) < until:
            load.answers.append(await connection.call(requests(), now))
        connection.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return load


async def _open_loop(address: tuple[str, int], requests: Callable[[], bytes], per_s: float, seconds: float) -> Load:
    load, rng = Load(seconds=seconds), random.Random(5)
    idle: list[Connection] = []
    started = time.perf_counter()
    due, tasks = started, []

    async def one(due: float) -> None:
        connection = idle.pop() if idle else Connection(address)
        load.answers.append(await connection.call(requests(), due))
        idle.append(connection)

    while due < started + seconds:
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        tasks.append(asyncio.create_task(one(due)))
        due += rng.expovariate(per_s)
    await asyncio.gather(*tasks)
    load.seconds = time.perf_counter() - started  # with what was still on its way
    for connection in idle:
        connection.close()
    return load


class Connection:
    """One connection that is kept, and opened again when the server closed it."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._used = 0.0
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(self, request: bytes, since: float) -> Answer:
        """Send a request and read its answer; `since` is the moment from which its seconds are counted."""
        late_s = time.perf_counter() - since
        try:
            async with asyncio.timeout(_PATIENCE_S):
                status = await self._call(request)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            self.close()
            status = 0
        self._used = time.perf_counter()
        return Answer(status, self._used - since, late_s)

    async def _call(self, request: bytes) -> int:
        if time.perf_counter() - self._used > _KEPT_S:
            self.close()
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address)
        reader, writer = self._streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0] or b"0")
        await reader.readexactly(length)
        if b"\r\nconnection: close" in head:
            self.close()
        return int(head[9:12])

    def close(self) -> None:
        """Close the connection, if it is open."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
