"""The loop: the same seed gives the same losses, a resumed run goes on as if it had never stopped, and NaN stops it."""

import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rich.console import Console

from runtime.errors import UsageError
from tests.numerics.small import small_config
from training import train
from training.config import TrainConfig
from training.errors import TrainingError
from training.objectives import WeightedObjective
from training.objectives.base import ObjectiveOutput
from training.trainer import StepReport, Trainer


def trainer_of(config: TrainConfig, workdir: Path) -> Trainer:
    tokenizer = config.data.tokenizer(None)
    source = config.data.open(None, tokenizer=tokenizer, batch_size=config.batch_size, seed=config.seed)
    return Trainer(config, source, workdir)


def losses_of(trainer: Trainer, **arguments: int) -> list[tuple[int, float, dict[str, float]]]:
    seen: list[tuple[int, float, dict[str, float]]] = []
    trainer.run(report=lambda report: seen.append((report.step, report.loss, dict(report.parts))), **arguments)
    return seen


def test_same_seed_same_losses_bit_for_bit(tmp_path: Path):
    config = small_config(num_steps=3)
    first = losses_of(trainer_of(config, tmp_path / "a"))
    second = losses_of(trainer_of(config, tmp_path / "b"))
    assert first == second
    other = losses_of(trainer_of(dataclasses.replace(config, seed=1), tmp_path / "c"))
    assert other != first


def test_resumed_run_has_the_losses_of_one_that_never_stopped(tmp_path: Path):
    config = small_config(ema_decay=0.9)
    whole_trainer = trainer_of(config, tmp_path / "whole")
    whole = losses_of(whole_trainer)
    losses_of(trainer_of(config, tmp_path / "cut"), max_steps=4)
    resumed = trainer_of(config, tmp_path / "cut")
    resumed.restore(tmp_path / "cut" / "checkpoints" / "step-0000004")
    assert losses_of(resumed) == whole[4:]
    assert resumed.average is not None
    assert whole_trainer.average is not None
    for name, value in whole_trainer.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name])
        assert torch.equal(whole_trainer.average.weights[name], resumed.average.weights[name])


def test_worker_processes_give_the_same_losses(tmp_path: Path):
    config = small_config(num_steps=2)
    alone = losses_of(trainer_of(config, tmp_path / "a"))
    with_worker = losses_of(trainer_of(dataclasses.replace(config, num_workers=1), tmp_path / "b"))
    assert alone == with_worker


def test_validation_leaves_no_trace(tmp_path: Path):
    config = small_config(num_steps=4)
    plain = losses_of(trainer_of(config, tmp_path / "a"))
    seen: list[StepReport] = []
    looked = trainer_of(dataclasses.replace(config, validate_every=2, validation_pairs=12), tmp_path / "b")
    looked.run(report=seen.append)
    assert [report.loss for report in seen] == [loss for _, loss, _ in plain]
    assert [report.validation is not None for report in seen] == [False, True, False, True]
    assert set(seen[-1].validation or {}) == {"r@1", "r@5"}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Breaks:
    """An objective whose loss is not a number."""

    def build(self, model: object) -> Callable[..., ObjectiveOutput]:
        return lambda model, batch, features: ObjectiveOutput(
            loss=features.image_embedding.sum() * float("nan"), report={}
        )


def test_a_loss_that_is_not_finite_stops_the_run_and_is_named(tmp_path: Path):
    config = small_config()
    breaking = WeightedObjective(name="breaks", objective=Breaks(), start_step=3)
    trainer = trainer_of(dataclasses.replace(config, objectives=(*config.objectives, breaking)), tmp_path)
    trainer.save = lambda: tmp_path  # type: ignore[method-assign]  # this test's own config cannot be written
    with pytest.raises(TrainingError, match=r"step 3: objective 'breaks' is nan") as caught:
        trainer.run()
    assert caught.value.code == "loss_not_finite"


def test_training_lowers_the_loss(tmp_path: Path):
    config = small_config(num_steps=40, checkpoint_every=40)
    config = dataclasses.replace(config, optimizer=dataclasses.replace(config.optimizer, learning_rate=3e-3))
    losses = [parts["mlm"] for _, _, parts in losses_of(trainer_of(config, tmp_path)) if "mlm" in parts]
    assert sum(losses[-5:]) < sum(losses[:5])


def tiny_recipe() -> TrainConfig:
    return small_config(recipe="tests.unit.training.test_trainer:tiny_recipe")


def other_recipe() -> TrainConfig:
    return small_config(num_steps=9)


RECIPE = f"{__name__}:tiny_recipe"


def test_the_entry_trains_resumes_and_refuses(tmp_path: Path):
    said = io.StringIO()
    console = Console(file=said, width=200)
    first = train.run(RECIPE, workdir=tmp_path, max_steps=4, console=console)
    assert first.name == "step-0000004"
    with pytest.raises(TrainingError, match="--resume") as used:
        train.run(RECIPE, workdir=tmp_path, console=console)
    assert used.value.code == "workdir_used"
    with pytest.raises(TrainingError, match="num_steps") as mismatch:
        train.run(f"{__name__}:other_recipe", workdir=tmp_path, resume=True, console=console)
    assert mismatch.value.code == "checkpoint_mismatch"
    last = train.run(RECIPE, workdir=tmp_path, resume=True, console=console)
    assert last.name == "step-0000006"
    assert train.run(RECIPE, workdir=tmp_path, resume=True, console=console) == last  # nothing is left to do
    lines = said.getvalue().splitlines()
    assert lines[0].startswith("step 1/4  loss ")
    assert "images/s" in lines[-1]
    assert lines[-1].startswith("step 6/6")
    with pytest.raises(TrainingError, match="no checkpoint"):
        train.run(RECIPE, workdir=tmp_path / "elsewhere", resume=True, console=console)


def test_a_terminal_shows_one_live_line(tmp_path: Path):
    said = io.StringIO()
    console = Console(file=said, width=200, force_terminal=True)
    train.run(RECIPE, workdir=tmp_path, max_steps=2, console=console)
    for part in ("training", "itc", "mlm", "images/s", "waiting", "left"):
        assert part in said.getvalue()


def test_a_quiet_run_says_nothing(tmp_path: Path):
    said = io.StringIO()
    train.run(RECIPE, workdir=tmp_path, max_steps=1, console=Console(file=said, quiet=True))
    assert said.getvalue() == ""


@pytest.mark.parametrize("name", ["training.recipes.nothing:x", "training.recipes.baseline:nothing", "x"])
def test_unknown_recipes_are_refused(name: str):
    with pytest.raises(UsageError, match="recipe"):
        train.load_recipe(name)


def test_a_recipe_must_give_a_config():
    with pytest.raises(UsageError, match="TrainConfig"):
        train.load_recipe("training.train:source_commit")


def test_the_resolved_config_lies_beside_the_checkpoint(tmp_path: Path):
    trainer = trainer_of(small_config(), tmp_path)
    trainer.run(max_steps=2)
    written = json.loads((tmp_path / "checkpoints" / "step-0000002" / "config.json").read_text())
    assert written["kind"] == "training.config:TrainConfig"
    assert written["objectives"][0]["objective"]["kind"] == "training.objectives.itc:ItcConfig"
