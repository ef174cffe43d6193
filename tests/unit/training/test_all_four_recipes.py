"""The recipes of all four papers together: complete, all of them learning, and comparable with all but one."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

import scenes
from tests.unit.training.test_vilem_recipes import QUICK
from training.data.scene_pairs import ScenePairsConfig
from training.objectives import ComposedObjective
from training.recipes import all_four, baseline
from training.serialise import from_json, to_json
from training.start import going_on, take_weights
from training.train import load_recipe
from training.trainer import Trainer

LEFT_OUT = tuple(f"ablation_without_{paper}" for paper in all_four.PAPERS)
NAMES = ("tiny", "ablation", *LEFT_OUT)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_names_itself_survives_a_checkpoint_and_can_be_built(name: str):
    config = load_recipe(f"training.recipes.all_four:{name}")
    assert config.recipe == f"training.recipes.all_four:{name}"
    assert from_json(json.loads(json.dumps(to_json(config)))) == config
    model = config.model.build(config.data.tokenizer(None).get_vocab_size())
    terms = {term.name for term, _ in ComposedObjective(config.objectives, model).terms}
    without = name.removeprefix("ablation_without_")
    assert terms == {"itc", "mlm", "itm", *all_four.PAPERS} - {without}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_is_left_out_leaves_no_trace_and_nothing_else_changes(name: str):
    whole, row = all_four.ablation(), load_recipe(f"training.recipes.all_four:{name}")
    parts = {
        "vilem": ({"proof_reader"}, {"wrong_words"}),
        "soft_mask": (set(), set()),
        "loupe": ({"region_head", "interaction_network"}, {"phrases"}),
        "nas": ({"visual_dictionary"}, set()),
    }
    without = name.removeprefix("ablation_without_")
    of_model, of_data = parts[without]
    assert row == dataclasses.replace(
        whole,
        recipe=row.recipe,
        model=dataclasses.replace(whole.model, **dict.fromkeys(of_model)),
        data=dataclasses.replace(whole.data, **dict.fromkeys(of_data)),
        objectives=tuple(term for term in whole.objectives if term.name != without),
    )


def small() -> ScenePairsConfig:
    data = all_four.tiny().data
    assert isinstance(data, ScenePairsConfig)
    assert data.wrong_words is not None
    return dataclasses.replace(data, wrong_words=dataclasses.replace(data.wrong_words, guesser=QUICK))


def test_every_objective_learns_from_a_baseline_and_an_interrupted_run_ends_as_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    start = dataclasses.replace(baseline.tiny(), batch_size=8, num_workers=0, num_steps=1, validate_every=None)
    tokenizer = start.data.tokenizer(None)
    first = Trainer(start, start.data.open(None, tokenizer=tokenizer, batch_size=8, seed=0), tmp_path / "start").run()
    config = dataclasses.replace(
        all_four.tiny(), data=small(), batch_size=8, num_workers=0, num_steps=4, validate_every=None, ema_decay=0.5
    )
    dictionary = config.model.visual_dictionary
    assert dictionary is not None
    few = dataclasses.replace(config.model, visual_dictionary=dataclasses.replace(dictionary, size=8, start_step=1))
    config = going_on(dataclasses.replace(config, model=few), first)
    assert max(term.start_step for term in config.objectives) < 100, "matching was trained: nothing waits for it"
    config = dataclasses.replace(
        config, objectives=tuple(dataclasses.replace(term, start_step=0) for term in config.objectives)
    )

    def trainer(where: str) -> Trainer:
        source = config.data.open(None, tokenizer=tokenizer, batch_size=8, seed=0)
        made = Trainer(config, source, tmp_path / where)
        take_weights(made.model, first)
        return made

    whole = trainer("whole")
    seen: list[dict[str, float]] = []
    whole.run(report=lambda report: seen.append(dict(report.parts)))
    assert set(seen[-1]) == {"itc", "mlm", "itm", *all_four.PAPERS}
    moved = {name.split(".")[0] for name, weight in whole.model.named_parameters() if weight.grad is not None}
    assert moved >= {"proof_reader", "region_head", "interaction_network", "fusion_encoder", "image_encoder"}
    halted = trainer("halted")
    checkpoint = halted.run(max_steps=2)
    again = trainer("halted")
    again.restore(checkpoint)
    again.run()
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, again.model.state_dict()[name]), name


def test_twins_differ_in_one_thing_and_come_first():
    data = dataclasses.replace(small(), wrong_words=None, phrases=None, twin_share=0.5, short_share=0.0)
    source = data.open(None, tokenizer=data.tokenizer(None), batch_size=16, seed=3)
    batch = source[2]
    assert torch.equal(batch.pixels, source[2].pixels)
    drawn = [scenes.generate(3, 32 + row, size_px=96).caption for row in range(16)]
    assert [batch.texts[row] == drawn[row] for row in range(16)] == [True, False] * 4 + [True] * 8
    for row in range(0, 8, 2):
        before, after = (batch.texts[row + at].split() for at in (0, 1))
        assert sum(x != y for x, y in zip(before, after, strict=False)) in range(1, 7), (before, after)
        assert not torch.equal(batch.pixels[row], batch.pixels[row + 1])


def test_queries_for_a_kind_are_true_of_every_picture_that_shows_it():
    data = dataclasses.replace(small(), wrong_words=None, phrases=None, twin_share=0.0, kind_share=1.0, short_share=0.5)
    source = data.open(None, tokenizer=data.tokenizer(None), batch_size=16, seed=1)
    batch = source[0]
    drawn = [scenes.generate(1, at, size_px=96) for at in range(16)]
    assert batch.true_of is not None
    assert not batch.true_of[:8].any()
    for row in range(8, 16):
        said = batch.texts[row].split()[-1]
        (kind,) = (
            kind
            for kind, words in scenes.WORLD.kinds.items()
            if said in words or said in [scenes.WORLD.plurals[word] for word in words]
        )
        has = [any(thing.kind == kind for thing in scene.objects) for scene in drawn]
        assert has[row]
        assert all(batch.true_of[row, at] for at in range(16) if has[at])
        unlike = [not any(scenes.WORLD.are_alike(thing.kind, kind) for thing in scene.objects) for scene in drawn]
        assert not any(batch.true_of[row, at] for at in range(16) if unlike[at] and not has[at])
