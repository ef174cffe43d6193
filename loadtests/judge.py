"""Whether a run was good enough: its numbers against thresholds.toml."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("thresholds.toml")

ALL = "all requests"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a run saw of one kind of request; `name` is `ALL` for everything together."""

    name: str
    requests: int
    failures: int
    p95_ms: float
    requests_per_s: float

    @property
    def error_rate(self) -> float:
        """Share of requests that failed, 0..1."""
        return self.failures / self.requests if self.requests else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """What is asked of one kind of request; None asks nothing.

    Attributes:
        p95_ms: most milliseconds that 95 of 100 requests may take.
        error_rate: largest share of requests that may fail.
        requests_per_s: least rate.
    """

    p95_ms: float | None = None
    error_rate: float | None = None
    requests_per_s: float | None = None


def load(file: Path = FILE) -> dict[str, Threshold]:
    """Read thresholds: a table per kind of request, by its name in the report.

    Raises:
        ValueError: a table is no set of thresholds.
    """
    tables = tomllib.loads(file.read_text())
    try:
        return {name: Threshold(**table) for name, table in tables.items()}
    except TypeError as error:
        raise ValueError(f"{file}: {error}") from error


def judge(measured: Iterable[Measured], thresholds: Mapping[str, Threshold]) -> list[str]:
    """Return what is not good enough, in words. A run without a single request is not good enough either."""
    by_name = {entry.name: entry for entry in measured if entry.requests}
    if not by_name:
        return ["no request was made"]
    found = []
    for name, threshold in thresholds.items():
        entry = by_name.get(name)
        if entry is not None:
            found += [f"{name}: {complaint}" for complaint in _complaints(entry, threshold)]
    return found


def _complaints(entry: Measured, threshold: Threshold) -> Iterable[str]:
    if threshold.error_rate is not None and entry.error_rate > threshold.error_rate:
        yield f"{entry.failures} of {entry.requests} failed; allowed are {threshold.error_rate:.1%}"
    if threshold.p95_ms is not None and entry.p95_ms > threshold.p95_ms:
        yield f"p95 {entry.p95_ms:.0f} ms; allowed are {threshold.p95_ms:.0f} ms"
    if threshold.requests_per_s is not None and entry.requests_per_s < threshold.requests_per_s:
        yield f"{entry.requests_per_s:.1f} requests a second; wanted are {threshold.requests_per_s:.1f}"
