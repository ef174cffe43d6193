import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from evaluation.pictures import open_picture, with_region
from evaluation.report import render
from evaluation.run import evaluate
from evaluation.statements import StatementScores, compare, summarise
from runtime.engines.fake import PALETTE, fake_encoder
from runtime.errors import ImageError
from tests.unit.evaluation.conftest import COLOURS, draw, write_lines


def test_statements_by_hand():
    scores, labels = np.array([0.9, 0.4, 0.6, 0.2]), np.array([True, True, True, False])
    asked = StatementScores(own=scores, blind=np.array([0.1, math.nan, 0.6, 0.2]), labels=labels)
    found = compare(asked, lambda score: score > 0.5)
    group = summarise(asked, found, ["on", "on", "under", None], group=np.arange(4))
    assert group["count"] == 4
    assert group["accuracy"] == group["majority"] == 0.75
    assert group["auroc"] == pytest.approx(roc_auc_score(labels, scores))
    assert group["blind_auroc"] == 0.5
    assert group["blind_accuracy"] == pytest.approx(2 / 3)  # of the three that had another picture
    assert group["by_type"]["on"]["accuracy"] == 0.5
    assert group["by_type"]["under"]["count"] == 1
    assert list(group["by_type"]) == ["on", "under"]


def test_the_same_sentence_is_one_draw():
    scores, labels = np.tile([0.9, 0.1], 20), np.tile([True, True], 20)
    asked = StatementScores(own=scores, blind=scores, labels=labels)
    found = compare(asked, lambda score: score > 0.5)
    alone = summarise(asked, found, [None] * 40, group=np.arange(40))
    together = summarise(asked, found, [None] * 40, group=np.arange(40) % 2)
    assert alone["interval"]["accuracy"][0] > 0.3
    assert together["interval"]["accuracy"] == [0.0, 1.0]


def test_a_model_that_sees_colours_tells_true_from_false(images, tmp_path):
    rows = [{"image": f"{c}.png", "caption": f"a {c} square", "label": 1, "relation": "colour"} for c in COLOURS]
    rows += [{"image": f"{c}.png", "sentence": "a white and blue square", "label": "false"} for c in COLOURS[3:]]
    result = evaluate(fake_encoder(), images=images, statements=write_lines(tmp_path / "s.jsonl", rows))
    group = result["statements"]
    assert (group["count"], group["accuracy"], group["auroc"]) == (11, 1, 1)
    assert group["majority"] == pytest.approx(7 / 11)
    assert group["blind_auroc"] < 0.9
    page = render(result)
    assert "### Statements (11 rows)" in page
    assert "AUROC of true and false" in page


def test_a_part_of_a_picture(tmp_path):
    draw(tmp_path, "a.png", "red", cell=(1, 2))
    assert open_picture(tmp_path, "a.png").size == (32, 32)
    part = open_picture(tmp_path, with_region("a.png", x=8, y=16, width=8, height=8))
    assert part.size == (8, 8)
    assert part.getcolors() == [(64, PALETTE["red"])]
    assert open_picture(tmp_path, with_region("a.png", x=30, y=0, width=50, height=50)).size == (2, 32)
    with pytest.raises(ImageError, match=r"outside the picture \(32 x 32\)"):
        open_picture(tmp_path, with_region("a.png", x=32, y=0, width=5, height=5))
    with pytest.raises(FileNotFoundError):
        open_picture(tmp_path, "b.png")


def test_a_name_that_no_file_can_have_is_skipped(images, tmp_path):
    rows = [{"image": name, "caption": "red", "label": label} for name, label in [("red.png", 1), ("a\0b", 0)]]
    result = evaluate(fake_encoder(), images=images, statements=write_lines(tmp_path / "s.jsonl", rows))
    assert result["skipped"]["pictures"][0]["image"] == "a\0b"
    assert result["statements"]["auroc"] is None
