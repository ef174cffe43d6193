"""What a run may be told about its steps: parts, recomputed and compiled blocks; and what it says about them."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.unit.training.plain_pairs import plain_config
from tests.unit.training.several_processes import ALL_OBJECTIVES, losses_of, trainer_of
from training.blocks import blocks_of
from training.config import TrainConfig
from training.errors import TrainingError
from training.events import written_to
from training.objectives import WeightedObjective
from training.objectives.base import ObjectiveOutput
from training.trainer import StepReport, Trainer


def gradients_after_one_step(config: TrainConfig, workdir: Path) -> tuple[float, dict[str, torch.Tensor]]:
    trainer = trainer_of(config, workdir)
    output, _, _ = trainer.train_step(trainer.source[0])
    gradients = {name: weight.grad for name, weight in trainer.model.named_parameters() if weight.grad is not None}
    return output.loss.item(), gradients


@pytest.mark.parametrize("changes", [{"encode_in_parts": 4}, {"recompute_blocks": True}], ids=str)
def test_saving_memory_changes_neither_loss_nor_gradient(tmp_path: Path, changes: dict[str, object]):
    """For contrast, matching and masked words alike, with the same random draws."""
    plain_loss, plain = gradients_after_one_step(ALL_OBJECTIVES, tmp_path / "a")
    loss, saving = gradients_after_one_step(dataclasses.replace(ALL_OBJECTIVES, **changes), tmp_path / "b")  # type: ignore[arg-type]
    assert loss == pytest.approx(plain_loss, abs=1e-5)
    assert saving.keys() == plain.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(
            saving[name], gradient, atol=1e-5, rtol=1e-4, msg=lambda text, name=name: name + text
        )


def test_encoding_in_parts_halves_what_the_encoders_keep(tmp_path: Path):
    """What is kept for the backward pass while objectives run: features alone."""

    def kept_bytes(parts: int) -> int:
        trainer = trainer_of(plain_config(batch_size=16, encode_in_parts=parts), tmp_path)
        seen: dict[int, int] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            from training.encoding import PairsEncoding

            PairsEncoding(trainer.model, trainer.source[0], parts=parts, autocast=trainer._autocast)
        return sum(seen.values())

    assert kept_bytes(1) > 100_000
    assert kept_bytes(4) == 0


def test_what_is_dropped_at_random_is_dropped_again(tmp_path: Path):
    """The second pass of a part sees the same dropout as the first, so its gradient is that of the loss."""

    trainer = trainer_of(plain_config(encode_in_parts=2), tmp_path)
    seen: list[torch.Tensor] = []

    def drop(module: nn.Module, arguments: object, tokens: torch.Tensor) -> torch.Tensor:
        dropped = nn.functional.dropout(tokens, 0.5, training=True)
        seen.append(dropped.detach().clone())
        return dropped

    trainer.model.image_encoder.register_forward_hook(drop)
    trainer.train_step(trainer.source[0])
    first, second, again_first, again_second = seen
    assert torch.equal(first, again_first)
    assert torch.equal(second, again_second)
    assert not torch.equal(first, second)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # torch's own compiler asks for it
def test_compiled_blocks_have_the_same_losses(tmp_path: Path):
    plain = losses_of(trainer_of(ALL_OBJECTIVES, tmp_path / "a"))
    compiled = trainer_of(dataclasses.replace(ALL_OBJECTIVES, compile_backend="aot_eager"), tmp_path / "b")
    assert losses_of(compiled) == pytest.approx(plain, abs=1e-4)
    assert len(blocks_of(compiled.model)) >= 5  # of both encoders and the fusion encoder


def test_blocks_are_the_outermost_repeated_modules():
    block = nn.Sequential(nn.ModuleList([nn.Linear(2, 2)]))
    frozen = nn.Linear(2, 2).requires_grad_(False)
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ModuleList([block, frozen, nn.Identity()])))
    assert blocks_of(model) == [block]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Breaks:
    """An objective whose loss, or only its gradient, is not a number."""

    gradient_only: bool

    def build(self, model: object) -> Callable[..., ObjectiveOutput]:
        def broken(model: object, batch: object, features: object) -> ObjectiveOutput:
            total = features.image_embedding.sum()  # type: ignore[attr-defined]
            loss = (total - total).abs().sqrt() if self.gradient_only else total * float("nan")
            return ObjectiveOutput(loss=loss, report={})

        return broken


@pytest.mark.parametrize(("gradient_only", "what"), [(False, "objective 'breaks'"), (True, "the gradient")])
def test_what_is_not_finite_is_named_with_its_pairs(tmp_path: Path, gradient_only: bool, what: str):
    breaking = WeightedObjective(name="breaks", objective=Breaks(gradient_only=gradient_only), start_step=2)
    config = plain_config()
    trainer = trainer_of(dataclasses.replace(config, objectives=(*config.objectives, breaking)), tmp_path)
    weights: dict[str, torch.Tensor] = {}

    def remember(report: StepReport) -> None:
        weights.update({name: value.clone() for name, value in trainer.model.state_dict().items()})

    with pytest.raises(TrainingError, match=rf"step 2: {what} is nan.*square 16, square 17, ") as caught:
        trainer.run(report=remember)
    assert caught.value.code == "loss_not_finite"
    said = json.loads((tmp_path / "not-finite-step-0000002-process-0.json").read_text())
    assert (said["step"], said["value"]) == (2, "nan")
    assert [pair["sample"] for pair in said["pairs"]] == [f"square {number}" for number in range(16, 24)]
    assert all(torch.equal(value, weights[name]) for name, value in trainer.model.state_dict().items())  # untouched


def test_event_files_hold_what_is_reported(tmp_path: Path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    trainer = trainer_of(dataclasses.replace(ALL_OBJECTIVES, num_steps=4), tmp_path)
    reports: list[StepReport] = []
    with written_to(tmp_path, first_step=0) as write:
        trainer.run(report=lambda report: (reports.append(report), write(report)))
    with written_to(tmp_path, first_step=2) as write:  # as a run that went on from step 2 would
        write(dataclasses.replace(reports[2], loss=0.5))
    events = accumulator.EventAccumulator(str(tmp_path / "events"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [
        (1, reports[0].loss),
        (2, reports[1].loss),
        (3, 0.5),
    ]
    assert events.Scalars("objective/mlm")[0].value == reports[1].parts["mlm"]
    assert events.Scalars("held_out/r@1")[0].step == 2
    assert {"report/itc/temperature", "learning_rate", "gradient_norm", "images_per_s", "waiting_share"} <= set(
        events.Tags()["scalars"]
    )


def test_the_share_of_waiting_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """On a clock that stands still but for the data: all time but the first batch's is waiting."""
    import training.trainer as module

    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    trainer = trainer_of(plain_config(report_every=2), tmp_path)
    real = trainer.source

    class Slow:
        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

        def __getitem__(self, step: int) -> object:
            now[0] += 3.0
            return real[step]

    step = trainer.train_step
    trainer.source = Slow()  # type: ignore[assignment]

    def slow_step(batch: object) -> object:
        now[0] += 1.0
        return step(batch)  # type: ignore[arg-type]

    trainer.train_step = slow_step  # type: ignore[method-assign, assignment]
    reports: list[StepReport] = []
    trainer.run(report=reports.append)
    assert [report.waiting_share for report in reports] == pytest.approx([3 / 5, 6 / 8])
    assert [report.images_per_s for report in reports] == pytest.approx([16 / 5, 16 / 8])
    assert reports[0].left_s == pytest.approx(5)


def test_the_process_with_no_number_is_the_first(tmp_path: Path):
    assert isinstance(trainer_of(plain_config(parallel="fsdp"), tmp_path), Trainer)  # alone, nothing is divided
