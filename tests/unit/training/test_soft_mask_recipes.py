"""SoftMask++'s recipes: complete, and rows that differ from the baseline in what they say."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from training.data.augmentation import NOTHING, PICTURES
from training.objectives import ComposedObjective, ItcConfig, SoftMaskConfig
from training.recipes import baseline, soft_mask
from training.serialise import from_json, to_json
from training.start import going_on
from training.train import data_of, load_recipe
from training.trainer import Trainer

ROWS = ("ablation", "ablation_mask", "ablation_blob", "ablation_focal", "ablation_augmented")


@pytest.mark.parametrize("name", ["tiny", "small", "base", *ROWS])
def test_a_recipe_names_itself_and_survives_a_checkpoint(name: str) -> None:
    config = load_recipe(f"training.recipes.soft_mask:{name}")
    assert config.recipe == f"training.recipes.soft_mask:{name}"
    assert from_json(json.loads(json.dumps(to_json(config)))) == config
    if name != "base":
        model = config.model.build(config.data.tokenizer(None).get_vocab_size())
        ComposedObjective(config.objectives, model)


@pytest.mark.parametrize("name", ROWS)
def test_a_row_without_what_it_says_is_the_baseline(name: str) -> None:
    row, plain = load_recipe(f"training.recipes.soft_mask:{name}"), baseline.ablation()
    terms = [term for term in row.objectives if term.name != "soft_mask"]
    without = dataclasses.replace(
        row,
        recipe=plain.recipe,
        data=dataclasses.replace(row.data, augmentation=NOTHING),
        objectives=tuple(
            dataclasses.replace(term, objective=dataclasses.replace(term.objective, focal_gamma=0.0))
            if isinstance(term.objective, ItcConfig)
            else term
            for term in terms
        ),
    )
    assert without == plain


def test_rows_differ_in_one_thing() -> None:
    whole = soft_mask.ablation()
    shapes = {
        name: [term.objective.shape for term in row.objectives if isinstance(term.objective, SoftMaskConfig)]
        for name in ROWS
        for row in [load_recipe(f"training.recipes.soft_mask:{name}")]
    }
    assert shapes == {
        "ablation": ["word"],
        "ablation_mask": ["word"],
        "ablation_blob": ["blob"],
        "ablation_focal": ["word"],
        "ablation_augmented": [],
    }
    assert soft_mask.ablation_mask().data == baseline.ablation().data
    assert (
        soft_mask.ablation_augmented().data == soft_mask.ablation_blob().data == whole.data != baseline.ablation().data
    )
    assert soft_mask.ablation_augmented().objectives == baseline.ablation().objectives


def test_masks_wait_for_matching(tmp_path: Path) -> None:
    """Longer than matching from nothing; a little where the run goes on from a model that matches."""
    config = soft_mask.tiny()
    start = {term.name: term.start_step for term in config.objectives}
    assert start["soft_mask"] == start["itm"] + 600
    plain = dataclasses.replace(baseline.ablation(), num_steps=1, batch_size=4, num_workers=0, ema_decay=None)
    source = plain.data.open(None, tokenizer=plain.data.tokenizer(None), batch_size=4, seed=0)
    trainer = Trainer(plain, source, tmp_path)
    going = going_on(soft_mask.ablation(), trainer.save())
    assert {term.name: term.start_step for term in going.objectives} == {"itc": 0, "mlm": 0, "itm": 0, "soft_mask": 30}


def test_captions_from_files_are_distorted_and_hidden_too(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "a.png")
    (tmp_path / "captions.jsonl").write_text(json.dumps({"image": "a.png", "captions": ["a dog"]}) + "\n")
    found = data_of(soft_mask.ablation(), str(tmp_path))
    assert found.augmentation == dataclasses.replace(PICTURES, masked_share=0.15)  # type: ignore[attr-defined]
    assert data_of(baseline.ablation(), str(tmp_path)).augmentation == PICTURES  # type: ignore[attr-defined]


def test_a_few_steps_of_everything(tmp_path: Path) -> None:
    """Every loss is finite, all weights move, and a run that is resumed has the losses that would have come."""
    config = soft_mask.ablation()
    config = dataclasses.replace(
        config,
        batch_size=8,
        num_steps=4,
        num_workers=0,
        objectives=tuple(dataclasses.replace(term, start_step=0) for term in config.objectives),
    )
    source = config.data.open(None, tokenizer=config.data.tokenizer(None), batch_size=8, seed=0)
    trainer = Trainer(config, source, tmp_path)
    trainer.run(max_steps=2)
    checkpoint = trainer.save()
    straight = [trainer.train_step(source[step])[0] for step in (2, 3)]
    assert set(straight[0].parts) == {"itc", "mlm", "itm", "soft_mask"}
    again = Trainer(config, source, tmp_path / "again")
    again.restore(checkpoint)
    for step, output in zip((2, 3), straight, strict=True):
        resumed = again.train_step(source[step])[0]
        for name, loss in output.parts.items():
            assert torch.equal(loss, resumed.parts[name]), name
    assert straight[0].report["soft_mask/taken"] > 0
