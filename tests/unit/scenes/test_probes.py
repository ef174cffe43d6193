"""Probes: what is covered is the main thing, what is asked about is seen, and near-duplicates are false."""

import numpy as np

import scenes
from scenes.files import write
from scenes.probes import near_duplicates, occlusion
from scenes.scene import stream


def covered(first: np.ndarray, second: np.ndarray) -> tuple[int, int, int, int]:
    """The box of the pixels in which two pictures differ."""
    rows, columns = np.nonzero((first != second).any(axis=2))
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def meet(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def area(box: tuple[int, int, int, int]) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def test_occlusions_cover_the_main_thing_and_ask_about_another(drawn: list[scenes.Scene]) -> None:
    count = 0
    for index, scene in enumerate(drawn[::7]):
        found = occlusion(scene, stream(0, index, split="test", purpose=3))
        if found is None:
            continue
        count += 1
        boxes = [thing.box_px for thing in scene.objects[: len(scene.phrases)]]
        plain = np.asarray(scene.image)
        patch, away = covered(plain, np.asarray(found.image)), covered(plain, np.asarray(found.elsewhere))
        main = max(boxes, key=area)
        assert patch[0] <= main[0]
        assert patch[1] <= main[1]
        assert patch[2] >= main[2]
        assert patch[3] >= main[3]
        assert not any(meet(away, box) for box in boxes)
        assert found.caption == scene.caption != found.negative_caption
        ((start, _),) = found.pos_words
        character = len(" ".join(scene.caption.split()[:start])) + 1
        (asked,) = (phrase for phrase in scene.phrases if phrase.start <= character < phrase.end)
        assert area(scene.objects[asked.thing].box_px) <= area(main)
        assert not meet(scene.objects[asked.thing].box_px, patch)
    assert count > 60


def test_a_scene_of_one_thing_has_no_occlusion(drawn: list[scenes.Scene]) -> None:
    alone = next(scene for scene in drawn if len(scene.phrases) == 1)
    assert occlusion(alone, np.random.default_rng(0)) is None


def test_near_duplicates_differ_and_their_captions_too(drawn: list[scenes.Scene]) -> None:
    for scene in drawn[::40]:
        near = near_duplicates(scene, np.random.default_rng(1), count=4)
        captions = [edit.caption for edit in near]
        assert len(near) == 4 or len(near) > 1
        assert len({scene.caption, *captions}) == len(near) + 1
        for edit in near:
            assert edit.scene.image.tobytes() != scene.image.tobytes()


def test_probes_are_written_beside_the_same_scenes(tmp_path) -> None:
    for name, probes in (("plain", False), ("probes", True), ("again", True)):
        write(tmp_path / name, count=6, seed=2, size_px=32, probes=probes)
    plain = {file.relative_to(tmp_path / "plain") for file in (tmp_path / "plain").rglob("*") if file.is_file()}
    both = {file.relative_to(tmp_path / "probes") for file in (tmp_path / "probes").rglob("*") if file.is_file()}
    assert plain < both
    for file in plain:
        assert (tmp_path / "plain" / file).read_bytes() == (tmp_path / "probes" / file).read_bytes()
    for file in both:
        assert (tmp_path / "again" / file).read_bytes() == (tmp_path / "probes" / file).read_bytes()
    assert {"mentions.jsonl", "occlusions.jsonl", "near_duplicates.jsonl"} <= {file.name for file in both - plain}
