"""The real files: they are read whole, and a few of their pictures go through the model without weights."""

import pytest

from evaluation.edits import wrong_words
from evaluation.public import read
from evaluation.readers import GroundingRow, HardNegativeRow, RetrievalRow, StatementRow, read_rows
from evaluation.run import evaluate
from runtime.engines.fake import fake_encoder

pytestmark = pytest.mark.photos


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("flickr8k/captions.jsonl", RetrievalRow),
        ("coco/coco.jsonl", RetrievalRow),
        ("coco/grounding.jsonl", GroundingRow),
        ("hardneg/sugarcrepe.jsonl", HardNegativeRow),
        ("hardneg/valse.jsonl", HardNegativeRow),
        ("hardneg/vsr.jsonl", StatementRow),
        ("nlvr/dev.jsonl", StatementRow),
    ],
)
def test_every_line_is_read(file, kind, photos_dir):
    rows = read_rows(photos_dir / file, kind)
    assert len(rows) == len((photos_dir / file).read_text(encoding="utf-8").strip().split("\n"))


def test_the_wrong_words_of_real_hard_negatives_are_found(photos_dir):
    rows = read_rows(photos_dir / "hardneg" / "sugarcrepe.jsonl", HardNegativeRow)
    truths = [wrong_words(row.caption, row.negative_caption, row.edits()) for row in rows]
    assert sum(bool(truth.spans) for truth in truths) > 0.9 * len(rows)
    replaced = [truth for row, truth in zip(rows, truths, strict=True) if row.type == "replace_obj"]
    assert sum(truth.correction is not None for truth in replaced) > 0.3 * len(replaced)


def test_vsr_is_read_in_its_own_layout_too(photos_dir):
    path = photos_dir / "hardneg" / "vsr.jsonl"
    assert read("vsr", path).statements == read_rows(path, StatementRow)


def test_real_pictures_go_through(photos_dir):
    coco = evaluate(
        fake_encoder(),
        images=photos_dir / "coco" / "images",
        retrieval=photos_dir / "coco" / "coco.jsonl",
        hard_negatives=photos_dir / "hardneg" / "valse.jsonl",
        grounding=photos_dir / "coco" / "grounding.jsonl",
        statements=photos_dir / "hardneg" / "vsr.jsonl",
        limit=20,
    )
    assert coco["skipped"]["count"] == 0
    assert coco["hard_negatives"]["count"] == coco["grounding"]["count"] == coco["statements"]["count"] == 20
    flickr = evaluate(
        fake_encoder(),
        images=photos_dir / "flickr8k" / "images",
        retrieval=photos_dir / "flickr8k" / "captions.jsonl",
        split="dev",
        limit=20,
    )
    assert flickr["retrieval"]["text_to_image"]["count"] == 100
