"""Configs: to JSON and back, what is refused, and the recipes as they are promised."""

import json
from pathlib import Path

import pytest

from runtime.errors import DataError
from tests.numerics.small import small_config
from training.config import OptimizerConfig
from training.recipes import baseline
from training.schedule import learning_rate
from training.serialise import from_json, to_json

FROZEN = Path(__file__).parent / "tiny.json"


def test_configs_survive_json():
    for config in (small_config(ema_decay=0.99), baseline.tiny()):
        assert from_json(json.loads(json.dumps(to_json(config)))) == config


def test_the_tiny_recipe_is_frozen():
    """A change of the recipe is a decision: write the file anew and say so in the changelog."""
    assert to_json(baseline.tiny()) == json.loads(FROZEN.read_text())


def test_an_unknown_field_names_the_nearest():
    written = to_json(OptimizerConfig())
    written["learning_rat"] = 1.0
    with pytest.raises(DataError, match="Did you mean 'learning_rate'"):
        from_json(written)


@pytest.mark.parametrize("kind", ["os:path", "", "training.config", "training.nothing:X", "training.trainer:Trainer"])
def test_kinds_outside_training_are_refused(kind: str):
    with pytest.raises(DataError):
        from_json({"kind": kind})


def test_only_plain_values_can_be_written():
    with pytest.raises(TypeError, match="set"):
        to_json({1, 2})


def test_learning_rate_rises_then_falls():
    config = OptimizerConfig(learning_rate=1.0, final_learning_rate=0.1, warmup_steps=10)
    rates = [learning_rate(config, step=step, num_steps=110) for step in range(111)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == 1.0
    assert rates[60] == pytest.approx(0.55)
    assert rates[110] == pytest.approx(0.1)
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
