"""For whom work is done: how urgent it is, until when it is wanted, and whether anybody still waits for it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

INGEST_LATENESS_S = 2.0
"""Ingest goes behind every interactive request of the last seconds; later ones do not hold it up for ever."""

CLOSING_S = 10.0
"""How long a thread is waited for at the end."""


class Work:
    """What the threads that serve one request should know of it.

    Attributes:
        is_ingest: it fills a gallery, and nobody looks at a screen meanwhile.
        deadline: reading of `time.monotonic` after which its result is of no use; None when it always is.
        is_abandoned: nobody waits for the result any more.
    """

    __slots__ = ("deadline", "is_abandoned", "is_ingest")

    def __init__(self, *, is_ingest: bool = False, deadline: float | None = None) -> None:
        self.is_ingest = is_ingest
        self.deadline = deadline
        self.is_abandoned = False

    @property
    def is_late(self) -> bool:
        """Whether its deadline has passed."""
        return self.deadline is not None and time.monotonic() > self.deadline


_current: ContextVar[Work | None] = ContextVar("work", default=None)


def current() -> Work:
    """Return the work that the current task or thread does; outside of requests that is interactive and without end."""
    return _current.get() or Work()


@contextmanager
def doing(work: Work) -> Iterator[Work]:
    """Let everything in the block be done for this work; after it, nobody waits for what is left of it."""
    token = _current.set(work)
    try:
        yield work
    finally:
        work.is_abandoned = True
        _current.reset(token)
