"""Whether a run was good enough: its numbers against thresholds.toml."""

import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from loadtests.records import ALL, Measured
from loadtests.stages import NAMES

FILE = Path(__file__).with_name("thresholds.toml")
_STAGE = "stage"


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """What is asked of one kind of request; None asks nothing.

    Attributes:
        within_ms: an answer that takes longer is not worth having: goodput leaves it out.
        p95_ms: most milliseconds that 95 of 100 good answers may take.
        p99_ms: the same of 99.
        error_rate: largest share of requests that may fail.
        refusal_rate: largest share of requests that may be refused.
        goodput_per_s: least good answers within `within_ms`, per second.
        goodput_share: the same as a share of the full load, where that is a rate.
        late_p99_ms: most milliseconds that 99 of 100 requests may be sent late, beyond which the numbers are not the
            server's.
    """

    within_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    error_rate: float | None = None
    refusal_rate: float | None = None
    goodput_per_s: float | None = None
    goodput_share: float | None = None
    late_p99_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Thresholds by kind of request, and what differs in some stages."""

    usual: Mapping[str, Threshold]
    by_stage: Mapping[str, Mapping[str, Threshold]]

    def of(self, stage: str, name: str) -> Threshold:
        """What is asked of a kind of request in a stage."""
        usual = self.usual.get(name, Threshold())
        own = self.by_stage.get(stage, {}).get(name, Threshold())
        return replace(usual, **{key: value for key, value in asdict(own).items() if value is not None})

    def within_ms(self, stage: str, name: str) -> float:
        """Within how many milliseconds an answer is worth having; those of all requests where a kind has none."""
        own = self.of(stage, name).within_ms
        everybody = self.of(stage, ALL).within_ms
        return own if own is not None else everybody if everybody is not None else math.inf


def load(file: Path = FILE) -> Thresholds:
    """Read thresholds: a table per kind of request, by its name in the report, and `stage.STAGE.KIND` for some stages.

    Raises:
        ValueError: a table is no set of thresholds, or a stage is of no plan.
    """
    tables = tomllib.loads(file.read_text())
    by_stage: dict[str, Any] = tables.pop(_STAGE, {})
    if unknown := by_stage.keys() - NAMES:
        raise ValueError(f"{file}: no plan has a stage {sorted(unknown)[0]!r}; there are {', '.join(sorted(NAMES))}")
    try:
        return Thresholds(_read(tables), {stage: _read(kinds) for stage, kinds in by_stage.items()})
    except TypeError as error:
        raise ValueError(f"{file}: {error}") from error


def judge(measured: Iterable[Measured], thresholds: Thresholds, *, full_per_s: float | None = None) -> list[str]:
    """Return what is not good enough, in words. A stage without a single request is not good enough either.

    Args:
        measured: what each stage saw of each kind of request.
        full_per_s: the full load, where it is a rate.
    """
    entries = list(measured)
    if not any(entry.requests for entry in entries):
        return ["no request was made"]
    found = []
    for entry in entries:
        said = _complaints(entry, thresholds.of(entry.stage, entry.name), full_per_s)
        found += [f"{entry.stage}: {entry.name}: {complaint}" for complaint in said]
    return found


def _read(tables: Mapping[str, Mapping[str, float]]) -> dict[str, Threshold]:
    return {name: Threshold(**table) for name, table in tables.items()}


def _complaints(entry: Measured, asked: Threshold, full_per_s: float | None) -> Iterable[str]:
    if not entry.requests:
        yield "no request was made"
        return
    if asked.error_rate is not None and entry.error_rate > asked.error_rate:
        yield f"{entry.failures} of {entry.requests} failed; allowed are {asked.error_rate:.1%}"
    if asked.refusal_rate is not None and entry.refusal_rate > asked.refusal_rate:
        yield f"{entry.refused} of {entry.requests} were refused; allowed are {asked.refusal_rate:.1%}"
    for name, took, most in (("p95", entry.p95_ms, asked.p95_ms), ("p99", entry.p99_ms, asked.p99_ms)):
        if most is not None and took > most:
            yield f"{name} {took:.0f} ms; allowed are {most:.0f} ms{_blame(entry)}"
    if asked.goodput_per_s is not None and entry.goodput_per_s < asked.goodput_per_s:
        yield f"{entry.goodput_per_s:.1f} good answers a second; wanted are {asked.goodput_per_s:.1f}{_blame(entry)}"
    if asked.goodput_share is not None and full_per_s and entry.goodput_per_s < asked.goodput_share * full_per_s:
        share = entry.goodput_per_s / full_per_s
        yield f"goodput is {share:.2f} of the full load; wanted are {asked.goodput_share:.2f}{_blame(entry)}"
    if asked.late_p99_ms is not None and entry.late_p99_ms > asked.late_p99_ms:
        yield (
            f"1 % of the requests were sent {entry.late_p99_ms:.0f} ms late or later; allowed are "
            f"{asked.late_p99_ms:.0f} ms: more workers are needed to make this load"
        )


def _blame(entry: Measured) -> str:
    """Where the slowest answers spent most of their time."""
    if entry.slowest is None:
        return ""
    stage, ms = entry.slowest
    share = ms / sum(entry.slow_ms.values()) if sum(entry.slow_ms.values()) else 0.0
    return f"; the slowest spent {ms:.0f} ms in `{stage}`, {share:.0%} of their time"
