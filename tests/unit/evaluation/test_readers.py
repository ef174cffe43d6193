import json

import pytest

from evaluation.readers import (
    GroundingRow,
    HardNegativeRow,
    ImagePairRow,
    JudgementRow,
    RetrievalRow,
    read_rows,
    with_captions,
)
from runtime.errors import DataError
from tests.unit.evaluation.conftest import write_lines

GOOD = {
    RetrievalRow: {"image": "a.jpg", "captions": ["a dog"], "split": "dev"},
    HardNegativeRow: {
        "image": "a.jpg",
        "caption": "a red dog",
        "negative_caption": "a dog",
        "type": "x",
        "diff": [{"pos_words": [1, 2], "neg_words": [1, 1]}],
    },
    GroundingRow: {"image": "a.jpg", "phrase": "dog", "boxes": [[0.1, 0.2, 0.3, 1.0004]]},
    ImagePairRow: {
        "image": "a.jpg",
        "negative_image": "b.jpg",
        "caption": "a dog",
        "negative_caption": "a cat",
        "type": "x",
    },
    JudgementRow: {"image": "a.jpg", "caption": "a dog", "scores": [1, 2.5, 4]},
}

BAD = [
    (RetrievalRow, {"image": ""}, "image"),
    (RetrievalRow, {"captions": "a dog"}, "captions"),
    (RetrievalRow, {"captions": ["a dog", " "]}, "captions.1"),
    (HardNegativeRow, {"caption": None}, "caption"),
    (HardNegativeRow, {"type": 3}, "type"),
    (HardNegativeRow, {"diff": [{"pos_words": [0, 4], "neg_words": [0, 1]}]}, "pos_words"),
    (HardNegativeRow, {"diff": [{"pos_words": [0, 1], "neg_words": [1, 0]}]}, "neg_words"),
    (HardNegativeRow, {"diff": [{"pos_words": [0, 1]}]}, "diff.0.neg_words"),
    (GroundingRow, {"boxes": []}, "boxes"),
    (GroundingRow, {"boxes": [[0, 0, 1]]}, "boxes.0"),
    (GroundingRow, {"boxes": [[0.5, 0, 0.5, 1]]}, "boxes.0"),
    (GroundingRow, {"boxes": [[0, 0, 224, 224]]}, "boxes.0"),
    (GroundingRow, {"phrase": "\t"}, "phrase"),
    (ImagePairRow, {"negative_image": ""}, "negative_image"),
    (JudgementRow, {"scores": []}, "scores"),
    (JudgementRow, {"scores": ["good"]}, "scores.0"),
    (JudgementRow, {"scores": [float("nan")]}, "scores.0"),
]


@pytest.mark.parametrize("kind", GOOD)
def test_good_lines_are_read_and_other_fields_ignored(kind, tmp_path):
    path = write_lines(tmp_path / "rows.jsonl", [GOOD[kind], {**GOOD[kind], "licence": "CC-BY"}])
    path.write_text("\ufeff" + path.read_text(encoding="utf-8").replace("\n", "\r\n") + "\n", encoding="utf-8")
    assert [row.image for row in read_rows(path, kind)] == ["a.jpg", "a.jpg"]


@pytest.mark.parametrize(("kind", "change", "named"), BAD)
def test_a_bad_line_is_named_with_its_file_and_number(kind, change, named, tmp_path):
    path = write_lines(tmp_path / "rows.jsonl", [GOOD[kind], {**GOOD[kind], **change}])
    with pytest.raises(DataError, match=named) as caught:
        read_rows(path, kind)
    assert f"{path}, line 2: " in str(caught.value)


@pytest.mark.parametrize("line", ["{", "[]", '"a"', "3"])
def test_a_line_that_is_no_object_is_named(line, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(GOOD[RetrievalRow]) + "\n\n" + line + "\n")
    with pytest.raises(DataError, match="line 3"):
        read_rows(path, RetrievalRow)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        read_rows(tmp_path / "none.jsonl", RetrievalRow)
    (tmp_path / "empty.jsonl").write_text("\n \n")
    with pytest.raises(DataError, match="no rows"):
        read_rows(tmp_path / "empty.jsonl", RetrievalRow)
    (tmp_path / "latin.jsonl").write_bytes(b'{"image": "\xe9"}')
    with pytest.raises(DataError, match="UTF-8"):
        read_rows(tmp_path / "latin.jsonl", RetrievalRow)


def test_a_line_break_inside_a_string_is_no_end_of_line(tmp_path):
    row = {**GOOD[RetrievalRow], "captions": ["a dog\u2028runs"]}
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    assert read_rows(path, RetrievalRow)[0].captions == ("a dog\u2028runs",)


def test_a_split_is_kept_and_an_unknown_one_refused():
    rows = [RetrievalRow(image=name, captions=("x",), split=split) for name, split in [("a", "dev"), ("b", "test")]]
    assert [row.image for row in with_captions(rows, split="dev", path="f")] == ["a"]
    assert with_captions(rows, split=None, path="f") == rows
    with pytest.raises(DataError, match="has no row of split 'val'; it has dev, test"):
        with_captions(rows, split="val", path="f")
    with pytest.raises(DataError, match="name no split"):
        with_captions([RetrievalRow(image="a", captions=("x",))], split="val", path="f")
