import os
from pathlib import Path

import pytest

from runtime import cores

ALL = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("max 100000", ALL), ("100000 100000", 1), ("50000 100000", 1), ("150000 100000", min(ALL, 2)), ("what", ALL)],
)
def test_a_containers_quota_is_obeyed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, expected: int
) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(quota)
    monkeypatch.setattr(cores, "_V2", file)
    assert cores.available_cores() == expected


@pytest.mark.parametrize(("quota", "expected"), [("-1", ALL), ("100000", 1)])
def test_an_older_containers_quota_is_obeyed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, expected: int
) -> None:
    files = tmp_path / "quota", tmp_path / "period"
    files[0].write_text(f"{quota}\n")
    files[1].write_text("100000\n")
    monkeypatch.setattr(cores, "_V2", tmp_path / "missing")
    monkeypatch.setattr(cores, "_V1", files)
    assert cores.available_cores() == expected


def test_the_cores_that_a_process_may_run_on_are_counted() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert cores.available_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
