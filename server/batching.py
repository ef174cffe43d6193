"""Batches across requests: what all clients want of one graph meets in a queue and runs together.

A batch is released at once when a loop is free, and grows only while all of them are busy: nothing ever waits for
company. Its size is bounded by an online fit of latency against size, so that whoever comes next waits no longer than
one batch of bounded length. Rows whose client left or whose deadline passed are dropped before they run.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from runtime.errors import EngineError
from server import work
from server.errors import RequestError
from server.latency_fit import LatencyFit
from server.work import CLOSING_S, INGEST_LATENESS_S, Work

_log = logging.getLogger(__name__)

Row = TypeVar("Row")
Out = TypeVar("Out")


class Lane(NamedTuple):
    """Rows of one lane may run in one batch.

    Attributes:
        graph: what runs them.
        kind: what their cost depends on, such as the length that texts are padded to.
        detail: what else they must share.
    """

    graph: str
    kind: Hashable = None
    detail: Hashable = None


class Watcher(Protocol):
    """Who is told of every batch and of what was dropped."""

    def batch_done(self, graph: str, *, rows: int, seconds: float) -> None:
        """A batch ran."""
        ...

    def dropped(self, graph: str, reason: str) -> None:
        """A row did not run: `late` or `abandoned`."""
        ...

    def restarted(self, name: str) -> None:
        """A loop died and was started again."""
        ...


class Ticket(Generic[Out]):
    """What one call waits for: the results of its rows, in order. Tasks `await` it; threads ask for its `result`.

    Attributes:
        queued_s: how long the first row waited; known when the results are there.
        alone_s: how long its rows should take in a batch of their own.
    """

    def __init__(self, num_rows: int, owner: Work) -> None:
        self.owner = owner
        self.since = time.perf_counter()
        self.queued_s = -1.0
        self.alone_s = 0.0
        self.loop = _running_loop()
        self._results: list[Out | None] = [None] * num_rows
        self._missing = num_rows
        self._lock = threading.Lock()
        self._future: Future[list[Out]] | asyncio.Future[list[Out]] = (
            Future() if self.loop is None else self.loop.create_future()
        )

    def __await__(self) -> Generator[Any, None, list[Out]]:
        """Wait in a task."""
        assert isinstance(self._future, asyncio.Future)
        return self._future.__await__()

    def result(self, timeout_s: float | None = None) -> list[Out]:
        """Wait in a thread."""
        assert isinstance(self._future, Future)
        return self._future.result(timeout_s)

    @property
    def is_open(self) -> bool:
        """Whether anybody still waits."""
        return not self._future.done()

    def began(self, now: float) -> None:
        """Note that a row runs."""
        if self.queued_s < 0:
            self.queued_s = now - self.since

    def give(self, at: int, result: Out) -> bool:
        """Take the result of a row, from any thread; say whether it was the last one."""
        with self._lock:
            self._results[at] = result
            self._missing -= 1
            return self._missing == 0

    def cancel(self) -> None:
        """Deliver nothing, from any thread: nobody waits any more."""
        if self.loop is None:
            self._future.cancel()
        else:
            _call_soon(self.loop, self._future.cancel)

    def deliver(self, error: Exception | None = None) -> None:
        """Deliver the results, or an error instead of them; within the loop of the task that waits, where one does."""
        if self._future.done():
            return  # nobody waits any more
        with suppress(InvalidStateError):
            if error is None:
                self._future.set_result(self._results)  # type: ignore[arg-type]  # none is missing now
            else:
                self._future.set_exception(error)


class Settled(NamedTuple):
    """A ticket whose results are all there, or with the error that stands for them."""

    ticket: Ticket[Any]
    error: Exception | None = None


def settle(settled: Iterable[Settled]) -> None:
    """Deliver, from any thread; an event loop is woken once for all who wait in it."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Settled]] = {}
    for entry in settled:
        if entry.ticket.loop is None:
            entry.ticket.deliver(entry.error)
        else:
            by_loop.setdefault(entry.ticket.loop, []).append(entry)
    for loop, entries in by_loop.items():
        _call_soon(loop, _deliver, entries)


def _deliver(settled: Iterable[Settled]) -> None:
    for entry in settled:
        entry.ticket.deliver(entry.error)


def _call_soon(loop: asyncio.AbstractEventLoop, call: Callable[..., object], *arguments: object) -> None:
    with suppress(RuntimeError):  # the loop has ended, and those who waited with it
        loop.call_soon_threadsafe(call, *arguments)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


@dataclass(slots=True)
class _Waiting(Generic[Row, Out]):
    ticket: Ticket[Out]
    at: int
    row: Row


@dataclass(slots=True)
class _Batch(Generic[Row, Out]):
    lane: Lane
    waiting: list[_Waiting[Row, Out]]
    started: float = field(default_factory=time.perf_counter)


class Batcher(Generic[Row, Out]):
    """Queues with the loops that empty them. `submit` may be called from any thread."""

    def __init__(
        self,
        name: str,
        run: Callable[[Lane, Sequence[Row]], Sequence[Out | Exception]],
        *,
        num_loops: int,
        max_rows: Callable[[Lane], int],
        max_batch_s: float,
        watcher: Watcher,
    ) -> None:
        """Start the loops.

        Args:
            name: of the threads.
            run: executes a batch; a row that fails by itself has its error in its place.
            num_loops: batches at the same time.
            max_rows: the most rows of a batch of a lane, whatever the fit says.
            max_batch_s: how long a batch of more than one row should take at most.
            watcher: is told what happens.
        """
        self.name = name
        self.last_success = time.monotonic()
        self._failed: set[str] = set()
        self._run_rows = run
        self._max_rows = max_rows
        self._max_batch_s = max_batch_s
        self._watcher = watcher
        self._fits: dict[tuple[str, Hashable], LatencyFit] = {}
        self._queues: dict[tuple[Lane, bool], deque[_Waiting[Row, Out]]] = {}
        self._running: dict[int, _Batch[Row, Out]] = {}
        self._is_closing = False
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._supervise, name=f"{name}-{number}", daemon=True)
            for number in range(num_loops)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def has_failed(self) -> bool:
        """Whether the last batch of some graph failed, or a loop died and none has run since."""
        return bool(self._failed)

    def submit(self, rows: Sequence[tuple[Lane, Row]]) -> Ticket[Out]:
        """Queue rows for the work of the current context."""
        owner = work.current()
        ticket: Ticket[Out] = Ticket(len(rows), owner)
        if not rows:
            ticket.deliver()
            return ticket
        with self._changed:
            if self._is_closing:
                ticket.deliver(RequestError("the server is ending.", code="not_ready"))
                return ticket
            lanes = [lane for lane, _ in rows]
            for lane in set(lanes):
                ticket.alone_s += self.fit(lane).seconds(lanes.count(lane))
            for at, (lane, row) in enumerate(rows):
                queue = self._queues.setdefault((lane, owner.is_ingest), deque())
                queue.append(_Waiting(ticket, at, row))
            self._changed.notify()
        return ticket

    def fit(self, lane: Lane) -> LatencyFit:
        """Return what is known of a lane's latency."""
        return self._fits.setdefault((lane.graph, lane.kind), LatencyFit())

    def depth(self) -> dict[str, int]:
        """Return how many rows wait, by graph."""
        with self._changed:
            found: dict[str, int] = {}
            for (lane, _), queue in self._queues.items():
                found[lane.graph] = found.get(lane.graph, 0) + len(queue)
            return found

    def longest_running_s(self) -> float:
        """Return for how long the oldest of the running batches has run; 0 when none runs."""
        with self._changed:
            now = time.perf_counter()
            return max((now - batch.started for batch in self._running.values()), default=0.0)

    def close(self) -> None:
        """Run what is queued, then end the loops."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(CLOSING_S)  # a call that is stuck does not hold the process; its thread ends with it

    def _supervise(self) -> None:
        """Run the loop; when it dies of something that no batch should be able to do, begin anew."""
        while True:
            try:
                self._loop()
            except BaseException as error:  # even SystemExit: a server without its loop is no server
                _log.exception("batch loop died", extra={"fields": {"event": "loop_died", "loop": self.name}})
                self._watcher.restarted(self.name)
                with self._changed:
                    batch = self._running.pop(threading.get_ident(), None)
                self._failed.add(batch.lane.graph if batch else self.name)
                failed = EngineError(f"the {self.name} loop died of {type(error).__name__}.")
                settle(Settled(waiting.ticket, failed) for waiting in (batch.waiting if batch else ()))
            else:
                return

    def _loop(self) -> None:
        me = threading.get_ident()
        while (batch := self._take(me)) is not None:
            self._run(batch.lane, batch.waiting)
            with self._changed:
                self._running.pop(me, None)

    def _take(self, me: int) -> _Batch[Row, Out] | None:
        """Wait for rows and take the most urgent batch; None at the end."""
        with self._changed:
            while True:
                self._drop_unwanted()
                if self._queues:
                    break
                if self._is_closing:
                    return None
                self._changed.wait()
            key = min(self._queues, key=self._urgency)
            lane, queue = key[0], self._queues[key]
            most = self.fit(lane).rows_within(self._max_batch_s, most=self._max_rows(lane))
            taken: list[_Waiting[Row, Out]] = []
            while queue and len(taken) < most:
                if self._is_wanted(lane, waiting := queue.popleft()):
                    taken.append(waiting)
            if not queue:
                del self._queues[key]
            else:
                self._changed.notify()
            batch = _Batch(lane, taken)
            self._running[me] = batch
        for waiting in taken:
            waiting.ticket.began(batch.started)
        return batch

    def _urgency(self, key: tuple[Lane, bool]) -> float:
        return self._queues[key][0].ticket.since + (INGEST_LATENESS_S if key[1] else 0.0)

    def _drop_unwanted(self) -> None:
        """Let every queue begin with a row that is still wanted."""
        for key, queue in list(self._queues.items()):
            while queue and not self._is_wanted(key[0], queue[0]):
                queue.popleft()
            if not queue:
                del self._queues[key]

    def _is_wanted(self, lane: Lane, waiting: _Waiting[Row, Out]) -> bool:
        ticket = waiting.ticket
        if not ticket.is_open or ticket.owner.is_abandoned:
            ticket.cancel()
            self._watcher.dropped(lane.graph, "abandoned")
            return False
        if ticket.owner.is_late:
            late = RequestError("the time for this request ran out while it waited.", code="timed_out")
            settle([Settled(ticket, late)])
            self._watcher.dropped(lane.graph, "late")
            return False
        return True

    def _run(self, lane: Lane, waiting: list[_Waiting[Row, Out]]) -> None:
        """Run a batch; when it fails, run its halves, so that one bad row fails alone."""
        started = time.monotonic()
        try:
            results = self._run_rows(lane, [entry.row for entry in waiting])
            _check_count(results, waiting)
        except Exception as error:
            if len(waiting) == 1:
                if isinstance(error, EngineError):
                    self._failed.add(lane.graph)
                settle([Settled(waiting[0].ticket, error)])
                return
            middle = len(waiting) // 2
            self._run(lane, waiting[:middle])
            self._run(lane, waiting[middle:])
            return
        ended = time.monotonic()
        self.fit(lane).learn(len(waiting), ended - started)
        self._watcher.batch_done(lane.graph, rows=len(waiting), seconds=ended - started)
        self.last_success = ended
        self._failed -= {lane.graph, self.name}
        settled: list[Settled] = []
        for entry, result in zip(waiting, results, strict=True):
            if isinstance(result, Exception):
                settled.append(Settled(entry.ticket, result))
            elif entry.ticket.give(entry.at, result):
                settled.append(Settled(entry.ticket))
        settle(settled)


def _check_count(results: Sequence[object], waiting: Iterable[object]) -> None:
    if len(results) != len(list(waiting)):
        raise EngineError("a batch gave another number of results than it has rows.")
