"""What a load test's run is judged by."""

from pathlib import Path

import pytest

from loadtests.judge import ALL, Measured, Threshold, judge, load
from loadtests.material import SIZES, multipart, samples, sentences


def measured(name: str = "ground", *, requests: int = 100, failures: int = 0, p95_ms: float = 10) -> Measured:
    return Measured(name=name, requests=requests, failures=failures, p95_ms=p95_ms, requests_per_s=5)


def test_a_good_run_has_no_complaints() -> None:
    thresholds = {"ground": Threshold(p95_ms=10, error_rate=0.01, requests_per_s=5), ALL: Threshold(error_rate=0.01)}
    assert judge([measured(failures=1), measured(ALL, failures=1)], thresholds) == []


@pytest.mark.parametrize(
    ("threshold", "said"),
    [
        (Threshold(p95_ms=9.9), "p95 10 ms; allowed are 10 ms"),
        (Threshold(error_rate=0.02), "3 of 100 failed; allowed are 2.0%"),
        (Threshold(requests_per_s=5.1), "5.0 requests a second; wanted are 5.1"),
    ],
)
def test_every_kind_of_complaint(threshold: Threshold, said: str) -> None:
    assert judge([measured(failures=3)], {"ground": threshold}) == [f"ground: {said}"]


def test_what_was_not_tried_is_not_judged_but_nothing_at_all_is() -> None:
    thresholds = {"proofread": Threshold(p95_ms=1)}
    assert judge([measured()], thresholds) == []
    assert judge([measured(requests=0)], thresholds) == ["no request was made"]
    assert judge([], thresholds) == ["no request was made"]


def test_the_thresholds_that_come_with_it_can_be_read() -> None:
    thresholds = load()
    assert thresholds[ALL].error_rate is not None
    assert all(threshold.p95_ms for name, threshold in thresholds.items() if name != ALL)


def test_a_misspelt_threshold_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "thresholds.toml"
    file.write_text("[ground]\np59_ms = 3\n")
    with pytest.raises(ValueError, match="p59_ms"):
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
