"""NAS's recipes: complete, comparable with the baseline, exact when resumed, and ready for captions from files."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

import scenes
from tests.unit.training.test_vilem_recipes import QUICK, photos
from training.data.scene_pairs import ScenePairsConfig
from training.data.wrong_words import WrongWordsConfig
from training.model import VisualDictionaryConfig
from training.objectives import ComposedObjective, NasConfig
from training.recipes import baseline, nas
from training.serialise import from_json, to_json
from training.train import load_recipe
from training.trainer import Trainer

ROWS = ("ablation", "ablation_nta", "ablation_vd", "ablation_vd_nva", "ablation_quantised")
NAMES = ("tiny", "small", "base", *ROWS)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_names_itself_and_survives_a_checkpoint(name: str):
    config = load_recipe(f"training.recipes.nas:{name}")
    assert config.recipe == f"training.recipes.nas:{name}"
    assert from_json(json.loads(json.dumps(to_json(config)))) == config


@pytest.mark.parametrize("name", [name for name in NAMES if name != "base"])
def test_objectives_can_be_built(name: str):
    config = load_recipe(f"training.recipes.nas:{name}")
    model = config.model.build(config.data.tokenizer(None).get_vocab_size())
    ComposedObjective(config.objectives, model)
    assert (model.visual_dictionary is not None) == (name != "ablation_nta")


@pytest.mark.parametrize("name", ROWS)
def test_a_row_differs_from_the_baseline_in_nas_alone(name: str):
    row, plain = load_recipe(f"training.recipes.nas:{name}"), baseline.ablation()
    assert isinstance(row.data, ScenePairsConfig)
    without = dataclasses.replace(
        row,
        recipe=plain.recipe,
        model=dataclasses.replace(row.model, visual_dictionary=None),
        data=dataclasses.replace(row.data, edited_share=0.0, edits_of_each=1),
        objectives=tuple(term for term in row.objectives if term.name != "nas"),
    )
    assert without == plain


def test_rows_are_what_their_names_say():
    def settings(name: str) -> tuple[NasConfig | None, float, VisualDictionaryConfig | None]:
        config = load_recipe(f"training.recipes.nas:{name}")
        assert isinstance(config.data, ScenePairsConfig)
        found = [term.objective for term in config.objectives if isinstance(term.objective, NasConfig)]
        return next(iter(found), None), config.data.edited_share, config.model.visual_dictionary

    whole, edited, dictionary = settings("ablation")
    assert whole is not None
    assert (whole.text, whole.visual, edited) == (1.0, 1.0, 32 / 96)
    texts, edited, none = settings("ablation_nta")
    assert texts is not None
    assert (texts.text, texts.visual, edited, none) == (1.0, 0.0, 32 / 96, None)
    assert settings("ablation_vd") == (None, 0.0, dictionary)
    pictures, edited, same = settings("ablation_vd_nva")
    assert pictures is not None
    assert (pictures.text, pictures.visual, edited, same) == (0.0, 1.0, 0.0, dictionary)
    assert pictures.augmentation == whole.augmentation
    quantised, _, _ = settings("ablation_quantised")
    assert quantised is not None
    assert not quantised.augmentation.is_residual
    assert quantised.augmentation.quantised_positives


def test_edited_captions_of_training_are_of_the_trained_kinds_alone():
    data = nas.ablation().data
    source = data.open(None, tokenizer=data.tokenizer(None), batch_size=96, seed=0)
    batch = source[0]
    assert batch.edits is not None
    assert batch.edits.rows.tolist() == [row for row in range(32) for _ in range(4)]
    unseen = {"plain", "striped", "dotted", "checked"} & set(scenes.vocabulary(scenes.world_named("small")))
    piece = source.text_transform.tokenizer.id_to_token
    for row, ids in zip(batch.edits.rows.tolist(), batch.edits.ids, strict=True):
        said, right = ([piece(int(word)) for word in of if int(word)] for of in (ids, batch.ids[row]))
        assert said != right
        assert sorted(unseen & set(said)) == sorted(unseen & set(right))


def test_a_run_goes_on_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Dictionary, curriculum, average and random draws, over captions from files and their wrong words."""
    monkeypatch.chdir(tmp_path)
    data = dataclasses.replace(photos(tmp_path), wrong_words=WrongWordsConfig(share=0.9, guesser=QUICK))
    row = nas.ablation()
    dictionary = VisualDictionaryConfig(size=24, start_step=1)
    config = dataclasses.replace(
        row,
        data=data,
        model=dataclasses.replace(row.model, visual_dictionary=dictionary),
        objectives=tuple(dataclasses.replace(term, start_step=0) for term in row.objectives),
        batch_size=8,
        num_steps=5,
        num_workers=0,
        checkpoint_every=1,
        precision="fp32",
    )

    def trainer(folder: str) -> Trainer:
        source = data.open(tmp_path, tokenizer=data.tokenizer(tmp_path), batch_size=8, seed=0)
        return Trainer(config, source, tmp_path / folder)

    whole = trainer("whole")
    reports: list[dict[str, float]] = []
    whole.config = dataclasses.replace(config, report_every=1)
    whole.run(report=lambda report: reports.append(dict(report.report)))
    assert "nas/pictures_right" in reports[-1]
    assert reports[-1]["dictionary/perplexity"] > 0.3 * 24
    first = trainer("parts")
    checkpoint = first.run(max_steps=3)
    second = trainer("parts")
    second.restore(checkpoint)
    second.run()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(second.model.state_dict()[name], value), name
    assert whole.average is not None
    assert second.average is not None
    for name, value in whole.average.weights.items():
        assert torch.equal(second.average.weights[name], value), name
    assert [term.objective for term in config.objectives if term.name == "nas"]
    steps = [of.num_steps for _, of in second.objective.terms if hasattr(of, "num_steps")]
    assert steps == [of.num_steps for _, of in whole.objective.terms if hasattr(of, "num_steps")]
    assert steps[0] > 0
