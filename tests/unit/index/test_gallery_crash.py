"""A writing process is killed at random moments; `python -m benchmarks.gallery_crash --kills 200` does it at length."""

from pathlib import Path

from benchmarks.gallery_crash import kill_and_look


def test_nothing_acknowledged_is_lost_when_the_writer_is_killed(tmp_path: Path) -> None:
    report = kill_and_look(tmp_path / "gallery", kills=8, seed=5)
    assert report.problems == []
    assert report.kills == 8
    assert report.acknowledged > 0
