"""Bounded threads for work that would stop the event loop, the most urgent first."""

import asyncio
import heapq
import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from contextvars import Context, copy_context
from typing import Any, ParamSpec, TypeVar

from server import timings, work
from server.errors import RequestError
from server.work import CLOSING_S, INGEST_LATENESS_S, Work

P = ParamSpec("P")
T = TypeVar("T")

_Entry = tuple[float, int, Work, Future[Any], Context, Callable[[], Any]]


class Workers:
    """Threads for one kind of work: never more calls at once than threads.

    Interactive calls go before ingest. A call that has not begun is dropped when nobody waits for it any more, or when
    its deadline has passed.
    """

    def __init__(self, name: str, num_threads: int) -> None:
        self._name = name
        self._heap: list[_Entry] = []
        self._counter = itertools.count()
        self._changed = threading.Condition()
        self._is_closing = False
        self._threads = [
            threading.Thread(target=self._loop, name=f"{name}-{number}", daemon=True) for number in range(num_threads)
        ]
        for thread in self._threads:
            thread.start()

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a call on a thread and wait for its result."""
        owner = work.current()
        future: Future[T] = Future()
        since = time.perf_counter()
        began_at = ended_at = since
        urgency = since + (INGEST_LATENESS_S if owner.is_ingest else 0.0)

        def begin() -> T:
            nonlocal began_at, ended_at
            began_at = time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                ended_at = time.perf_counter()

        entry: _Entry = (urgency, next(self._counter), owner, future, copy_context(), begin)
        with self._changed:
            if self._is_closing:
                raise RequestError("the server is ending.", code="not_ready")
            heapq.heappush(self._heap, entry)
            self._changed.notify()
        result = await asyncio.wrap_future(future)
        if (stopwatch := timings.current.get()) is not None:
            stopwatch.waited(self._name, began_at - since, since_s=since, worked_s=ended_at - began_at)
        return result

    def depth(self) -> int:
        """Return how many calls wait."""
        return len(self._heap)

    def close(self) -> None:
        """Wait for the calls that were asked for and end the threads."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(CLOSING_S)  # a call that is stuck does not hold the process; its thread ends with it

    def _loop(self) -> None:
        while True:
            with self._changed:
                while not self._heap:
                    if self._is_closing:
                        return
                    self._changed.wait()
                _, _, owner, future, context, call = heapq.heappop(self._heap)
            _execute(owner, future, context, call)


def _execute(owner: Work, future: Future[Any], context: Context, call: Callable[[], Any]) -> None:
    if owner.is_abandoned or future.cancelled():
        future.cancel()
        return
    with suppress(InvalidStateError):  # it was cancelled meanwhile
        if owner.is_late:
            future.set_exception(RequestError("the time for this request ran out while it waited.", code="timed_out"))
            return
        try:
            result = context.run(call)
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)
