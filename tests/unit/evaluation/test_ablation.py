"""The report of an ablation from comparisons made by hand."""

import json
import re
from dataclasses import replace

import pytest

from evaluation.ablation import AblationReport, Arm, SplitReport, difference, to_markdown
from evaluation.plots import as_png, as_svg, differences


def number(recipe, baseline, low, high, *, sd=0.01):
    return {
        "recipe": recipe,
        "recipe_sd": sd,
        "baseline": baseline,
        "baseline_sd": sd,
        "difference": recipe - baseline,
        "interval": [low, high],
        "seeds_ahead": 2,
    }


COMPARISON = {
    "text_to_image.r@1": number(0.5, 0.52, -0.05, 0.01),
    "hard_negatives.accuracy": number(0.8, 0.7, 0.05, 0.15),
    "hard_negatives.blind_accuracy": number(0.49, 0.51, -0.1, 0.1),
    "hard_negatives.accuracy[colour]": number(0.9, 0.95, -0.09, -0.01),
    "unknown.rate": number(0.9, 0.95, -0.09, -0.01),
}


@pytest.fixture
def report():
    arm = Arm(
        recipe="recipes:base",
        num_steps=100,
        batch_size=8,
        weights=1000,
        bundle_bytes=2_500_000,
        train_s={"0": 60.4, "1": None},
        wall_s={"0": 61.0, "1": None},
    )
    return AblationReport(
        name="words",
        seeds=[0, 1],
        baseline=arm,
        recipe=replace(arm, recipe="recipes:words", weights=1050),
        equal_time=replace(arm, recipe="recipes:words", num_steps=80),
        equal_time_note="it is slower.",
        config_differences=["ema_decay"],
        splits={"test": SplitReport(count=60, equal_steps=COMPARISON, equal_time=COMPARISON)},
        provenance={"date": "2026-11-21"},
    )


def row_of(page, label):
    (line,) = (line for line in page.splitlines() if line.startswith(f"| {label} "))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_page_says_what_was_compared_and_how_it_went(report):
    page = to_markdown(report)
    assert "`recipes:words` beside `recipes:base`, seeds 0, 1." in page
    assert row_of(page, "recipe, equal time")[2:] == ["80", "8", "1,000", "2.5 MB", "60 / –", "61 / –"]
    assert "the recipe has +5.0 % beside the baseline" in page
    assert "## test (60 scenes; chance of R@1 is 1.7)" in page
    assert "they differ in ema_decay" in page
    assert row_of(page, "hard negatives, by match")[1:] == [
        "70.0 ± 1.0 (51.0)",
        "80.0 ± 1.0 (49.0)",
        "**+10.0 (+5.0 to +15.0)**",
        "2",
        "**+10.0 (+5.0 to +15.0)**",
    ]
    assert row_of(page, "text to image R@1")[3] == "-2.0 (-5.0 to +1.0)"
    assert row_of(page, "wrong caption: colour")[3] == "**-5.0 (-9.0 to -1.0)**"
    assert "unknown" not in page
    assert "](words.svg)" in page
    json.dumps(report.to_json(), allow_nan=False)


def test_without_equal_time_there_is_no_column_for_it(report):
    split = SplitReport(count=60, equal_steps=COMPARISON, equal_time=None)
    page = to_markdown(replace(report, equal_time=None, splits={"test": split}))
    assert "equal time (95 %)" not in page
    assert len(row_of(page, "hard negatives, by match")) == 5


def test_one_seed_has_no_spread():
    found = number(0.8, 0.7, 0.0, 0.2, sd=None)
    assert difference(found) == "+10.0 (+0.0 to +20.0)"


def test_the_plot_is_the_same_twice_and_shows_every_metric(report):
    first, second = (as_svg(differences(report)) for _ in range(2))
    assert first == second
    said = re.sub(r"<[^>]*>", "", first)
    assert "hard negatives, by match" in said
    assert "equal time" in said
    assert as_png(differences(report)).startswith(b"\x89PNG")
