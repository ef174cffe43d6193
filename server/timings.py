"""How long the stages of one request took: one set of names for answers, headers, histograms and load tests."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

Stage = Literal[
    "read",
    "fetch",
    "decode",
    "embed_image",
    "embed_text",
    "search",
    "rerank",
    "explain",
    "ground",
    "proofread",
    "store",
]


class Timings:
    """A stopwatch whose stages sum to the total.

    Every moment counts to one stage: the one begun last among those at work, `queue` for what a stage spent waiting for
    an engine or a search to be free, or `other` when no stage is at work.

    Attributes:
        worked_s: seconds that its calls take when nobody else is there.
    """

    def __init__(self) -> None:
        self._started = self._since = time.perf_counter()
        self._at_work: list[str] = []
        self._stages_s: dict[str, float] = {}
        self.worked_s = 0.0

    @contextmanager
    def stage(self, name: Stage) -> Iterator[None]:
        """Count the time of a block to a stage."""
        self._count()
        self._at_work.append(name)
        try:
            yield
        finally:
            self._count()
            self._at_work.remove(name)

    def waited(self, seconds: float, *, worked_s: float) -> None:
        """Say how much of the stage at work was spent waiting in a queue, and how much working."""
        self._count()
        self.worked_s += worked_s
        name = self._at_work[-1] if self._at_work else "other"
        moved = max(0.0, min(seconds, self._stages_s.get(name, 0.0)))
        self._stages_s[name] = self._stages_s.get(name, 0.0) - moved
        self._stages_s["queue"] = self._stages_s.get("queue", 0.0) + moved

    @property
    def total_s(self) -> float:
        """Seconds since the request began."""
        return time.perf_counter() - self._started

    @property
    def stages_s(self) -> dict[str, float]:
        """Seconds of each stage until now, in the order in which they first counted."""
        self._count()
        return dict(self._stages_s)

    def milliseconds(self) -> dict[str, float]:
        """Return every stage until now and the `total`, which is their sum, in milliseconds."""
        stages = {name: round(seconds * 1000, 3) for name, seconds in self.stages_s.items()}
        return {**stages, "total": round(sum(stages.values()), 3)}

    def server_timing(self) -> str:
        """Return the value of a `Server-Timing` header."""
        return ", ".join(f"{name};dur={ms}" for name, ms in self.milliseconds().items())

    def _count(self) -> None:
        now = time.perf_counter()
        name = self._at_work[-1] if self._at_work else "other"
        self._stages_s[name] = self._stages_s.get(name, 0.0) + now - self._since
        self._since = now


current: ContextVar[Timings | None] = ContextVar("timings", default=None)
"""The stopwatch of the request that the current task serves."""
