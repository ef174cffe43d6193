"""LOUPE's recipes: complete, comparable with their baseline, trained on scenes and on files, without a box."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from runtime.preprocess.text import TextTransform
from tests.numerics.small import MODEL, small_config, small_tokenizer
from tests.unit.training.test_trainer import trainer_of
from training.config import TrainConfig
from training.data.jsonl_pairs import JsonlPairsConfig
from training.data.phrases import PhrasesConfig, phrases_of
from training.data.scene_pairs import ScenePairsConfig
from training.data.tokenizer import special_tokens
from training.model import RegionHeadConfig
from training.model.interaction_network import InteractionNetworkConfig
from training.objectives import ComposedObjective, ItcConfig, LoupeConfig, WeightedObjective
from training.recipes import baseline
from training.serialise import from_json, to_json
from training.train import load_recipe
from training.trainer import Trainer

ROWS = ("random", "tsa", "sampled", "interaction", "fixed")
NAMES = ("tiny", "small", "base", "ablation", *(f"ablation_{row}" for row in ROWS))
LOOKING = dataclasses.replace(
    MODEL,
    region_head=RegionHeadConfig(regions=5, hidden=8),
    interaction_network=InteractionNetworkConfig(hidden=8),
)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_names_itself_and_survives_a_checkpoint(name: str):
    config = load_recipe(f"training.recipes.loupe:{name}")
    assert config.recipe == f"training.recipes.loupe:{name}"
    assert from_json(json.loads(json.dumps(to_json(config)))) == config


@pytest.mark.parametrize("name", [name for name in NAMES if name != "base"])
def test_objectives_can_be_built(name: str):
    config = load_recipe(f"training.recipes.loupe:{name}")
    model = config.model.build(config.data.tokenizer(None).get_vocab_size())
    assert model.region_head is not None
    terms = ComposedObjective(config.objectives, model).terms
    assert any(isinstance(term.objective, LoupeConfig) for term, _ in terms)


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("ablation")])
def test_a_row_differs_from_its_baseline_in_loupe_alone(name: str):
    row = load_recipe(f"training.recipes.loupe:{name}")
    plain = baseline.ablation()
    without = dataclasses.replace(
        row,
        recipe=plain.recipe,
        model=dataclasses.replace(row.model, region_head=None, interaction_network=None),
        data=dataclasses.replace(row.data, phrases=None),
        objectives=tuple(term for term in row.objectives if term.name != "loupe"),
    )
    assert without == plain


def test_rows_are_what_their_names_say():
    def settings(name: str) -> tuple[TrainConfig, LoupeConfig]:
        config = load_recipe(f"training.recipes.loupe:{name}")
        objective = config.objectives[-1].objective
        assert isinstance(objective, LoupeConfig)
        return config, objective

    assert settings("ablation_random")[1].random_interactions
    assert settings("ablation_tsa")[1].fsa == 0.0
    assert settings("ablation_sampled")[0].model.interaction_network is None
    assert settings("ablation_interaction")[1].token_game.credit == "interaction"
    head = settings("ablation_fixed")[0].model.region_head
    assert head is not None
    assert head.fixed_side is not None


def looking_config(data: ScenePairsConfig | JsonlPairsConfig, **changes: object) -> TrainConfig:
    loupe = LoupeConfig(semantic_images=4)
    terms = (
        WeightedObjective(name="itc", objective=ItcConfig()),
        WeightedObjective(name="loupe", objective=loupe),
    )
    return small_config(model=LOOKING, data=data, objectives=terms, num_steps=2, checkpoint_every=1, **changes)


def test_it_trains_on_drawn_scenes_and_goes_on_as_if_never_stopped(tmp_path: Path):
    data = ScenePairsConfig(size_px=32, max_subwords=32, phrases=PhrasesConfig())
    config = dataclasses.replace(looking_config(data), keep_checkpoints=2)
    whole = trainer_of(config, tmp_path / "whole")
    whole.run()
    first = trainer_of(config, tmp_path / "parts")
    checkpoint = first.run(max_steps=1)
    second = trainer_of(config, tmp_path / "parts")
    second.restore(checkpoint)
    second.run()
    for (name, ours), theirs in zip(whole.model.state_dict().items(), second.model.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, msg=name)


def test_it_trains_on_files(tmp_path: Path):
    (tmp_path / "images").mkdir()
    lines = []
    for at in range(8):
        Image.new("RGB", (40, 40), (at * 30, 20, 20)).save(tmp_path / "images" / f"{at}.png")
        lines.append(json.dumps({"image": f"{at}.png", "captions": [f"a red cup beside the blue star number {at}"]}))
    (tmp_path / "captions.jsonl").write_text("\n".join(lines))
    data = JsonlPairsConfig(size_px=32, max_subwords=32, vocab_size=60, phrases=PhrasesConfig())
    config = looking_config(data, batch_size=4)
    source = config.data.open(tmp_path, tokenizer=config.data.tokenizer(tmp_path), batch_size=4, seed=0)
    assert Trainer(config, source, tmp_path / "run").run(max_steps=1).is_dir()


def words_of(transform: TextTransform, ids: torch.Tensor) -> list[str]:
    special = set(special_tokens(transform.tokenizer).all)
    return [" ".join(transform.piece(int(word)) for word in row if int(word) not in special) for row in ids]


def test_phrases_are_those_that_are_found_when_texts_are_served():
    transform = TextTransform(small_tokenizer(), max_subwords=32)
    captions = ("a red circle", "a blue star above a circle", "above", "two green stars")
    always = PhrasesConfig(article_share=1.0)
    found = phrases_of(captions, always, transform, seeds=[(row,) for row in range(4)])
    assert found is not None
    assert words_of(transform, found.ids) == ["a red circle", "a blue star", "a circle", "two green stars"]
    assert found.rows.tolist() == [0, 1, 1, 3]
    bare = phrases_of(captions, PhrasesConfig(article_share=0.0), transform, seeds=[(row,) for row in range(4)])
    assert bare is not None
    assert words_of(transform, bare.ids)[0] == "red circle"
    assert bare.keys.tolist() == found.keys.tolist(), "an article makes no other phrase"


def test_of_many_phrases_some_are_drawn_and_the_same_seed_draws_the_same():
    transform = TextTransform(small_tokenizer(), max_subwords=32)
    captions = ("a red circle, a blue star, a green star, a circle and two stars",)

    def drawn(seed: int) -> list[list[int]]:
        found = phrases_of(captions, PhrasesConfig(most=2), transform, seeds=[(seed,)])
        assert found is not None
        return found.ids.tolist()

    assert len(drawn(0)) == 2
    assert drawn(0) == drawn(0)
    assert len({str(drawn(seed)) for seed in range(20)}) > 3


def test_captions_without_a_phrase_give_none():
    transform = TextTransform(small_tokenizer(), max_subwords=32)
    assert phrases_of(("above",), PhrasesConfig(), transform, seeds=[(0,)]) is None
