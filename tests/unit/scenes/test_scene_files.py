import io
import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image
from webdataset.tariterators import group_by_keys, tar_file_expander

import scenes
from runtime.errors import UsageError
from tests.unit.scenes import sentences

COUNT = 40
FILES = ("captions", "hard_negatives", "grounding", "image_pairs")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("scenes") / "out"
    scenes.write(out, count=COUNT, seed=3, split="compositional", size_px=64)
    return out


def rows(out, name):
    return [json.loads(line) for line in (out / f"{name}.jsonl").read_text().splitlines()]


def content(out):
    return {path.relative_to(out): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def things_by_caption(out):
    """The scenes that were written, found again by their captions."""
    wanted = {row["captions"][0]: row["image"] for row in rows(out, "captions")}
    found = {}
    for index in range(COUNT * 2):
        scene = scenes.generate(3, index, split="compositional", size_px=64)
        if scene.caption in wanted:
            found.setdefault(wanted[scene.caption], scene)
    return found


def test_there_is_a_picture_and_a_changed_picture_for_every_line(written):
    names = [f"{number:06d}.png" for number in range(COUNT)]
    assert sorted(path.name for path in (written / "images").glob("*.png")) == names
    assert sorted(path.name for path in (written / "images" / "negatives").glob("*.png")) == names
    assert sorted(path.name for path in written.iterdir()) == sorted(
        ["images", "detection.json", *(f"{f}.jsonl" for f in FILES)]
    )
    for path in (written / "images").rglob("*.png"):
        with Image.open(path) as picture:
            assert (picture.mode, picture.size) == ("RGB", (64, 64))


def test_captions_are_true_of_their_own_picture_alone(written):
    found = things_by_caption(written)
    captions = rows(written, "captions")
    assert [row["split"] for row in captions] == ["compositional"] * COUNT
    assert len({row["captions"][0] for row in captions}) == COUNT
    for row in captions:
        (caption,) = row["captions"]
        for name, scene in found.items():
            assert sentences.is_true(caption, scene) == (name == row["image"])
        with Image.open(written / "images" / row["image"]) as picture:
            assert picture.tobytes() == found[row["image"]].image.tobytes()


def test_hard_negatives_are_false_and_say_where(written):
    found = things_by_caption(written)
    lines = rows(written, "hard_negatives")
    assert [line["image"] for line in lines] == [row["image"] for row in rows(written, "captions")]
    for line in lines:
        assert set(line) == {"image", "caption", "negative_caption", "type", "diff"}
        assert line["caption"] == found[line["image"]].caption
        assert not sentences.is_true(line["negative_caption"], found[line["image"]])
        assert line["type"] in scenes.EDIT_KINDS
        before, after = line["caption"].split(), line["negative_caption"].split()
        for place in line["diff"]:
            (first, last), (neg_first, neg_last) = place["pos_words"], place["neg_words"]
            assert before[first:last] != after[neg_first:neg_last]
            assert last > first
            assert neg_last > neg_first


def test_grounding_has_a_line_for_every_phrase(written):
    found = things_by_caption(written)
    lines = rows(written, "grounding")
    expected = [
        {"image": row["image"], "phrase": phrase.text, "boxes": [list(phrase.box)]}
        for row in rows(written, "captions")
        for phrase in found[row["image"]].phrases
    ]
    assert [{key: line[key] for key in ("image", "phrase", "boxes")} for line in lines] == expected


def test_absent_phrases_name_no_kind_and_colour_of_the_picture(written):
    found = things_by_caption(written)
    names = [row["image"] for row in rows(written, "captions")]
    for before, name in zip([None, *names], names, strict=False):
        absent = [phrase for line in rows(written, "grounding") if line["image"] == name for phrase in line["absent"]]
        here = {(thing.kind, thing.colour) for thing in found[name].objects}
        other = found[before] if before else None
        expected = (
            []
            if other is None
            else [
                phrase.text
                for phrase in other.phrases
                if (other.objects[phrase.thing].kind, other.objects[phrase.thing].colour) not in here
            ]
        )
        assert sorted(absent) == sorted(expected)


def test_every_thing_is_in_the_coco_file(written):
    found = things_by_caption(written)
    truth = json.loads((written / "detection.json").read_text())
    names = {category["id"]: category["name"] for category in truth["categories"]}
    assert sorted(names) == list(range(1, len(names) + 1))
    for entry in truth["images"]:
        scene = found[entry["file_name"]]
        expected = [
            (scene.world.kinds[thing.kind][0], [x0, y0, x1 - x0, y1 - y0])
            for thing in scene.objects
            for x0, y0, x1, y1 in thing.boxes_px
        ]
        listed = [row for row in truth["annotations"] if row["image_id"] == entry["id"]]
        assert [(names[row["category_id"]], row["bbox"]) for row in listed] == expected
        assert (entry["width"], entry["height"]) == scene.image.size


def test_a_rival_is_another_thing_of_the_same_kind(written):
    found = things_by_caption(written)
    counted = [
        sum(thing.kind == scene.objects[phrase.thing].kind for thing in scene.objects) - 1
        for row in rows(written, "captions")
        for scene in [found[row["image"]]]
        for phrase in scene.phrases
    ]
    assert [line["rivals"] for line in rows(written, "grounding")] == counted
    assert {0, 1} <= set(counted)


def test_image_pairs_name_two_pictures_and_two_captions(written):
    for line in rows(written, "image_pairs"):
        assert set(line) == {"image", "negative_image", "caption", "negative_caption", "type"}
        assert line["caption"] != line["negative_caption"]
        one, other = (written / "images" / line[name] for name in ("image", "negative_image"))
        with Image.open(one) as first, Image.open(other) as second:
            assert first.tobytes() != second.tobytes()


def test_the_same_arguments_write_the_same_files_and_tell_their_progress(written, tmp_path):
    told = []
    scenes.write(
        tmp_path / "deep" / "again",
        count=COUNT,
        seed=3,
        split="compositional",
        size_px=64,
        progress=lambda done, total: told.append((done, total)),
    )
    assert content(tmp_path / "deep" / "again") == content(written)
    assert told == [(number + 1, COUNT) for number in range(COUNT)]


def test_fewer_scenes_are_the_first_of_more(written, tmp_path):
    scenes.write(tmp_path / "fewer", count=5, seed=3, split="compositional", size_px=64)
    for name in ("captions", "hard_negatives", "image_pairs"):
        assert rows(tmp_path / "fewer", name) == rows(written, name)[:5]


def test_shards_hold_the_same_scenes_in_turn(written, tmp_path):
    for out in ("one", "other"):
        scenes.write_shards(tmp_path / out, count=COUNT, seed=3, shards=3, split="compositional", size_px=64)
    assert content(tmp_path / "one") == content(tmp_path / "other")
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == [f"scenes-{number:06d}.tar" for number in range(3)]
    captions, negatives, pairs = (rows(written, name) for name in ("captions", "hard_negatives", "image_pairs"))
    found = things_by_caption(written)
    seen = set()
    for shard, name in enumerate(names):
        with tarfile.open(tmp_path / "one" / name) as tar:
            assert {(member.mtime, member.uid, member.uname) for member in tar} == {(0, 0, "")}
        with open(tmp_path / "one" / name, "rb") as stream:
            samples = list(group_by_keys(tar_file_expander([{"url": name, "stream": stream}])))
        for sample in samples:
            number = int(sample["__key__"])
            assert number % 3 == shard
            seen.add(number)
            picture = f"{number:06d}.png"
            assert sample["png"] == (written / "images" / picture).read_bytes()
            assert sample["negative.png"] == (written / "images" / "negatives" / picture).read_bytes()
            truth = json.loads(sample["json"])
            assert [truth["caption"]] == captions[number]["captions"] == [sample["txt"].decode()]
            assert {"image": picture, **truth["hard_negative"]} == negatives[number]
            assert truth["image_pair"] == {k: v for k, v in pairs[number].items() if "image" not in k}
            scene = found[picture]
            assert [(t["kind"], t["count"], tuple(t["box"])) for t in truth["things"]] == [
                (t.kind, t.look.count, t.box) for t in scene.objects
            ]
            assert [p["text"] for p in truth["phrases"]] == [p.text for p in scene.phrases]
            assert Image.open(io.BytesIO(sample["png"])).size == (64, 64)
    assert seen == set(range(COUNT))


def test_more_shards_than_scenes_are_refused(tmp_path):
    with pytest.raises(UsageError, match="2 scenes do not fill 3 shards"):
        scenes.write_shards(tmp_path / "out", count=2, seed=0, shards=3)
    assert list(tmp_path.iterdir()) == []


def test_the_edit_type_split_has_none_of_the_errors_of_training(tmp_path):
    scenes.write(tmp_path / "out", count=30, seed=3, split="edit-type", size_px=64, world=scenes.SMALL_WORLD)
    for name in ("hard_negatives", "image_pairs"):
        assert {line["type"] for line in rows(tmp_path / "out", name)} <= set(scenes.UNSEEN_EDITS)


def test_an_empty_folder_is_filled_and_a_full_one_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    scenes.write(tmp_path / "out", count=1, seed=0)
    before = content(tmp_path / "out")
    with pytest.raises(UsageError, match="not an empty folder"):
        scenes.write(tmp_path / "out", count=1, seed=1)
    assert content(tmp_path / "out") == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_folder_one_is_in_is_refused_before_anything_is_drawn(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="the folder you are in"):
        scenes.write(Path(), count=1, seed=0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"count": 0, "seed": 0}, "0 scenes cannot be written"),
        ({"count": 1, "seed": -4}, "seed is -4"),
        ({"count": 1, "seed": 0, "split": "dev"}, "no split 'dev'"),
        ({"count": 1, "seed": 0, "size_px": 5000}, "5000 px"),
    ],
)
def test_nothing_is_written_when_an_argument_cannot_be_meant(tmp_path, arguments, complaint):
    with pytest.raises(UsageError, match=complaint):
        scenes.write(tmp_path / "out", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_write_leaves_nothing(tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scenes.write(tmp_path / "out", count=3, seed=0, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_more_scenes_than_have_captions_of_their_own_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("scenes.files._MOST_REFUSED", 0)  # one caption true of two pictures is one too many
    with pytest.raises(UsageError, match="ask for fewer than 3000"):
        scenes.write(tmp_path / "out", count=3000, seed=0, size_px=32)
    assert list(tmp_path.iterdir()) == []
