"""Phrases of what is not in a scene, by looking for it, and scenes as COCO has them, beside the scenes."""

import json
from pathlib import Path

from PIL import Image

import scenes


def test_absent_phrases_name_no_thing_of_the_scene() -> None:
    drawn = [scenes.generate(2, index, split="val") for index in range(60)]
    count = 0
    for scene, other in zip(drawn[1:], drawn, strict=False):
        names = {(kind, colour) for thing in scene.objects for kind, colour in [(thing.kind, thing.colour)]}
        absent = scenes.absent_phrases(scene, other)
        count += len(absent)
        said = {phrase.text: other.objects[phrase.thing] for phrase in other.phrases}
        for phrase, thing in said.items():
            assert (phrase in absent) == ((thing.kind, thing.colour) not in names)
        assert scenes.absent_phrases(scene, scene) == []
    assert count > 60


def test_files_have_every_thing_as_coco_has_it_and_phrases_of_what_is_not_there(tmp_path: Path) -> None:
    scenes.write(tmp_path / "out", count=4, seed=5, split="val", size_px=64, world=scenes.SMALL_WORLD)
    truth = json.loads((tmp_path / "out" / "detection.json").read_text())
    assert [entry["file_name"] for entry in truth["images"]] == [f"{n:06d}.png" for n in range(4)]
    names = {category["id"]: category["name"] for category in truth["categories"]}
    assert sorted(names) == list(range(1, len(names) + 1))
    for row in truth["annotations"]:
        x, y, width, height = row["bbox"]
        assert 0 <= x < x + width <= 64
        assert 0 <= y < y + height <= 64
        assert row["category_id"] in names
    rows = [json.loads(line) for line in (tmp_path / "out" / "grounding.jsonl").read_text().splitlines()]
    things = {(row["image_id"], *row["bbox"]) for row in truth["annotations"]}
    for number, index in enumerate((0, 1, 2, 3), 1):
        scene = scenes.generate(5, index, split="val", size_px=64, world=scenes.SMALL_WORLD)
        if scene.image.tobytes() == Image.open(tmp_path / "out" / "images" / f"{number - 1:06d}.png").tobytes():
            for thing in scene.objects:
                assert all((number, x0, y0, x1 - x0, y1 - y0) in things for x0, y0, x1, y1 in thing.boxes_px)
    assert any(row["absent"] for row in rows)
