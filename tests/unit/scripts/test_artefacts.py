"""The artefact check: shares by hand of models whose scores are known, with and without a dictionary of their own."""

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from runtime.errors import UsageError
from scripts.artefacts import measure
from tests.numerics.small import MODEL, small_config
from tests.unit.training.test_trainer import trainer_of
from training.checkpoint import MODEL as WEIGHTS
from training.model import VisualDictionaryConfig
from training.objectives import ItcConfig, WeightedObjective

KINDS = ("redrawn", "synthesised_residual", "synthesised_literal")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    dictionary = VisualDictionaryConfig(size=12, start_step=1)
    config = small_config(num_steps=1, model=dataclasses.replace(MODEL, visual_dictionary=dictionary))
    return trainer_of(config, tmp_path_factory.mktemp("run")).run()


def test_every_kind_is_measured_under_both_captions(checkpoint: Path):
    found = measure(checkpoint, count=6, split="val")
    assert sorted(found) == sorted([*KINDS, *(f"{kind}_another_caption" for kind in KINDS)])
    assert all(0.0 <= share <= 1.0 for share in found.values())
    assert found == measure(checkpoint, count=6, split="val")


def test_a_model_that_scores_everything_alike_finds_nothing_above(checkpoint: Path):
    weights = load_file(checkpoint / WEIGHTS)
    for name in ("match_head.score.2.weight", "match_head.score.2.bias"):
        weights[name] = torch.zeros_like(weights[name])
    save_file(weights, checkpoint / WEIGHTS)
    assert set(measure(checkpoint, count=4, split="val").values()) == {0.0}


def test_a_model_without_a_dictionary_gets_one(tmp_path: Path):
    found = measure(trainer_of(small_config(num_steps=1), tmp_path).run(), count=20, split="val")
    assert set(KINDS) <= set(found)


def test_a_model_without_fusion_is_refused(tmp_path: Path):
    contrast = (WeightedObjective(name="itc", objective=ItcConfig()),)
    config = small_config(num_steps=1, model=dataclasses.replace(MODEL, fusion=None), objectives=contrast)
    with pytest.raises(UsageError, match="no model of drawn scenes"):
        measure(trainer_of(config, tmp_path).run(), count=4, split="val")
