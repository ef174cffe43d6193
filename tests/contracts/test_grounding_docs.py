"""What docs/grounding.md says of cost is what was measured."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUNS = json.loads((ROOT / "benchmarks" / "results" / "ground.json").read_text())["cost"]


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run["method"])
def test_the_cost_of_stored_pictures_is_as_measured(run: dict) -> None:
    text = " ".join((ROOT / "docs" / "grounding.md").read_text().split())
    sent, stored = run["median_ms"]["sent"], run["median_ms"]["stored"]
    assert f"{sent:.1f}" in text
    assert f"{stored:.1f}" in text
    assert f"{run['times_cheaper']:.1f} times" in text
    assert run["times_cheaper"] == pytest.approx(sent / stored, abs=0.01)
