"""Each public layout on a file of a few made-up entries, written as its makers write it."""

import json
import pickle

import pytest

from evaluation.edits import wrong_words
from evaluation.public import FORMATS, read
from evaluation.public.files import fractions
from runtime.errors import DataError


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_coco_captions(tmp_path):
    path = write(
        tmp_path / "captions_val2017.json",
        {
            "info": {},
            "images": [
                {"id": 7, "file_name": "000000000007.jpg", "height": 1, "width": 1},
                {"id": 9, "file_name": "9.jpg"},
            ],
            "annotations": [
                {"id": 1, "image_id": 7, "caption": "A dog. "},
                {"id": 2, "image_id": 7, "caption": "A brown dog."},
            ],
        },
    )
    (row,) = read("coco-captions", path).retrieval
    assert (row.image, row.captions) == ("000000000007.jpg", ("A dog.", "A brown dog."))
    with pytest.raises(DataError, match="no splits"):
        read("coco-captions", path, split="val")


KARPATHY = {
    "dataset": "coco",
    "images": [
        {"filepath": "val2014", "filename": "a.jpg", "split": "test", "sentences": [{"raw": "A cat. ", "tokens": []}]},
        {"filename": "b.jpg", "split": "restval", "sentences": [{"raw": "A cow."}, {"raw": "Cow."}]},
        {"filename": "c.jpg", "split": "val", "sentences": [{"raw": "A hen."}]},
    ],
}


def test_karpathy_splits(tmp_path):
    path = write(tmp_path / "dataset_coco.json", KARPATHY)
    assert [row.image for row in read("karpathy", path).retrieval] == ["val2014/a.jpg", "b.jpg", "c.jpg"]
    assert [row.captions for row in read("karpathy", path, split="test").retrieval] == [("A cat.",)]
    assert [row.captions for row in read("karpathy", path, split="train").retrieval] == [("A cow.", "Cow.")]
    with pytest.raises(DataError, match="no rows of split 'dev'"):
        read("karpathy", path, split="dev")


def test_the_list_form_of_a_karpathy_split(tmp_path):
    path = write(
        tmp_path / "coco_karpathy_test.json",
        [{"image": "val2014/a.jpg", "caption": ["A cat.", "Cat."]}, {"image": "b.jpg", "caption": "A cow."}],
    )
    assert [row.captions for row in read("karpathy", path).retrieval] == [("A cat.", "Cat."), ("A cow.",)]


TOKENS = "a.jpg#0\tA dog .\na.jpg#1\tDogs run .\nb.jpg#0\tA cat .\n"


def test_flickr_tokens_and_splits(tmp_path):
    path = write(tmp_path / "Flickr8k.token.txt", TOKENS)
    write(tmp_path / "Flickr_8k.testImages.txt", "b.jpg\n")
    rows = read("flickr-tokens", path).retrieval
    assert [(row.image, row.captions) for row in rows] == [
        ("a.jpg", ("A dog .", "Dogs run .")),
        ("b.jpg", ("A cat .",)),
    ]
    assert [row.image for row in read("flickr-tokens", path, split="test").retrieval] == ["b.jpg"]
    with pytest.raises(DataError, match="devImages"):
        read("flickr-tokens", path, split="dev")
    write(path, "a.jpg#0\tA dog .\na.jpg A cat .\n")
    with pytest.raises(DataError, match="line 2"):
        read("flickr-tokens", path)


def test_flickr_captions_as_csv(tmp_path):
    path = write(tmp_path / "captions.txt", 'image,caption\na.jpg,A dog .\na.jpg,"A dog , running ."\n')
    (row,) = read("flickr-tokens", path).retrieval
    assert row.captions == ("A dog .", "A dog , running .")
    write(path, "image,caption\na.jpg,A dog , running .\n")
    with pytest.raises(DataError, match="line 2"):
        read("flickr-tokens", path)


def test_flickr8k_experts_leave_own_captions_out(tmp_path):
    write(tmp_path / "Flickr8k.token.txt", TOKENS)
    path = write(tmp_path / "ExpertAnnotations.txt", "a.jpg\tb.jpg#0\t1\t1\t2\na.jpg\ta.jpg#1\t4\t4\t4\n")
    (row,) = read("flickr8k-experts", path).judgements
    assert (row.image, row.caption, row.scores) == ("a.jpg", "A cat .", (1, 1, 2))
    write(path, "a.jpg\tz.jpg#0\t1\t1\t2\n")
    with pytest.raises(DataError, match=r"line 1: there is no 'z\.jpg#0'"):
        read("flickr8k-experts", path)


def write_refs(folder, refs, name="refs(unc).p", protocol=2):
    write(
        folder / "instances.json",
        {
            "images": [{"id": 1, "file_name": "COCO_train2014_1.jpg", "width": 200, "height": 100}],
            "annotations": [{"id": 5, "bbox": [20, 10, 100, 50]}, {"id": 6, "bbox": [150, 50, 100, 100]}],
        },
    )
    (folder / name).write_bytes(pickle.dumps(refs, protocol=protocol))
    return folder / name


REFS = [
    {
        "ref_id": 0,
        "ann_id": 5,
        "image_id": 1,
        "split": "testA",
        "file_name": "COCO_train2014_1_5.jpg",
        "sentences": [{"sent": "the left dog", "tokens": []}, {"sent": "dog"}],
    },
    {"ref_id": 1, "ann_id": 6, "image_id": 1, "split": "val", "sentences": [{"sent": "right one"}]},
]


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_refcoco(tmp_path, protocol):
    file = write_refs(tmp_path, REFS, protocol=protocol)
    rows = read("refcoco", tmp_path).grounding
    assert [row.phrase for row in rows] == ["the left dog", "dog", "right one"]
    assert {row.image for row in rows} == {"COCO_train2014_1.jpg"}
    assert rows[0].boxes == ((0.1, 0.1, 0.6, 0.6),)
    assert rows[2].boxes == ((0.75, 0.5, 1.0, 1.0),)  # cut at the border
    for split, count in {"testA": 2, "test": 2, "val": 1}.items():
        assert len(read("refcoco", file, split=split).grounding) == count
    with pytest.raises(DataError, match="no rows of split 'testB'"):
        read("refcoco", file, split="testB")


def test_a_pickle_runs_nothing(tmp_path):
    class Boom:
        def __reduce__(self):
            return (write, (tmp_path / "ran", "ran"))

    write_refs(tmp_path, [Boom()])
    with pytest.raises(DataError, match="which no list of expressions needs"):
        read("refcoco", tmp_path)
    assert not (tmp_path / "ran").exists()


def test_refcoco_files_that_do_not_fit(tmp_path):
    with pytest.raises(DataError, match="holds none"):
        read("refcoco", tmp_path)
    write_refs(tmp_path, {})
    with pytest.raises(DataError, match="no list of referring"):
        read("refcoco", tmp_path)
    write_refs(tmp_path, REFS, name="refs(google).p")
    with pytest.raises(DataError, match=r"refs\(google\)\.p, refs\(unc\)\.p; name the file"):
        read("refcoco", tmp_path)
    with pytest.raises(DataError, match="No such file"):
        read("refcoco", tmp_path / "refs(umd).p")
    (tmp_path / "refs(unc).p").write_bytes(b"not a pickle")
    with pytest.raises(DataError, match="no list of referring"):
        read("refcoco", tmp_path / "refs(unc).p")


ANNOTATION = """<annotation><filename>77.jpg</filename><size><width>200</width><height>100</height></size>
<object><name>11</name><name>12</name>
<bndbox><xmin>21</xmin><ymin>11</ymin><xmax>120</xmax><ymax>60</ymax></bndbox></object>
<object><name>12</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>200</xmax><ymax>100</ymax></bndbox></object>
<object><name>13</name><scene>1</scene><nobndbox>0</nobndbox></object>
</annotation>"""
SENTENCES = (
    "[/EN#11/people A young boy] in [/EN#0/notvisual front] of [/EN#13/scene a park] .\n"
    "[/EN#12/people/animals Boy and dog] play .\n"
)


def test_flickr30k_entities(tmp_path):
    write(tmp_path / "Annotations" / "77.xml", ANNOTATION)
    write(tmp_path / "Sentences" / "77.txt", SENTENCES)
    write(tmp_path / "val.txt", "77\n")
    for split in (None, "val"):
        boy, both = read("flickr30k-entities", tmp_path, split=split).grounding
        assert (boy.image, boy.phrase, boy.boxes) == ("77.jpg", "A young boy", ((0.1, 0.1, 0.6, 0.6),))
        assert (both.phrase, len(both.boxes)) == ("Boy and dog", 2)
    with pytest.raises(DataError, match=r"test\.txt"):
        read("flickr30k-entities", tmp_path, split="test")
    write(tmp_path / "Annotations" / "77.xml", ANNOTATION.replace("<xmin>21</xmin>", ""))
    with pytest.raises(DataError, match="object 0"):
        read("flickr30k-entities", tmp_path)
    write(tmp_path / "Annotations" / "77.xml", "<annotation>")
    with pytest.raises(DataError, match="valid XML"):
        read("flickr30k-entities", tmp_path)
    with pytest.raises(DataError, match="no rows"):
        read("flickr30k-entities", tmp_path / "Annotations")


def test_sugarcrepe_with_its_wrong_words(tmp_path):
    write(
        tmp_path / "replace_att.json",
        {"0": {"filename": "1.jpg", "caption": "A red car.", "negative_caption": "A blue car."}},
    )
    write(
        tmp_path / "swap_obj.json",
        {"3": {"filename": "2.jpg", "caption": "a dog on a cat", "negative_caption": "a cat on a dog"}},
    )
    first, second = read("sugarcrepe", tmp_path).hard_negatives
    assert (first.image, first.type) == ("1.jpg", "replace_att")
    truth = wrong_words(first.caption, first.negative_caption, first.edits())
    assert truth.correction == ((2, 6), "red")
    assert second.type == "swap_obj"
    assert [second.negative_caption[slice(*span)] for span in wrong_words(
        second.caption, second.negative_caption, second.edits()
    ).spans] == ["cat", "dog"]  # fmt: skip
    assert len(read("sugarcrepe", tmp_path / "swap_obj.json").hard_negatives) == 1


def test_valse_keeps_valid_foils(tmp_path):
    def item(caption, chosen):
        return {
            "dataset": "COCO",
            "image_file": "1.jpg",
            "caption": caption,
            "foil": "There are no dogs.",
            "mturk": {"foil": 0, "caption": chosen, "other": 0},
        }

    path = write(
        tmp_path / "existence.json",
        {
            "existence_0": item("There are dogs.", 3),
            "existence_1": item("Some dogs.", 1),
            "existence_2": item(["Dogs."], 2),
        },
    )
    rows = read("valse", path).hard_negatives
    assert [(row.caption, row.type) for row in rows] == [("There are dogs.", "existence"), ("Dogs.", "existence")]


def test_aro_is_about_a_part_of_a_picture(tmp_path):
    item = {
        "image_id": 1,
        "image_path": "1.jpg",
        "bbox_x": 10,
        "bbox_y": 20,
        "bbox_w": 300,
        "bbox_h": 200,
        "true_caption": "the dog is on the sofa",
        "false_caption": "the sofa is on the dog",
    }
    relation = write(tmp_path / "visual_genome_relation.json", [{**item, "relation_name": "on"}])
    attribution = write(tmp_path / "visual_genome_attribution.json", [{**item, "attributes": ["big", "red"]}])
    (row,) = read("aro", relation).hard_negatives
    assert (row.image, row.type) == ("1.jpg#xywh=10,20,300,200", "on")
    assert read("aro", attribution).hard_negatives[0].type == "big_red"


def test_winoground(tmp_path):
    line = {
        "id": 0,
        "image_0": "ex_0_img_0",
        "image_1": "ex_0_img_1",
        "caption_0": "an old person kisses a young person",
        "caption_1": "a young person kisses an old person",
        "tag": "Adjective-Age",
        "secondary_tag": "",
        "num_main_preds": 1,
        "collapsed_tag": "Object",
    }
    (row,) = read("winoground", write(tmp_path / "examples.jsonl", json.dumps(line) + "\n")).image_pairs
    assert (row.image, row.negative_image, row.type) == ("ex_0_img_0.png", "ex_0_img_1.png", "Object")
    assert row.negative_caption == "a young person kisses an old person"


def test_vsr(tmp_path):
    line = {"image": "1.jpg", "image_link": "http://x", "caption": "The cat is under the car.", "label": 0}
    path = write(tmp_path / "test.jsonl", json.dumps({**line, "relation": "under"}) + "\n\n")
    (row,) = read("vsr", path).statements
    assert (row.image, row.label, row.relation) == ("1.jpg", False, "under")


def test_nlvr_asks_of_every_order_of_the_boxes(tmp_path):
    line = {"identifier": "72-0", "directory": "5", "sentence": "There is a tower.", "label": "true", "evals": {}}
    rows = read("nlvr", write(tmp_path / "dev.json", json.dumps(line) + "\n")).statements
    assert [row.image for row in rows] == [f"5/dev-72-0-{order}.png" for order in range(6)]
    assert all(row.label for row in rows)


@pytest.mark.parametrize(
    ("name", "file", "content", "message"),
    [
        ("karpathy", "a.json", "{", "not valid JSON"),
        ("karpathy", "a.json", {}, "there is no 'images'"),
        ("karpathy", "a.json", {"images": [{"filename": "a"}]}, "entry 0: there is no 'split'"),
        ("karpathy", "a.json", {"images": [3]}, "entry 0 does not have the expected layout"),
        ("karpathy", "a.json", [{"image": "", "caption": "x"}], "entry 0: image: must not be empty"),
        ("coco-captions", "a.json", {"images": [], "annotations": [{"image_id": 1, "caption": "x"}]}, "image 1"),
        ("sugarcrepe", "a.json", "3", "neither a list"),
        ("sugarcrepe", "a.json", {"0": {"filename": "a", "caption": "b"}}, "entry 0: there is no 'negative_caption'"),
        ("sugarcrepe", "a.txt", "", "no JSON file"),
        ("valse", "a.json", {"x": {"mturk": {"caption": 1}}}, "no rows"),
        ("winoground", "a.jsonl", "{}\n{", "line 2"),
        ("winoground", "a.jsonl", "{}", "there is no 'image_0'"),
        ("vsr", "a.jsonl", '{"image": "a", "caption": "b", "label": 7, "relation": "on"}', "label"),
        ("nlvr", "a.json", "", "no rows"),
    ],
)
def test_what_has_another_layout_is_named(name, file, content, message, tmp_path):
    path = write(tmp_path / file, content)
    with pytest.raises(DataError, match=message):
        read(name, tmp_path if file == "a.txt" else path)


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_not_there_or_no_text_is_an_error(name, tmp_path):
    with pytest.raises(DataError, match=r"cannot be read|no rows"):
        read(name, tmp_path / "nothing.json")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "instances.json").write_text('{"images": [], "annotations": []}')
    (tmp_path / "Flickr8k.token.txt").write_text(TOKENS)
    with pytest.raises(DataError):
        read(name, tmp_path / "bytes.json")


def test_a_box_outside_the_picture_is_none():
    assert fractions((10, 10, 20, 20), width_px=40, height_px=20) == (0.25, 0.5, 0.5, 1.0)
    assert fractions((50, 0, 60, 10), width_px=40, height_px=20) is None
