"""Items: the answers behind the rates, which must give the rates again."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from evaluation.comparison import samples_of
from evaluation.items import Item, ItemWord, read_items, write_items
from evaluation.run import evaluate
from evaluation.suite import evaluate_suite, load
from runtime.engines.fake import fake_encoder
from runtime.errors import DataError
from tests.unit.evaluation.conftest import COLOURS, write_lines

ITEM = Item(
    group="proofreading",
    picture="a.png",
    asked=("a red dog", "a blue dog"),
    type="colour",
    hits={"word_top1": True, "correction_top1": None},
    scores={"match": 0.5, "rank": None},
    words=(ItemWord(text="blue", is_wrong=True, error=0.25, blind_error=None),),
    run="dogs",
)


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "deep" / "items.jsonl"
    write_items(path, [ITEM, ITEM])
    assert [asdict(item) for item in read_items(path)] == json.loads(json.dumps([asdict(ITEM)] * 2))
    assert read_items(path)[0].key == ("dogs", "proofreading", "a.png", ("a red dog", "a blue dog"))
    assert [file.name for file in path.parent.iterdir()] == ["items.jsonl"]


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"group": "x", "picture": "y", "asked": [], "words": [{}]}'])
def test_what_is_no_item_is_named(line, tmp_path):
    path = tmp_path / "items.jsonl"
    write_items(path, [ITEM])
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(DataError, match=r"items\.jsonl, line 2 is no item"):
        read_items(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_items(tmp_path / "none.jsonl")


def world(tmp_path, *, right):
    """Rows about colours, a share of them with the wrong caption for the right one."""

    def other(at):
        return COLOURS[(at + 1) % len(COLOURS)]

    rows = []
    for at, colour in enumerate(COLOURS):
        captions = (colour, other(at)) if at < right else (other(at), colour)
        rows.append([f"{colour}.png", *(f"a {name} square" for name in captions), f"{other(at)}.png"])
    diff = [{"pos_words": [1, 2], "neg_words": [1, 2]}]
    content = {
        "retrieval": [{"image": image, "captions": [text, text + " there"]} for image, text, _, _ in rows],
        "hard_negatives": [
            {"image": image, "caption": text, "negative_caption": wrong, "type": f"kind {at % 2}", "diff": diff}
            for at, (image, text, wrong, _) in enumerate(rows)
        ],
        "grounding": [
            {"image": image, "phrase": text, "boxes": [[at % 4 / 4, at % 4 / 4, at % 4 / 4 + 0.25, at % 4 / 4 + 0.25]]}
            for at, (image, text, _, _) in enumerate(rows)
        ],
        "image_pairs": [
            {"image": image, "negative_image": beside, "caption": text, "negative_caption": wrong, "type": "x"}
            for image, text, wrong, beside in rows
        ],
        "judgements": [{"image": image, "caption": text, "scores": [4, 3]} for image, text, _, _ in rows],
        "statements": [{"image": image, "caption": text, "label": 1} for image, text, _, _ in rows],
    }
    return {name: write_lines(tmp_path / f"{name}.jsonl", lines) for name, lines in content.items()}


def test_items_give_the_numbers_again(images, tmp_path):
    items = []
    result = evaluate(fake_encoder(), images=images, **world(tmp_path, right=4), on_items=items.extend)
    (sample,) = samples_of([items])
    numbers = sample.numbers(np.ones(sample.hits.shape[1]))
    numbers = {name: None if np.isnan(value) else value for name, value in numbers.items()}
    compared = 0
    for way in ("text_to_image", "image_to_text"):
        for name in ("r@1", "r@5", "r@10"):
            assert numbers[f"{way}.{name}"] == pytest.approx(result["retrieval"][way][name])
        ranks = [item.scores["rank"] for item in items if item.group == way]
        assert np.median(ranks) == result["retrieval"][way]["median_rank"]
    for group in ("hard_negatives", "proofreading", "grounding", "image_pairs", "statements"):
        for name, value in result[group].items():
            if f"{group}.{name}" in numbers:
                assert numbers[f"{group}.{name}"] == pytest.approx(value), (group, name)
                compared += 1
        for kind, of_kind in result[group].get("by_type", {}).items() if group != "proofreading" else ():
            assert numbers[f"{group}.accuracy[{kind}]"] == pytest.approx(of_kind["accuracy"])
    assert compared > 20
    assert 0 < result["hard_negatives"]["accuracy"] < 1
    assert sum(item.group == "judgements" for item in items) == len(COLOURS)


def test_a_suite_says_which_run_an_item_is_of(images, tmp_path):
    files = world(tmp_path, right=5)
    path = tmp_path / "elsewhere" / "suite.toml"
    path.parent.mkdir()
    path.write_text(
        f'images = "{images.name}"\n[[run]]\nname = "one"\nstatements = "{files["statements"].name}"\n'
        f'[[run]]\nname = "two"\nhard_negatives = "{files["hard_negatives"].name}"\n'
    )
    items = []
    evaluate_suite(fake_encoder(), load(path, data=tmp_path), on_items=items.extend)
    assert {(item.run, item.group) for item in items} == {
        ("one", "statements"),
        ("two", "hard_negatives"),
        ("two", "proofreading"),
    }


def test_rows_that_people_do_not_agree_on_take_no_part(images, tmp_path):
    row = {"image": "red.png", "caption": "red", "negative_caption": "blue", "type": "x"}
    path = write_lines(tmp_path / "h.jsonl", [row, {**row, "valid": False}, {**row, "valid": True}])
    assert evaluate(fake_encoder(), images=images, hard_negatives=path)["hard_negatives"]["count"] == 2
    write_lines(path, [{**row, "valid": False}])
    with pytest.raises(DataError, match="not valid"):
        evaluate(fake_encoder(), images=images, hard_negatives=path)
