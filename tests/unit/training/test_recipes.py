"""The baseline's recipes: complete, of the size they say, and ready for what scenes say."""

import json

import pytest

import scenes
from training.config import TrainConfig
from training.data.tokenizer import word_tokenizer
from training.objectives import ComposedObjective
from training.recipes import baseline
from training.serialise import from_json, to_json
from training.train import load_recipe


@pytest.mark.parametrize("name", ["tiny", "small", "base", "ablation", "ablation_itc"])
def test_a_recipe_names_itself_and_survives_a_checkpoint(name: str):
    config = load_recipe(f"training.recipes.baseline:{name}")
    assert config.recipe == f"training.recipes.baseline:{name}"
    assert from_json(json.loads(json.dumps(to_json(config)))) == config
    assert f"training.recipes.baseline:{name}" in getattr(baseline, name).__doc__


@pytest.mark.parametrize(
    ("name", "patches", "millions"), [("tiny", 64, 2.4), ("small", 256, 6.6), ("ablation", 64, 0.9)]
)
def test_sizes(name: str, patches: int, millions: float):
    config = load_recipe(f"training.recipes.baseline:{name}")
    model = config.model.build(config.data.tokenizer(None).get_vocab_size())
    rows, columns = model.image_encoder.grid
    assert rows * columns == patches
    assert sum(weight.numel() for weight in model.parameters()) / 1e6 == pytest.approx(millions, rel=0.1)
    ComposedObjective(config.objectives, model, num_steps=config.num_steps)


@pytest.mark.parametrize("config", [baseline.small(), baseline.base()])
def test_queues_hold_whole_steps(config: TrainConfig):
    sizes = [getattr(term.objective, "queue_size", 0) for term in config.objectives]
    assert max(sizes) > 0
    assert all(size % config.batch_size == 0 for size in sizes)


def test_small_is_not_too_short_for_its_momentum(caplog: pytest.LogCaptureFixture):
    config = baseline.small()
    ComposedObjective(config.objectives, config.model.build(400), num_steps=config.num_steps)
    assert not caplog.records


def test_no_caption_is_cut():
    config = baseline.tiny()
    tokenizer = word_tokenizer(scenes.vocabulary(scenes.WORLD))
    drawn = [scenes.generate(5, index, size_px=32) for index in range(400)]
    longest = max(len(tokenizer.encode(scene.caption).ids) for scene in drawn)
    assert longest + 6 <= config.data.max_subwords


def test_ablations_differ_in_their_objectives_alone():
    whole, contrast = baseline.ablation(), baseline.ablation_itc()
    assert [term.name for term in contrast.objectives] == ["itc"]
    assert (whole.model, whole.data, whole.num_steps, whole.batch_size) == (
        contrast.model,
        contrast.data,
        contrast.num_steps,
        contrast.batch_size,
    )
