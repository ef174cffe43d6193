"""Mentions, occlusions and near-duplicates: rates by hand, and through a model that sees colours."""

import numpy as np
import pytest

from evaluation import probes
from evaluation.grounding import GroundedRow
from evaluation.hard_negatives import PairScores
from evaluation.intervals import estimate_rates
from evaluation.run import evaluate
from runtime.engines.fake import fake_encoder
from runtime.errors import DataError
from tests.unit.evaluation.conftest import COLOURS, draw, write_lines


def mention(point, *, is_later, box=(0.0, 0.0, 0.5, 0.5), phrase="x"):
    row = GroundedRow(truth=[box], box=None, point=point, phrase=phrase, group=0)
    return probes.Mention(row=row, is_later=is_later)


def test_pointing_by_hand():
    large, small = (0.0, 0.0, 0.5, 0.5), (0.6, 0.6, 0.7, 0.7)
    found = probes.point(
        [
            mention((0.1, 0.1), is_later=False, box=large, phrase="a"),  # right
            mention((0.1, 0.1), is_later=True, box=small, phrase="b"),  # at the larger one: wrong
        ]
    )
    rates = estimate_rates(found)
    assert rates["pointing"] == 0.5
    assert rates["later_pointing"] == 0.0
    assert rates["secondary_pointing"] == 0.0
    assert rates["centre_pointing"] == 0.5
    assert rates["later_centre_pointing"] == 0.0
    assert rates["blind_pointing"] == 0.5  # the other phrase's point is in the first box alone
    assert "acc@0.5" not in rates


def scores(caption, negative):
    return PairScores(caption=np.array(caption), negative=np.array(negative))


def test_occlusions_by_hand():
    found = probes.uncover(
        judge=scores([2.0, 1.0, 1.0], [1.0, 1.0, 2.0]),  # a tie is a miss
        dual=scores([2.0, 2.0, 1.0], [1.0, 1.0, 2.0]),
        elsewhere=scores([2.0, 2.0, 2.0], [1.0, 1.0, 1.0]),
        elsewhere_dual=scores([0.0, 0.0, 0.0], [1.0, 1.0, 1.0]),
        blind=scores([1.0, np.nan, 0.0], [0.0, np.nan, 1.0]),
    )
    rates = estimate_rates(found)
    assert rates["accuracy"] == pytest.approx(1 / 3)
    assert rates["dual_accuracy"] == pytest.approx(2 / 3)
    assert rates["elsewhere_accuracy"] == 1
    assert rates["elsewhere_dual_accuracy"] == 0
    assert rates["blind_accuracy"] == 0.5


def test_near_duplicates_by_hand():
    images = np.array([[1, 0], [0.8, 0.6], [0, 1]], np.float32)
    texts = np.array([[1, 0], [0.6, 0.8], [0.6, 0.8]], np.float32)
    found = probes.find(images, texts, np.array([0, 2, 1]), [[3.0, 1.0], [2.0, 2.0], [0.0, 1.0]])
    # the second text is nearer to the second picture (0.96) than to its own, the third (0.8); the third finds its own
    assert found.hits["r@1"].tolist() == [True, False, True]
    assert found.hits["r@5"].all()
    assert found.hits["match_r@1"].tolist() == [True, False, False]
    assert probes.chances(10, [4, 1]) == pytest.approx(
        {"chance_r@1": 0.1, "chance_r@5": 0.5, "chance_match_r@1": (1 / 5 + 1 / 2) / 2}
    )


def test_equal_pictures_are_no_hit():
    images = np.array([[1, 0], [1, 0]], np.float32)
    found = probes.find(images, images[:1], np.array([0]), [[1.0, 1.0]])
    assert not found.hits["r@1"].any()
    assert not found.hits["match_r@1"].any()


@pytest.fixture
def files(tmp_path, images):
    """Of each colour a picture; its near-duplicate and its covered version."""
    near, covered, mentions = [], [], []
    (images / "near").mkdir()
    for at, colour in enumerate(COLOURS):
        other = COLOURS[(at + 1) % len(COLOURS)]
        draw(images / "near", f"{colour}.png", other, cell=(at % 4, 0))
        near.append({"image": f"{colour}.png", "caption": f"a {colour} square", "near": [f"near/{colour}.png"]})
        covered.append(
            {
                "image": f"{colour}.png",
                "elsewhere_image": f"{colour}.png",
                "caption": f"a {colour} square",
                "negative_caption": f"a {other} square",
                "type": "colour",
            }
        )
        box = [at % 4 / 4, at % 4 / 4, at % 4 / 4 + 0.25, at % 4 / 4 + 0.25]
        mentions.append(
            {"image": f"{colour}.png", "phrase": colour, "boxes": [box], "caption": f"a {colour} square", "start": 2}
        )
    rows = {"near_duplicates": near, "occlusions": covered, "mentions": mentions}
    return {name: write_lines(tmp_path / f"{name}.jsonl", lines) for name, lines in rows.items()}


def test_a_model_that_sees_colours_is_right(images, files):
    items = []
    result = evaluate(fake_encoder(), images=images, **files, on_items=items.extend)
    count = len(COLOURS)
    assert result["occlusions"]["accuracy"] == result["occlusions"]["elsewhere_accuracy"] == 1
    assert result["near_duplicates"]["match_r@1"] == 1
    assert result["near_duplicates"]["gallery"] == 2 * count
    assert result["mentions"]["pointing"] == 1
    assert result["mentions"]["later_pointing"] is None  # every caption has one phrase
    assert [item.group for item in items] == ["mentions"] * count + ["occlusions"] * count + ["near_duplicates"] * count


def test_without_fusion_no_word_points(images, files):
    result = evaluate(fake_encoder(fusion=False), images=images, **files)
    assert "mentions" not in result
    assert "fusion" in result["unavailable"]["mentions"]
    assert result["occlusions"]["accuracy"] == 1


def test_broken_pictures_leave_their_rows_out(images, files):
    (images / "near" / "red.png").write_bytes(b"")
    result = evaluate(fake_encoder(), images=images, **files)
    assert result["near_duplicates"]["count"] == len(COLOURS) - 1
    assert result["skipped"]["count"] == 1


def test_a_phrase_that_is_elsewhere_is_refused(tmp_path, images):
    row = {"image": "red.png", "phrase": "red", "boxes": [[0, 0, 1, 1]], "caption": "a red square", "start": 3}
    with pytest.raises(DataError, match=r"line 1: .*not at character 3"):
        evaluate(fake_encoder(), images=images, mentions=write_lines(tmp_path / "m.jsonl", [row]))


def test_a_phrase_behind_the_cut_has_no_place(tmp_path, images):
    """What the tokenizer cuts off cannot point; the row is left out, and a group of none is an error."""
    caption = "a " * 500 + "red"
    row = {"image": "red.png", "phrase": "red", "boxes": [[0, 0, 1, 1]], "caption": caption, "start": 1000}
    with pytest.raises(DataError, match="no row of mentions is left"):
        evaluate(fake_encoder(), images=images, mentions=write_lines(tmp_path / "m.jsonl", [row]))
