"""What a load test's run is judged by."""

from pathlib import Path

import pytest

from loadtests.judge import Threshold, Thresholds, judge, load
from loadtests.material import SIZES, multipart, samples, sentences
from loadtests.records import ALL, Measured


def measured(name: str = "ground", *, stage: str = "steady", requests: int = 100, **seen: object) -> Measured:
    base = {"p95_ms": 10, "p99_ms": 20, "goodput_per_s": 5, "late_p99_ms": 3}
    return Measured(stage=stage, name=name, seconds=20, requests=requests, **(base | seen))  # type: ignore[arg-type]


def usual(**thresholds: Threshold) -> Thresholds:
    return Thresholds(thresholds, {})


def test_a_good_run_has_no_complaints() -> None:
    asked = Threshold(p95_ms=10, p99_ms=20, error_rate=0.01, refusal_rate=0.0, goodput_per_s=5, goodput_share=0.5)
    entries = [measured(failures=1), measured(ALL, failures=1)]
    assert judge(entries, Thresholds({"ground": asked, ALL: asked}, {}), full_per_s=10) == []


@pytest.mark.parametrize(
    ("threshold", "said"),
    [
        (Threshold(p95_ms=9.9), "p95 10 ms; allowed are 10 ms"),
        (Threshold(p99_ms=19), "p99 20 ms; allowed are 19 ms"),
        (Threshold(error_rate=0.02), "3 of 100 failed; allowed are 2.0%"),
        (Threshold(refusal_rate=0.1), "11 of 100 were refused; allowed are 10.0%"),
        (Threshold(goodput_per_s=5.1), "5.0 good answers a second; wanted are 5.1"),
        (Threshold(goodput_share=0.6), "goodput is 0.50 of the full load; wanted are 0.60"),
        (Threshold(late_p99_ms=2), "1 % of the requests were sent 3 ms late or later; allowed are 2 ms: more workers"),
    ],
)
def test_every_kind_of_complaint(threshold: Threshold, said: str) -> None:
    (complaint,) = judge([measured(failures=3, refused=11)], usual(ground=threshold), full_per_s=10)
    assert complaint.startswith(f"steady: ground: {said}")


def test_a_share_of_the_full_load_is_asked_where_that_is_a_rate() -> None:
    assert judge([measured()], usual(ground=Threshold(goodput_share=0.9))) == []


def test_who_is_slow_is_named() -> None:
    entry = measured(slow_ms={"decode": 5.0, "queue": 30.0, "outside the server": 15.0})
    (complaint,) = judge([entry], usual(ground=Threshold(p95_ms=1)))
    assert complaint.endswith("; the slowest spent 30 ms in `queue`, 60% of their time")


def test_a_stage_may_be_asked_other_things() -> None:
    thresholds = Thresholds(
        {"ground": Threshold(p95_ms=1, error_rate=0.0)}, {"spike": {"ground": Threshold(p95_ms=50, p99_ms=5)}}
    )
    found = judge([measured(), measured(stage="spike", failures=1)], thresholds)
    assert [said.split(";")[0] for said in found] == [
        "steady: ground: p95 10 ms",
        "spike: ground: 1 of 100 failed",
        "spike: ground: p99 20 ms",
    ]


def test_an_answer_is_worth_having_within_its_own_time_or_that_of_all() -> None:
    thresholds = Thresholds({ALL: Threshold(within_ms=7), "ground": Threshold(within_ms=3)}, {})
    assert thresholds.within_ms("steady", "ground") == 3
    assert thresholds.within_ms("steady", "proofread") == 7
    assert usual().within_ms("steady", "ground") == float("inf")


def test_what_was_not_tried_is_not_judged_but_nothing_at_all_is() -> None:
    thresholds = usual(proofread=Threshold(p95_ms=1))
    assert judge([measured()], thresholds) == []
    assert judge([measured(ALL, requests=0)], thresholds) == ["no request was made"]
    assert judge([], thresholds) == ["no request was made"]
    silent = judge([measured(ALL), measured(ALL, stage="spike", requests=0)], thresholds)
    assert silent == ["spike: all requests: no request was made"]


def test_the_thresholds_that_come_with_it_can_be_read() -> None:
    thresholds = load()
    assert thresholds.usual[ALL].error_rate is not None
    assert all(one.p95_ms and one.p99_ms and one.within_ms for name, one in thresholds.usual.items() if name != ALL)
    assert thresholds.of("overload", ALL).refusal_rate > thresholds.of("steady", ALL).refusal_rate  # type: ignore[operator]


@pytest.mark.parametrize(
    ("text", "said"), [("[ground]\np59_ms = 3\n", "p59_ms"), ('[stage.stedy."ground"]\np95_ms = 3\n', "stedy")]
)
def test_a_misspelt_threshold_is_refused(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "thresholds.toml"
    file.write_text(text)
    with pytest.raises(ValueError, match=said):
        load(file)


def test_the_material_is_the_same_in_every_run_and_of_several_sizes() -> None:
    first, again = samples(5), samples(5)
    assert first == again
    assert len({sample.jpeg for sample in first}) == 5
    assert len({len(sample.jpeg) // 4096 for sample in first}) >= min(3, len(SIZES))
    assert all(sample.phrases and sample.caption != sample.doubtful for sample in first)
    words = sentences(first)
    assert len({next(words) for _ in range(10)}) == 10


def test_a_picture_travels_beside_its_request() -> None:
    body = multipart(b'{"top_k": 3}', b"\xff\xd8picture")
    assert body.content_type.startswith("multipart/form-data; boundary=")
    assert b'name="request"' in body.data
    assert b'filename="picture.jpg"' in body.data
    assert b"\xff\xd8picture" in body.data
