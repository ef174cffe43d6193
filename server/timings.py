"""How long the stages of one request took: one set of names for answers, headers, histograms and load tests."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

Stage = Literal[
    "read",
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
    """A stopwatch with stages. Stages that run side by side are added up, so their sum may exceed the total."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._stages_s: dict[str, float] = {}

    @contextmanager
    def stage(self, name: Stage) -> Iterator[None]:
        """Count the time of a block to a stage."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._stages_s[name] = self._stages_s.get(name, 0.0) + time.perf_counter() - started

    @property
    def total_s(self) -> float:
        """Seconds since the request began."""
        return time.perf_counter() - self._started

    @property
    def stages_s(self) -> dict[str, float]:
        """Seconds of each stage, in the order in which they first ended."""
        return dict(self._stages_s)

    def milliseconds(self) -> dict[str, float]:
        """Return every stage and the `total` so far, in milliseconds."""
        stages = {name: round(seconds * 1000, 3) for name, seconds in self._stages_s.items()}
        return {**stages, "total": round(self.total_s * 1000, 3)}

    def server_timing(self) -> str:
        """Return the value of a `Server-Timing` header."""
        return ", ".join(f"{name};dur={ms}" for name, ms in self.milliseconds().items())
