"""What is reckoned from single requests, against numbers reckoned by hand; schedules; and the report."""

import csv
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.records import ALL, GOOD, OUTSIDE, REFUSED, Measured, Record, Records, quantile, server_stages
from loadtests.report import Run, lines, write
from loadtests.stages import PLANS, Stage, Walk, stage_at, stretched

WARM_UP = Stage(name="warm-up", seconds=2, level=0.5, is_judged=False)
STEADY = Stage(name="steady", seconds=4, level=1)


def record(ms: float, *, name: str = "ground", outcome: str = GOOD, stage: str = "steady", **server: float) -> Record:
    return Record(stage, name, 100.0, ms, 1.0, outcome, server)


def seen(*records: Record) -> Records:
    """Records of a warm-up of two seconds and a steady stage of four."""
    found = Records()
    found.begin(WARM_UP, now_s=100)
    found.begin(STEADY, now_s=102)
    found.begin(None, now_s=106)
    for one in records:
        found.add(one)
    return found


def test_a_stage_is_summed_up_as_by_hand() -> None:
    found = seen(
        *(record(ms, decode=ms / 2, queue=ms / 4) for ms in range(1, 101)),
        record(3, outcome=REFUSED),
        record(5000, outcome="internal"),
        record(7, stage="warm-up"),
    )
    warm_up, _, everything, ground = found.measured(lambda stage, name: 50)
    assert (warm_up.stage, warm_up.seconds, warm_up.requests) == ("warm-up", 2, 1)
    assert (everything.name, ground.name) == (ALL, "ground")
    assert (ground.requests, ground.refused, ground.failures) == (102, 1, 1)
    assert (ground.p50_ms, ground.p95_ms, ground.p99_ms) == (50, 95, 99)
    assert (ground.requests_per_s, ground.goodput_per_s) == (102 / 4, 50 / 4)
    assert ground.server_ms == pytest.approx({"decode": 50.5 / 2, "queue": 50.5 / 4, OUTSIDE: 50.5 / 4})
    assert ground.slow_ms == pytest.approx({"decode": 49, "queue": 24.5, OUTSIDE: 24.5})  # mean of 96 to 100
    assert ground.slowest == ("decode", pytest.approx(49))
    assert [entry.stage for entry in found.measured(lambda *_: 50, judged_only=True)] == ["steady", "steady"]


def test_a_stage_in_which_nothing_happened_is_there() -> None:
    (entry,) = seen().measured(lambda *_: 50, judged_only=True)
    assert (entry.stage, entry.requests, entry.slowest) == ("steady", 0, None)


def test_what_workers_noted_comes_together() -> None:
    master, worker = seen(), seen(record(1), record(2, outcome=REFUSED))
    master.receive(json.loads(json.dumps(worker.unsent())))
    assert worker.unsent() == []
    worker.add(record(3, decode=1.0))
    master.receive(worker.unsent())
    assert list(master.records) == list(worker.records)


@given(st.lists(st.floats(0, 1e6), min_size=1), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_is_reached_by_no_less_than_its_share(values: list[float], share: float) -> None:
    found = quantile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values)
    assert sum(value < found for value in values) < share * len(values)


def test_stages_of_a_server_are_read() -> None:
    assert server_stages("decode;dur=1.25, embed_image;dur=30.5, total;dur=31.75") == {
        "decode": 1.25,
        "embed_image": 30.5,
    }
    assert server_stages("") == {}


@pytest.mark.parametrize(("second", "name"), [(0, "warm-up"), (1.9, "warm-up"), (2, "steady"), (5.9, "steady")])
def test_a_plan_says_which_stage_is_due(second: float, name: str) -> None:
    stage = stage_at((WARM_UP, STEADY), second)
    assert stage is not None
    assert stage.name == name
    assert stage_at((WARM_UP, STEADY), 6) is None


def test_a_plan_may_be_stretched() -> None:
    assert [stage.seconds for stage in stretched((WARM_UP, STEADY), 0.5)] == [1, 2]
    assert [stage.level for stage in stretched((WARM_UP, STEADY), 0.5)] == [0.5, 1]


def test_plans_hold_what_they_are_for() -> None:
    assert all(plan[0].name == "warm-up" and not plan[0].is_judged for plan in PLANS.values())
    assert {stage.name: stage.level for stage in PLANS["overload"]}["overload"] == 3
    assert {"warm-up", "steady", "spike", "overload"} <= {stage.name for stage in PLANS["all"]}
    assert max(stage.seconds for stage in PLANS["soak"]) >= 1800


def test_users_and_stages_follow_the_clock() -> None:
    began: list[Stage] = []
    walk = Walk((WARM_UP, STEADY), full=7, begin=began.append)
    assert [walk.users_at(second) for second in (0, 1, 2, 5.5, 6)] == [4, 4, 7, 7, None]
    assert began == [WARM_UP, STEADY]


def test_a_report_says_the_same_in_three_ways(tmp_path: Path) -> None:
    records = seen(record(10, decode=8.0), record(20, name="<proofread>", outcome="internal"))
    measured: list[Measured] = records.measured(lambda *_: 50)
    run = Run(about={"plan": "steady"}, complaints=["<bad>"], measured=measured, records=records.records)
    write(run, tmp_path)
    told = json.loads((tmp_path / "report.json").read_text())
    assert told["good_enough"] is False
    by_name = {entry["name"]: entry for entry in told["measured"] if entry["stage"] == "steady"}
    assert by_name["ground"]["slowest_stage"] == "decode"
    with (tmp_path / "report.csv").open() as file:
        rows = {(row["stage"], row["name"]): row for row in csv.DictReader(file)}
    assert float(rows["steady", "ground"]["mean ms: decode"]) == 8
    assert rows["steady", "<proofread>"]["failures"] == "1"
    page = (tmp_path / "report.html").read_text()
    assert "&lt;bad&gt;" in page
    assert "<proofread>" not in page
    assert any("slowest in `decode`" in line for line in lines(measured))
