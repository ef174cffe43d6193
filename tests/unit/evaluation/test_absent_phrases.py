"""Absent phrases are counted by hand: refused where the bundle's threshold says so."""

import json
from pathlib import Path

from evaluation.run import evaluate
from runtime.bundle import GroundingFit, Logistic
from runtime.engines.fake import fake_encoder
from tests.unit.runtime.test_encoder import picture


def test_phrases_of_what_is_not_there_are_refused(tmp_path: Path) -> None:
    picture(top_left="red", bottom_right="blue").save(tmp_path / "a.png")
    picture(top_right="green").save(tmp_path / "b.png")
    rows = [
        {"image": "a.png", "phrase": "red", "boxes": [[0, 0, 0.5, 0.5]], "absent": ["green", "purple"]},
        {"image": "a.png", "phrase": "blue", "boxes": [[0.5, 0.5, 1, 1]]},
        {"image": "b.png", "phrase": "green", "boxes": [[0.5, 0, 1, 0.5]], "absent": ["red"]},
    ]
    file = tmp_path / "grounding.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows))
    encoder = fake_encoder()
    plain = evaluate(encoder, images=tmp_path, grounding=file)
    assert plain["absent"]["count"] == 3
    assert plain["absent"]["refused"] == 0  # before schema 4 nothing is refused
    assert plain["grounding"]["count"] == 3
    fit = GroundingFit(method="relevance", present=9, absent=9, most_false_alarms=0.1, false_alarms=0.0, recall=1.0)
    update = {"grounding": Logistic(scale=20, bias=-12), "grounding_threshold": 0.5, "grounding_fit": fit}
    calibration = encoder.manifest.calibration.model_copy(update=update)
    encoder.manifest = encoder.manifest.model_copy(update={"calibration": calibration})
    found = evaluate(encoder, images=tmp_path, grounding=file)
    assert found["absent"]["refused"] == 1
    assert found["grounding"]["given"] == 1
    assert found["grounding"]["served_acc@0.5"] == found["grounding"]["acc@0.5"] == 1
    assert found["grounding"]["centre_box_acc@0.5"] == 0


def test_without_absent_phrases_there_is_no_such_group(tmp_path: Path) -> None:
    picture(top_left="red").save(tmp_path / "a.png")
    file = tmp_path / "grounding.jsonl"
    file.write_text(json.dumps({"image": "a.png", "phrase": "red", "boxes": [[0, 0, 0.5, 0.5]]}))
    assert "absent" not in evaluate(fake_encoder(), images=tmp_path, grounding=file)
