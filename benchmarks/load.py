"""A load generator that costs little: requests ready as bytes, callbacks instead of tasks, closed or open loop."""

import asyncio
import random
import socket
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Self, cast

import uvloop

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

    def share_within(self, seconds: float, status: int = 200) -> float:
        """Return the share of the answers of a status that came within so many seconds."""
        found = [answer.seconds <= seconds for answer in self.answers if answer.status == status]
        return sum(found) / len(found) if found else float("nan")

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
    return _run(_closed_loop(address, requests, clients, seconds))


def open_loop(
    address: tuple[str, int],
    requests: Callable[[], bytes],
    *,
    per_s: float,
    seconds: float,
    patience_s: float = _PATIENCE_S,
) -> Load:
    """Let requests come at random moments, whether or not earlier ones were answered; latency counts from then."""
    return _run(_open_loop(address, requests, per_s, seconds, patience_s))


def one_by_one(address: tuple[str, int], requests: Callable[[], bytes], *, seconds: float) -> Load:
    """Send one request after another over one socket that is waited on, which adds least to their latency."""
    load, until = Load(seconds=seconds), time.perf_counter() + seconds
    with socket.create_connection(address, timeout=_PATIENCE_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while (since := time.perf_counter()) < until:
            connection.sendall(requests())
            reading = _Reading()
            while not reading.take(connection.recv(1 << 16)):
                pass
            load.answers.append(Answer(reading.status, time.perf_counter() - since))
    return load


def _run(loop: Coroutine[None, None, Load]) -> Load:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(loop)


async def _closed_loop(address: tuple[str, int], requests: Callable[[], bytes], clients: int, seconds: float) -> Load:
    load, until = Load(seconds=seconds), time.perf_counter() + seconds

    async def client() -> None:
        connection = Connection(address)
        while (now := time.perf_counter()) < until:
            load.answers.append(await connection.call(requests(), now))
        connection.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return load


async def _open_loop(
    address: tuple[str, int], requests: Callable[[], bytes], per_s: float, seconds: float, patience_s: float
) -> Load:
    load, rng = Load(seconds=seconds), random.Random(5)
    idle: list[Connection] = []
    started = due = time.perf_counter()
    opening: set[asyncio.Task[None]] = set()
    num_sent = 0

    async def one(connection: Connection, due: float) -> None:
        take(connection, await connection.call(requests(), due))

    def take(connection: Connection, answer: Answer) -> None:
        load.answers.append(answer)
        idle.append(connection)

    while due < started + seconds:
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        num_sent += 1
        if idle and idle[-1].is_open:
            idle.pop().send(requests(), due, take)
        else:
            task = asyncio.create_task(one(idle.pop() if idle else Connection(address, patience_s=patience_s), due))
            opening.add(task)
            task.add_done_callback(opening.discard)
        due += rng.expovariate(per_s)
    until = time.perf_counter() + patience_s
    while len(load.answers) < num_sent and time.perf_counter() < until:
        await asyncio.sleep(0.01)
    load.answers += [Answer(0, patience_s)] * (num_sent - len(load.answers))
    load.seconds = time.perf_counter() - started  # with what was still on its way
    for connection in idle:
        connection.close()
    return load


class _Reading:
    """An answer that comes in pieces."""

    def __init__(self) -> None:
        self.status = 0
        self.ends_connection = False
        self._buffer = b""
        self._missing = -1

    def take(self, data: bytes) -> bool:
        """Take a piece; say whether the answer is complete.

        Raises:
            ConnectionError: the connection ended before it was.
        """
        if not data:
            raise ConnectionError
        if self._missing < 0:
            self._buffer += data
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return False
            head = head.lower() + b"\r\n"
            self.status = int(head[9:12])
            self.ends_connection = b"\r\nconnection: close\r\n" in head
            self._missing = int(head.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0] or b"0") - len(rest)
        else:
            self._missing -= len(data)
        return self._missing == 0


class Connection:
    """One connection that is kept, and opened again when the server closed it."""

    def __init__(self, address: tuple[str, int], *, patience_s: float = _PATIENCE_S) -> None:
        self._address = address
        self._patience_s = patience_s
        self._wire: _Wire | None = None

    @property
    def is_open(self) -> bool:
        """Whether a request can be sent at once."""
        return self._wire is not None and self._wire.is_fresh

    async def call(self, request: bytes, since: float) -> Answer:
        """Send a request and read its answer; `since` is the moment from which its seconds are counted."""
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Answer] = loop.create_future()
        try:
            async with asyncio.timeout(self._patience_s):
                if not self.is_open:
                    self.close()
                    _, self._wire = await loop.create_connection(_Wire, *self._address)
                self.send(request, since, lambda _, answer: None if answered.done() else answered.set_result(answer))
                return await answered
        except (OSError, TimeoutError):
            self.close()
            return Answer(0, time.perf_counter() - since)

    def send(self, request: bytes, since: float, done: Callable[["Connection", Answer], None]) -> None:
        """Send a request over the open connection, which must be at no other; `done` is told the answer."""
        assert self._wire is not None
        late_s = time.perf_counter() - since
        self._wire.send(request, lambda status: done(self, Answer(status, time.perf_counter() - since, late_s)))

    def close(self) -> None:
        """Close the connection, if it is open."""
        if self._wire is not None:
            self._wire.transport.close()
            self._wire = None


class _Wire(asyncio.Protocol):
    """One TCP connection."""

    transport: asyncio.WriteTransport

    def __init__(self) -> None:
        self._is_over = False
        self._used = time.perf_counter()
        self._reading: _Reading | None = None
        self._done: Callable[[int], None] | None = None

    @property
    def is_fresh(self) -> bool:
        """Whether the server surely still listens to it."""
        return not self._is_over and time.perf_counter() - self._used <= _KEPT_S

    def send(self, request: bytes, done: Callable[[int], None]) -> None:
        """Send a request; `done` is told the status of its answer, 0 when there is none."""
        self._done, self._reading = done, _Reading()
        self.transport.write(request)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self.transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._reading is not None and self._reading.take(data):
            self._is_over |= self._reading.ends_connection
            self._tell(self._reading.status)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._is_over = True
        self._tell(0)

    def _tell(self, status: int) -> None:
        done, self._done, self._reading = self._done, None, None
        self._used = time.perf_counter()
        if done is not None:
            done(status)
