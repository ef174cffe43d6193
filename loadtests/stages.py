"""The stages of a load, and what walks through them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

NO_PLAN = "run"
"""The one stage of a run without a plan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A while of one load.

    Attributes:
        seconds: how long.
        level: load as a share of the full one: users in a closed loop, requests a second in an open one.
        is_judged: whether thresholds are asked of it.
    """

    name: str
    seconds: float
    level: float
    is_judged: bool = True


_WARM_UP = Stage(name="warm-up", seconds=10, level=0.3, is_judged=False)
_STEADY = Stage(name="steady", seconds=30, level=0.6)
_SPIKE = Stage(name="spike", seconds=10, level=1.5)
_OVERLOAD = Stage(name="overload", seconds=30, level=3)
_RECOVERY = Stage(name="recovery", seconds=20, level=0.6)

PLANS: Mapping[str, tuple[Stage, ...]] = {
    "capacity": (_WARM_UP, Stage(name="capacity", seconds=30, level=1)),
    "steady": (_WARM_UP, replace(_STEADY, seconds=60)),
    "spike": (_WARM_UP, _STEADY, _SPIKE, _RECOVERY),
    "soak": (_WARM_UP, Stage(name="soak", seconds=1800, level=0.6)),
    "overload": (_WARM_UP, _STEADY, _OVERLOAD, _RECOVERY),
    "all": (_WARM_UP, _STEADY, _SPIKE, _RECOVERY, _OVERLOAD, replace(_RECOVERY, name="second recovery")),
}

NAMES = {NO_PLAN} | {stage.name for plan in PLANS.values() for stage in plan}


def stretched(plan: Iterable[Stage], factor: float) -> tuple[Stage, ...]:
    """Return a plan whose stages last so many times as long."""
    return tuple(replace(stage, seconds=factor * stage.seconds) for stage in plan)


def stage_at(plan: Iterable[Stage], seconds: float) -> Stage | None:
    """Return the stage that is due so many seconds after the start; None when the plan is over."""
    for stage in plan:
        if seconds < stage.seconds:
            return stage
        seconds -= stage.seconds
    return None


class Walk:
    """Walks through the stages of a plan.

    Args:
        plan: its stages.
        full: what a level of 1 is: users, or requests a second.
        begin: told each stage when it begins.
    """

    def __init__(self, plan: tuple[Stage, ...], *, full: float, begin: Callable[[Stage], None]) -> None:
        self._plan, self._full, self._begin = plan, full, begin
        self._stage: Stage | None = None

    def users_at(self, seconds: float) -> int | None:
        """Return how many users there should be so many seconds after the start; None when the plan is over."""
        stage = stage_at(self._plan, seconds)
        if stage is None:
            return None
        if stage is not self._stage:
            self._stage = stage
            self._begin(stage)
        return max(1, round(stage.level * self._full))
