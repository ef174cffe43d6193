"""The real files: they are read whole, and a few of their pictures go through the model without weights."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluation.edits import wrong_words
from evaluation.hard_negatives import PairScores, compare, summarise
from evaluation.public import read
from evaluation.readers import GroundingRow, HardNegativeRow, RetrievalRow, StatementRow, read_rows, valid
from evaluation.run import evaluate
from evaluation.suite import Suite, evaluate_suite, load
from runtime.engines.fake import fake_encoder

SUITES = Path(__file__).resolve().parents[3] / "benchmarks" / "suites"

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


def test_the_suite_of_photos_runs_whole(photos_dir):
    suite = load(SUITES / "photos.toml", data=photos_dir)
    shortened = Suite(runs=tuple(replace(run, limit=12) for run in suite.runs))
    result = evaluate_suite(fake_encoder(), shortened)
    groups = {name: set(run) - {"skipped", "proofreading"} for name, run in result["runs"].items()}
    assert groups == {
        "Flickr8k dev": {"retrieval"},
        "COCO grounding": {"grounding"},
        "SugarCrepe": {"hard_negatives"},
        "VALSE (valid rows)": {"hard_negatives"},
        "VSR": {"statements"},
        "NLVR dev": {"statements"},
    }
    assert all(run["skipped"]["count"] == 0 for run in result["runs"].values())


def test_valse_gives_published_models_the_accuracy_they_have_on_its_valid_rows(photos_dir):
    path = photos_dir / "hardneg" / "valse.jsonl"
    kept = {(row.image, row.caption) for row in valid(read_rows(path, HardNegativeRow), path)}
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    scored = [line["peer_scores"] for line in lines if (line["image"], line["caption"]) in kept and line["valid"]]
    assert len(scored) == 65
    for model, accuracy in {"albef_14m": 0.769, "blip_129m": 0.677, "x-vlm_16m": 0.785}.items():
        caption, negative = np.array([scores[model] for scores in scored]).T
        pairs = PairScores(caption=caption, negative=negative)
        found = compare(judge=pairs, dual=pairs, blind=pairs, blind_dual=pairs)
        assert summarise(found, ["x"] * 65)["accuracy"] == pytest.approx(accuracy, abs=0.0005)
