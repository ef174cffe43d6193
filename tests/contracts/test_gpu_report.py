"""`make gpu` without a GPU: it runs, and says so; and every check on a GPU is skipped by name."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu import Row, SkipSection, attempt, find_card

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(find_card() is not None, reason="there is a GPU: `make gpu` shows what it can do")
def test_it_says_that_there_is_none() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("There is no NVIDIA GPU on this machine")
    assert "tensorrt:" in ran.stdout


def test_a_section_that_lacks_something_or_breaks_is_a_row() -> None:
    def lacks(shared: dict[str, object]) -> list[Row]:
        raise SkipSection("no such package")

    def breaks(shared: dict[str, object]) -> list[Row]:
        raise ValueError("wrong")

    (skipped,) = attempt(lacks, {})  # type: ignore[arg-type]
    assert (skipped.section, skipped.state, skipped.found) == ("lacks", "skipped", "no such package")
    (failed,) = attempt(breaks, {})  # type: ignore[arg-type]
    assert (failed.state, failed.found) == ("failed", "ValueError: wrong")
