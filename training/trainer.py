"""The loop: batch, features, loss, step; reports and checkpoints between.

It knows no objective, model or data set by name: those come from the config.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from runtime.errors import DataError
from training.average import WeightAverage
from training.checkpoint import (
    AVERAGE,
    MODEL,
    TRAINING_STATE,
    Progress,
    directory_of,
    read_progress,
    read_tensors,
    write_checkpoint,
)
from training.config import TrainConfig
from training.data.batch import PairBatch
from training.data.source import PairSource
from training.errors import TrainingError
from training.objectives.compose import ComposedObjective, ComposedOutput
from training.optimizer import build_optimizer, moments, restore_moments
from training.schedule import learning_rate
from training.validate import retrieval_of

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """What is worth saying about the steps since the last report."""

    step: int  # done
    num_steps: int
    loss: float
    parts: Mapping[str, float]  # each objective's own loss
    report: Mapping[str, float]
    learning_rate: float
    gradient_norm: float
    images_per_s: float
    left_s: float
    num_broken: int  # pictures skipped so far
    validation: Mapping[str, float] | None = None  # on the steps that validate


class Trainer:
    """One run: its model, optimizer, objectives and data."""

    def __init__(self, config: TrainConfig, source: PairSource, workdir: Path, *, commit: str = "unknown") -> None:
        self.config = config
        self.source = source
        self.workdir = workdir
        self.commit = commit
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(config.seed)
        self.model = config.model.build(source.text_transform.vocabulary_size).to(self.device)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # convolutions run faster so
        self.objective = ComposedObjective(config.objectives, self.model)
        self.optimizer = build_optimizer(self.model, config.optimizer)
        self.average = WeightAverage(self.model, config.ema_decay) if config.ema_decay else None
        self.step = 0
        self.metrics: Mapping[str, float] = {}
        self.broken: dict[str, str] = {}  # pictures that could not be read, with the reason

    def run(self, *, max_steps: int | None = None, report: Callable[[StepReport], None] | None = None) -> Path:
        """Train to the end of the recipe, or for at most `max_steps` more steps.

        Returns:
            The directory of the last checkpoint.

        Raises:
            TrainingError: `loss_not_finite`.
        """
        end = self.config.num_steps
        if max_steps is not None:
            end = min(end, self.step + max_steps)
        clock = _Clock(self.config.batch_size)
        for batch in self._batches(end):
            self._note_broken(batch.broken)
            output, rate, norm = self.train_step(batch.to(self.device))
            is_last = self.step == end
            validation: Mapping[str, float] | None = None
            if self._is_due(self.config.validate_every, is_last=is_last):
                validation = self.metrics = self.validate()
            if report and (validation or self._is_due(self.config.report_every, is_last=is_last)):
                report(self._report(output, rate, norm, clock, end, validation))
            if self._is_due(self.config.checkpoint_every, is_last=is_last):
                self.save()
        return directory_of(self.workdir, self.step)

    def train_step(self, batch: PairBatch) -> tuple[ComposedOutput, float, Tensor]:
        """One optimizer step: its losses, the learning rate and the gradients' norm before clipping."""
        rate = learning_rate(self.config.optimizer, step=self.step, num_steps=self.config.num_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.model.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            features = self.model.encode_pairs(batch.pixels, batch.ids, batch.mask)
            output = self.objective(self.model, batch, features, step=self.step)
        self._stop_unless_finite(output)
        self.optimizer.zero_grad(set_to_none=True)
        output.loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optimizer.clip_norm)
        if not torch.isfinite(norm):
            raise _not_finite(self.step, "the gradient", norm)
        self.optimizer.step()
        with torch.no_grad():
            self.objective.advance(self.model, features)
        if self.average is not None:
            self.average.update(self.model, self.step)
        self.step += 1
        return output, rate, norm

    def validate(self) -> dict[str, float]:
        """Text-to-image retrieval on held-out pairs, with the weights that would be exported."""
        trained = {name: value.clone() for name, value in self.model.state_dict().items()}
        if self.average is not None:
            self.model.load_state_dict(self.average.weights)
        try:
            return retrieval_of(self.model, self.source, count=self.config.validation_pairs)
        finally:
            self.model.load_state_dict(trained)

    def save(self) -> Path:
        """Write a checkpoint of this moment."""
        random_state = {"random/cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            random_state["random/cuda"] = torch.cuda.get_rng_state()
        optimizer = {f"optimizer/{key}": value for key, value in moments(self.model, self.optimizer).items()}
        objective = {f"objective/{key}": value for key, value in self.objective.state_dict().items()}
        return write_checkpoint(
            self.workdir,
            config=self.config,
            tokenizer=self.source.text_transform.tokenizer,
            progress=Progress(step=self.step, commit=self.commit, metrics=self.metrics),
            model=self.model.state_dict(),
            average=self.average.weights if self.average is not None else None,
            training_state=random_state | optimizer | objective,
        )

    def restore(self, checkpoint: Path) -> None:
        """Go back to the moment of a checkpoint of the same config; the next losses are those that would have come."""
        progress = read_progress(checkpoint)
        self.step, self.metrics = progress.step, progress.metrics
        self.model.load_state_dict(read_tensors(checkpoint, MODEL))
        if self.average is not None:
            self.average.restore(read_tensors(checkpoint, AVERAGE))
        state = read_tensors(checkpoint, TRAINING_STATE)
        restore_moments(self.model, self.optimizer, _under("optimizer/", state))
        self.objective.load_state_dict(_under("objective/", state))
        torch.set_rng_state(state["random/cpu"])
        if self.device.type == "cuda" and "random/cuda" in state:
            torch.cuda.set_rng_state(state["random/cuda"])

    def _batches(self, end: int) -> Iterator[PairBatch]:
        loader: DataLoader[PairBatch] = DataLoader(
            self.source,  # type: ignore[arg-type]  # anything with __getitem__ serves
            sampler=range(self.step, end),
            batch_size=None,
            num_workers=self.config.num_workers,
            multiprocessing_context="spawn" if self.config.num_workers else None,
            generator=torch.Generator(),  # or the loader would draw from the global one
        )
        return iter(loader)

    def _note_broken(self, broken: Mapping[str, str]) -> None:
        for name in broken.keys() - self.broken.keys():
            _log.warning("skipped %s: %s", name, broken[name])
        self.broken |= broken
        if len(self.broken) > self.source.most_broken:
            some = "; ".join(f"{name}: {reason}" for name, reason in list(self.broken.items())[:3])
            raise DataError(
                f"{len(self.broken)} pictures could not be read, more than the {self.source.most_broken} that are "
                f"accepted ({some}). Check the data directory.",
                code="too_many_broken",
            )

    def _is_due(self, every: int | None, *, is_last: bool) -> bool:
        return every is not None and (is_last or self.step % every == 0)

    def _stop_unless_finite(self, output: ComposedOutput) -> None:
        for name, loss in output.parts.items():
            if not torch.isfinite(loss):
                raise _not_finite(self.step, f"objective {name!r}", loss)

    def _report(
        self,
        output: ComposedOutput,
        rate: float,
        norm: Tensor,
        clock: "_Clock",
        end: int,
        validation: Mapping[str, float] | None,
    ) -> StepReport:
        images_per_s = clock.images_per_s(self.step)
        return StepReport(
            step=self.step,
            num_steps=end,
            loss=output.loss.item(),
            parts={name: value.item() for name, value in output.parts.items()},
            report={name: value.item() for name, value in output.report.items()},
            learning_rate=rate,
            gradient_norm=norm.item(),
            images_per_s=images_per_s,
            left_s=(end - self.step) * self.config.batch_size / images_per_s if images_per_s else 0.0,
            num_broken=len(self.broken),
            validation=validation,
        )


class _Clock:
    """Images per second since the last question."""

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self.step: int | None = None
        self.time = time.monotonic()

    def images_per_s(self, step: int) -> float:
        now = time.monotonic()
        steps = step - self.step if self.step is not None else 0
        rate = steps * self.batch_size / max(1e-9, now - self.time)
        self.step, self.time = step, now
        return rate


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _not_finite(step: int, what: str, value: Tensor) -> TrainingError:
    return TrainingError(
        f"step {step}: {what} is {value.item()}. The batch is the one of that step; the last checkpoint is whole. "
        "Lower the learning rate or look at that batch.",
        code="loss_not_finite",
    )
