"""Detection against a mean average precision counted by hand, and against the model that sees only colours."""

import json
from pathlib import Path

import pytest

from evaluation.detection import Detected, average_precision, evaluate_detection, read_coco
from runtime.engines.fake import fake_encoder
from runtime.errors import DataError
from tests.unit.runtime.test_encoder import picture

TRUTH = {
    "images": [{"id": 1, "file_name": "a.png", "width": 100, "height": 100}],
    "categories": [{"id": 5, "name": "red"}, {"id": 9, "name": "blue"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 5, "bbox": [0, 0, 50, 50]},
        {"id": 2, "image_id": 1, "category_id": 5, "bbox": [50, 50, 50, 50]},
        {"id": 3, "image_id": 1, "category_id": 9, "bbox": [0, 50, 40, 40]},
    ],
}


def found(category: int, box: tuple[float, float, float, float], score: float) -> Detected:
    return Detected(image_id=1, category_id=category, bbox=box, score=score)


def test_mean_average_precision_by_hand() -> None:
    detections = [
        found(5, (0, 0, 50, 50), 0.9),  # right
        found(5, (70, 0, 20, 20), 0.8),  # of nothing
        found(5, (50, 50, 50, 50), 0.7),  # right: precision 2/3 at recall 1
        found(9, (0, 50, 40, 16), 0.6),  # 0.4 of the union: right from 0.3, not from 0.5
    ]
    numbers = average_precision(TRUTH, [1], detections)
    # COCO reads precision at 101 recalls: 51 of them (0 to 0.5) are met at precision 1, the other 50 at 2/3.
    red = (51 + 50 * 2 / 3) / 101
    assert numbers["map@0.3"] == pytest.approx((red + 1) / 2)
    assert numbers["map@0.5"] == pytest.approx((red + 0) / 2)


def test_nothing_found_is_worth_nothing() -> None:
    assert average_precision(TRUTH, [1], []) == {"map@0.3": 0.0, "map@0.5": 0.0}


def scene(tmp_path: Path) -> Path:
    picture(top_left="red", bottom_right="blue").save(tmp_path / "a.png")
    picture(top_right="red").save(tmp_path / "b.png")
    truth = {
        "images": [{"id": at, "file_name": f"{name}.png", "width": 64, "height": 64} for at, name in enumerate("ab")],
        "categories": [{"id": 5, "name": "red"}, {"id": 9, "name": "blue"}],
        "annotations": [
            {"id": 1, "image_id": 0, "category_id": 5, "bbox": [0, 0, 32, 32]},
            {"id": 2, "image_id": 0, "category_id": 9, "bbox": [32, 32, 32, 32]},
            {"id": 3, "image_id": 1, "category_id": 5, "bbox": [32, 0, 32, 32]},
        ],
    }
    file = tmp_path / "coco.json"
    file.write_text(json.dumps(truth))
    return file


@pytest.mark.parametrize("kind", [{"regions": True}, {"fusion": True}, {"fusion": False}])
def test_classes_are_found_in_pictures(tmp_path: Path, kind: dict) -> None:
    file = scene(tmp_path)
    numbers = evaluate_detection(fake_encoder(**kind), file, tmp_path)
    assert (numbers["count"], numbers["boxes"], numbers["classes"]) == (2, 3, 2)
    assert numbers["map@0.5"] > 0.7
    assert numbers["map@0.5"] > numbers["whole_image_map@0.5"] == 0
    assert evaluate_detection(fake_encoder(**kind), file, tmp_path, limit=1)["boxes"] == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "JSON"), ("[]", "no 'images'"), ('{"images": [{"id": 1}]}', "no 'file_name'")],
)
def test_what_is_no_coco_file_is_refused(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "coco.json"
    file.write_text(text)
    with pytest.raises(DataError, match=said):
        read_coco(file)


def test_a_missing_picture_is_named(tmp_path: Path) -> None:
    file = scene(tmp_path)
    (tmp_path / "b.png").unlink()
    with pytest.raises(DataError, match=r"b\.png"):
        evaluate_detection(fake_encoder(), file, tmp_path)
