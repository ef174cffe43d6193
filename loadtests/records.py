"""What became of each request, and what follows for each stage and kind of request."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, field

from loadtests.stages import Stage

ALL = "all requests"
GOOD, REFUSED = "good", "refused"
OUTSIDE = "outside the server"
_SLOW_SHARE = 0.05

Within = Callable[[str, str], float]
"""Gives the milliseconds within which an answer is worth having, from a stage's name and a request's."""


@dataclass(frozen=True, slots=True)
class Record:
    """One request.

    Attributes:
        stage: in which it was due.
        name: its kind.
        at_s: when it was due, in seconds since 1970.
        ms: from when it was due to its answer.
        late_ms: how much of that passed before it was sent.
        outcome: `GOOD`, `REFUSED` (429), or what went wrong.
        server_ms: the stages that the answer's `Server-Timing` names, without the total.
    """

    stage: str
    name: str
    at_s: float
    ms: float
    late_ms: float
    outcome: str
    server_ms: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a stage saw of one kind of request; `name` is `ALL` for everything together.

    Attributes:
        seconds: how long the stage lasted.
        requests: how many were due in it.
        refused: how many were answered by 429.
        failures: how many else were not answered well.
        p50_ms: latency of good answers, as p95_ms and p99_ms; 0 without any.
        requests_per_s: how many were due a second.
        goodput_per_s: good answers that came within the time that makes them worth having, per second.
        late_p99_ms: how late this side was in sending.
        server_ms: mean milliseconds of a good answer in each stage of the server and outside of it.
        slow_ms: the same of the slowest twentieth.
    """

    stage: str
    name: str
    seconds: float
    requests: int
    failures: int = 0
    refused: int = 0
    p50_ms: float = 0.0
    p95_ms: float = 0.0
    p99_ms: float = 0.0
    requests_per_s: float = 0.0
    goodput_per_s: float = 0.0
    late_p99_ms: float = 0.0
    server_ms: dict[str, float] = field(default_factory=dict)
    slow_ms: dict[str, float] = field(default_factory=dict)

    @property
    def error_rate(self) -> float:
        """Share of requests that failed, 0..1; a refusal is none."""
        return self.failures / self.requests if self.requests else 0.0

    @property
    def refusal_rate(self) -> float:
        """Share of requests that were refused, 0..1."""
        return self.refused / self.requests if self.requests else 0.0

    @property
    def slowest(self) -> tuple[str, float] | None:
        """Where the slowest answers spent most, with its milliseconds; None where nothing was said."""
        return max(self.slow_ms.items(), key=lambda entry: entry[1], default=None)


class Records:
    """Requests of all stages, in one process or brought together from several."""

    def __init__(self) -> None:
        self._stages: dict[str, float] = {}  # seconds, in the order in which they began
        self._judged: set[str] = set()
        self._now: Stage | None = None
        self._since = 0.0
        self._records: list[Record] = []
        self._num_sent = 0

    @property
    def stage(self) -> str:
        """The stage that is on; empty before the first."""
        return self._now.name if self._now else ""

    @property
    def records(self) -> Sequence[Record]:
        """Every request so far."""
        return self._records

    def begin(self, stage: Stage | None, *, now_s: float | None = None) -> None:
        """End the stage that is on and begin another; None begins none."""
        now_s = time.time() if now_s is None else now_s
        if self._now:
            self._stages[self._now.name] = self._stages.get(self._now.name, 0.0) + now_s - self._since
        if stage:
            self._stages.setdefault(stage.name, 0.0)
            if stage.is_judged:
                self._judged.add(stage.name)
        self._now, self._since = stage, now_s

    def add(self, record: Record) -> None:
        """Note a request."""
        self._records.append(record)

    def unsent(self) -> list[tuple[object, ...]]:
        """Return what was noted since the last call, for another process."""
        new, self._num_sent = self._records[self._num_sent :], len(self._records)
        return [astuple(record) for record in new]

    def receive(self, sent: Iterable[Sequence[object]]) -> None:
        """Take what another process noted."""
        self._records += [Record(*one) for one in sent]  # type: ignore[arg-type]

    def measured(self, within: Within, *, judged_only: bool = False) -> list[Measured]:
        """Return what each stage saw of each kind of request and of all; kinds that were not tried are left out."""
        by_stage: dict[str, list[Record]] = defaultdict(list)
        for record in self._records:
            by_stage[record.stage].append(record)
        found = []
        for stage, seconds in self._stages.items():
            if judged_only and stage not in self._judged:
                continue
            found.append(_measure(ALL, by_stage[stage], stage, seconds, within))
            for name in sorted({record.name for record in by_stage[stage]}):
                records = [record for record in by_stage[stage] if record.name == name]
                found.append(_measure(name, records, stage, seconds, within))
        return found


def server_stages(header: str) -> dict[str, float]:
    """Return the milliseconds of each stage that a `Server-Timing` header names, without the total."""
    stages = {}
    for entry in header.split(","):
        name, _, rest = entry.strip().partition(";dur=")
        if rest and name != "total":
            stages[name] = float(rest.partition(";")[0])
    return stages


def quantile(values: Iterable[float], share: float) -> float:
    """Return the value that a share of the values does not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1)] if ordered else 0.0


def _measure(name: str, records: Sequence[Record], stage: str, seconds: float, within: Within) -> Measured:
    good = sorted((record for record in records if record.outcome == GOOD), key=lambda record: record.ms)
    refused = sum(record.outcome == REFUSED for record in records)
    timely = sum(record.ms <= within(stage, record.name) for record in good)
    told = [record for record in good if record.server_ms]
    return Measured(
        stage=stage,
        name=name,
        seconds=seconds,
        requests=len(records),
        failures=len(records) - len(good) - refused,
        refused=refused,
        p50_ms=quantile((record.ms for record in good), 0.5),
        p95_ms=quantile((record.ms for record in good), 0.95),
        p99_ms=quantile((record.ms for record in good), 0.99),
        requests_per_s=len(records) / seconds if seconds else 0.0,
        goodput_per_s=timely / seconds if seconds else 0.0,
        late_p99_ms=quantile((record.late_ms for record in records), 0.99),
        server_ms=_mean_stages(told),
        slow_ms=_mean_stages(told[-max(1, round(_SLOW_SHARE * len(told))) :]),
    )


def _mean_stages(records: Sequence[Record]) -> dict[str, float]:
    """Mean milliseconds in each stage of the server, and outside of it."""
    sums: dict[str, float] = defaultdict(float)
    for record in records:
        for stage, ms in record.server_ms.items():
            sums[stage] += ms
        sums[OUTSIDE] += max(0.0, record.ms - sum(record.server_ms.values()))
    return {stage: total / len(records) for stage, total in sums.items()}
