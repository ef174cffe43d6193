"""How long the stages of one request took: one set of names for answers, headers, histograms and load tests."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, NamedTuple

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


_MOST_SPANS = 512


class Span(NamedTuple):
    """What went on from when to when, in readings of `time.perf_counter`.

    Attributes:
        is_stage: it is a stage, and not what a stage waited for or ran.
    """

    name: str
    began_s: float
    ended_s: float
    is_stage: bool


class Timings:
    """A stopwatch whose stages sum to the total.

    Every moment counts to one stage: the one begun last among those at work, `queue` for what a stage spent waiting for
    an engine or a search to be free, or `other` when no stage is at work.

    Attributes:
        worked_s: seconds that its calls take when nobody else is there.
        started_s: reading of `time.perf_counter` when it began.
        spans: the first few hundred of what went on, when it is traced.
    """

    def __init__(self, *, is_traced: bool = False) -> None:
        self.started_s = self._since = time.perf_counter()
        self.spans: list[Span] = []
        self._spans_left = _MOST_SPANS if is_traced else 0
        self._at_work: list[str] = []
        self._stages_s: dict[str, float] = {}
        self.worked_s = 0.0

    @contextmanager
    def stage(self, name: Stage) -> Iterator[None]:
        """Count the time of a block to a stage."""
        self._count()
        began_s = self._since
        self._at_work.append(name)
        try:
            yield
        finally:
            self._count()
            self._at_work.remove(name)
            self.saw(name, began_s, self._since, is_stage=True)

    def waited(self, what: str, seconds: float, *, since_s: float, worked_s: float) -> None:
        """Say how much of the stage at work was spent waiting in a queue, and how much working.

        Args:
            what: what was waited for and has ended now.
            seconds: spent waiting.
            since_s: reading of the clock when it was asked for.
            worked_s: seconds that it takes by itself.
        """
        self._count()
        self.saw("queue", since_s, since_s + seconds)
        self.saw(what, since_s + seconds, self._since)
        self.worked_s += worked_s
        name = self._at_work[-1] if self._at_work else "other"
        moved = max(0.0, min(seconds, self._stages_s.get(name, 0.0)))
        self._stages_s[name] = self._stages_s.get(name, 0.0) - moved
        self._stages_s["queue"] = self._stages_s.get("queue", 0.0) + moved

    def saw(self, name: str, began_s: float, ended_s: float, *, is_stage: bool = False) -> None:
        """Note what went on, when it is traced."""
        if self._spans_left:
            self._spans_left -= 1
            self.spans.append(Span(name, began_s, ended_s, is_stage))

    @property
    def total_s(self) -> float:
        """Seconds since the request began."""
        return time.perf_counter() - self.started_s

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
