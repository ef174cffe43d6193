"""Checkpoints: whole or absent, the newest few, and refused with a message when they cannot be meant."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.numerics.small import small_config
from tests.unit.training.test_trainer import trainer_of
from training import checkpoint
from training.checkpoint import list_checkpoints, load_trained, newest_checkpoint, read_progress
from training.errors import TrainingError


def test_only_the_newest_few_are_kept(tmp_path: Path):
    trainer = trainer_of(small_config(checkpoint_every=1, keep_checkpoints=2), tmp_path)
    trainer.run(max_steps=4)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-0000003", "step-0000004"]
    assert newest_checkpoint(tmp_path).name == "step-0000004"


def test_a_crash_while_writing_leaves_the_older_one_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    trainer = trainer_of(small_config(), tmp_path)
    trainer.run(max_steps=2)
    before = {file.name: file.read_bytes() for file in newest_checkpoint(tmp_path).iterdir()}

    def full_disk(tensors: object, file: Path) -> None:
        file.write_bytes(b"half")
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", full_disk)
        with pytest.raises(OSError, match="no space"):
            trainer.run(max_steps=2)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-0000002"]
    assert {file.name: file.read_bytes() for file in newest_checkpoint(tmp_path).iterdir()} == before
    # what was left over is cleared by the next checkpoint
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2
    trainer.save()
    assert [path.name for path in sorted((tmp_path / "checkpoints").iterdir())] == ["step-0000002", "step-0000004"]


def test_the_average_is_what_is_loaded(tmp_path: Path):
    trainer = trainer_of(small_config(ema_decay=0.9), tmp_path)
    saved = trainer.run(max_steps=2)
    trained = load_trained(saved)
    assert trained.weights.name == "average.safetensors"
    average = load_file(saved / "average.safetensors")
    assert all(torch.equal(value, average[name]) for name, value in trained.model.state_dict().items())
    assert not trained.model.training
    plain = load_file(saved / "model.safetensors")
    assert any(not torch.equal(value, average[name]) for name, value in plain.items())


def test_loading_draws_nothing_from_the_global_generator(tmp_path: Path):
    saved = trainer_of(small_config(), tmp_path).run(max_steps=2)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load_trained(saved)
    assert torch.equal(torch.rand(3), expected)


def test_what_is_no_checkpoint_is_refused(tmp_path: Path):
    with pytest.raises(TrainingError, match=r"config.json is missing") as caught:
        load_trained(tmp_path)
    assert caught.value.code == "checkpoint_missing"


def test_weights_of_another_model_are_refused(tmp_path: Path):
    saved = trainer_of(small_config(), tmp_path).run(max_steps=2)
    weights = load_file(saved / "model.safetensors")
    weights.pop("temperature_logit")
    save_file(weights, saved / "model.safetensors")
    with pytest.raises(TrainingError, match="temperature_logit") as caught:
        load_trained(saved)
    assert caught.value.code == "checkpoint_mismatch"


def test_a_newer_format_is_refused(tmp_path: Path):
    saved = trainer_of(small_config(), tmp_path).run(max_steps=2)
    state = json.loads((saved / "state.json").read_text())
    (saved / "state.json").write_text(json.dumps(state | {"format": 99}))
    with pytest.raises(TrainingError, match="format 99"):
        read_progress(saved)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "state.json"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str):
    saved = trainer_of(small_config(), tmp_path).run(max_steps=2)
    (saved / name).write_bytes((saved / name).read_bytes()[:-40])
    with pytest.raises(TrainingError, match=rf"{name} is damaged .*remove .*{saved.name} to go on") as caught:
        load_trained(saved)
    assert caught.value.code == "checkpoint_damaged"
