"""Starting from trained weights: what two recipes share is taken over, the rest begins anew, and nothing is silent."""

import dataclasses
import logging
from pathlib import Path

import pytest
import torch
from rich.console import Console

from runtime.errors import DataError
from tests.numerics.small import small_config
from training import train
from training.checkpoint import load_trained, newest_checkpoint, read_config
from training.errors import TrainingError
from training.model.proof_reader import ProofReaderConfig
from training.start import going_on, take_weights


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(train, "load_recipe", lambda *_: small_config(num_steps=2))
    return trained(tmp_path / "start")


def trained(workdir: Path, **arguments) -> Path:
    return train.run("tests", workdir=workdir, console=Console(quiet=True), **arguments)


def test_common_weights_are_the_starts_and_new_ones_are_fresh_and_named(start, caplog):
    config = small_config()
    model = dataclasses.replace(config.model, proof_reader=ProofReaderConfig()).build(
        load_trained(start).tokenizer.get_vocab_size()
    )
    fresh = {name: value.clone() for name, value in model.state_dict().items()}
    with caplog.at_level(logging.WARNING):
        take_weights(model, start)
    theirs = load_trained(start).model.state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(value, theirs[name] if name in theirs else fresh[name]), name
    assert any(not torch.equal(theirs[name], fresh[name]) for name in theirs)
    assert "begin anew (proof_reader" in caplog.text


def test_objectives_that_were_trained_before_do_not_wait_again(start):
    assert {term.name: term.start_step for term in going_on(small_config(), start).objectives} == {
        "itc": 0,
        "itm": 0,
        "mlm": 0,
    }
    itc, itm, mlm = small_config().objectives
    new = dataclasses.replace(mlm, name="other")
    assert going_on(small_config(objectives=(itc, itm, new)), start).objectives[2].start_step == 1


def test_a_run_goes_on_from_the_weights_and_resumes_without_reading_them_again(start, tmp_path):
    workdir = tmp_path / "on"
    trained(workdir, start_from=start, max_steps=1)
    assert read_config(newest_checkpoint(workdir)).start_from == str(start)
    model = newest_checkpoint(workdir)
    distance = sum(
        float((value - load_trained(start).model.state_dict()[name]).norm())
        for name, value in load_trained(model).model.state_dict().items()
    )
    assert 0 < distance < 10  # one small step away, where another seed's weights would be far
    (start / "model.safetensors").unlink()
    assert trained(workdir, start_from=start, resume=True).name == "step-0000002"


def test_weights_of_another_shape_are_refused_by_name(start):
    model = dataclasses.replace(small_config().model, dim=64).build(load_trained(start).tokenizer.get_vocab_size())
    with pytest.raises(DataError, match=r"projection.* is \(\d+.*leave --start-from out"):
        take_weights(model, start)


def test_a_start_that_is_none_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "load_recipe", lambda *_: small_config())
    with pytest.raises(TrainingError, match="is no checkpoint"):
        trained(tmp_path / "on", start_from=tmp_path)
