"""The loop: batch, features, loss, step; reports and checkpoints between.

It knows no objective, model or data set by name: those come from the config.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from runtime.errors import DataError, VernierError
from training.average import WeightAverage
from training.blocks import compile_blocks, recompute_blocks
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
from training.distributed import gather_keys, is_first, mean_over_processes, merged, rank, wait_for_all, world_size
from training.encoding import PairsEncoding
from training.errors import TrainingError
from training.objectives.compose import ComposedObjective, ComposedOutput
from training.optimizer import build_optimizer, moments, restore_moments
from training.parallel import average_gradients, clip_gradients, divide, load_whole, whole
from training.schedule import learning_rate
from training.start import take_weights
from training.validate import retrieval_of

_log = logging.getLogger(__name__)

_IDS_IN_MESSAGE = 8
_OTHER_PROCESS = 1_000_003  # what the seeds of two processes are apart


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """What is worth saying about the steps since the last report; means over all processes."""

    step: int  # done
    num_steps: int
    loss: float
    parts: Mapping[str, float]  # each objective's own loss
    report: Mapping[str, float]
    learning_rate: float
    gradient_norm: float
    images_per_s: float
    left_s: float
    waiting_share: float  # of the time, spent waiting for data
    num_broken: int  # pictures skipped so far
    validation: Mapping[str, float] | None = None  # on the steps that validate


class Trainer:
    """One run: its model, optimizer, objectives and data.

    Where there are several processes each has a trainer, and every public method is called by all of them together.
    The source then gives the batches of a process: `config.pairs_per_process` pairs each.
    """

    def __init__(
        self,
        config: TrainConfig,
        source: PairSource,
        workdir: Path,
        *,
        commit: str = "unknown",
        start: Path | None = None,
    ) -> None:
        """Build everything anew.

        Args:
            config: the run.
            source: its batches.
            workdir: where checkpoints go.
            commit: of the source that trains.
            start: a checkpoint whose weights the model begins with.

        Raises:
            TrainingError: the start cannot be read.
            DataError: the start's weights, or a tower's, are not those of the model.
        """
        self.config = config
        self.source = source
        self.workdir = workdir
        self.commit = commit
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(config.seed)  # the same weights in every process
        self.model = config.model.build(source.text_transform.vocabulary_size)
        self.model.load_pretrained()
        if start is not None:
            take_weights(self.model, start)
        self.model.to(self.device)
        self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # convolutions run faster so
        self.objective = ComposedObjective(config.objectives, self.model, num_steps=config.num_steps)
        self._prepare_blocks()
        self.optimizer = build_optimizer(self.model, config.optimizer)
        self.average = WeightAverage(self.model, config.ema_decay) if config.ema_decay else None
        self.step = 0
        self.metrics: Mapping[str, float] = {}
        self.broken: dict[str, str] = {}  # pictures that could not be read, with the reason
        if rank():
            torch.manual_seed(config.seed + rank() * _OTHER_PROCESS)  # but what is drawn for its pairs is its own

    def run(self, *, max_steps: int | None = None, report: Callable[[StepReport], None] | None = None) -> Path:
        """Train to the end of the recipe, or for at most `max_steps` more steps.

        Returns:
            The directory of the last checkpoint.

        Raises:
            TrainingError: `loss_not_finite`.
            DataError: `too_many_broken`.
        """
        end = self.config.num_steps
        if max_steps is not None:
            end = min(end, self.step + max_steps)
        batches = iter(self._batches(end))
        clock = _Clock(self.config.batch_size)
        while self.step < end:
            with clock.waiting(self.step):
                batch = next(batches)
            if isinstance(batch, VernierError):
                raise batch
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
            group["lr"] = self.config.optimizer.public_rate(rate, step=self.step) if group["is_public"] else rate
        self.model.train()
        encoding = PairsEncoding(self.model, batch, parts=self.config.encode_in_parts, autocast=self._autocast)
        with self._autocast():
            output = self.objective(self.model, batch, encoding.features, step=self.step)
        self._stop_unless_finite(output, batch)
        self.optimizer.zero_grad(set_to_none=True)
        output.loss.backward()  # type: ignore[no-untyped-call]
        encoding.backward()
        average_gradients(self._weights)
        norm = clip_gradients(self._weights, self.config.optimizer.clip_norm)
        if not torch.isfinite(norm):
            raise self._not_finite("the gradient", norm, batch)
        self.optimizer.step()
        with torch.no_grad():
            self.objective.advance(self.model, encoding.features)
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
        random_state = {"random/cpu": gather_keys(torch.get_rng_state()[None])}
        if self.device.type == "cuda":
            random_state["random/cuda"] = gather_keys(torch.cuda.get_rng_state()[None])
        optimizer = {f"optimizer/{key}": value for key, value in moments(self.model, self.optimizer).items()}
        objective = {f"objective/{key}": value for key, value in self.objective.state_dict().items()}
        training_state = random_state | whole(optimizer) | whole(objective)
        model = whole(self.model.state_dict())
        average = whole(self.average.weights) if self.average is not None else None
        self.broken = merged(self.broken)
        if is_first():
            write_checkpoint(
                self.workdir,
                config=self.config,
                tokenizer=self.source.text_transform.tokenizer,
                progress=Progress(step=self.step, commit=self.commit, metrics=self.metrics, broken=self.broken),
                model=model,
                average=average,
                training_state=training_state,
            )
        wait_for_all()
        return directory_of(self.workdir, self.step)

    def restore(self, checkpoint: Path) -> None:
        """Go back to the moment of a checkpoint of the same config; the next losses are those that would have come.

        With another number of processes the batches stay the same, and what objectives draw at random does not.
        """
        progress = read_progress(checkpoint)
        self.step, self.metrics, self.broken = progress.step, progress.metrics, dict(progress.broken)
        load_whole(self.model, read_tensors(checkpoint, MODEL))
        if self.average is not None:
            self.average.restore(read_tensors(checkpoint, AVERAGE))
        state = read_tensors(checkpoint, TRAINING_STATE)
        restore_moments(self.model, self.optimizer, _under("optimizer/", state))
        self.objective.load_state_dict(_under("objective/", state))
        drawn_on_cpu = state["random/cpu"].reshape(-1, len(torch.get_rng_state()))
        if len(drawn_on_cpu) != world_size():
            _log.warning(
                "the run had %d processes and now has %d: what objectives draw at random will differ",
                len(drawn_on_cpu),
                world_size(),
            )
            return
        torch.set_rng_state(drawn_on_cpu[rank()].clone())
        if self.device.type == "cuda" and "random/cuda" in state:
            torch.cuda.set_rng_state(state["random/cuda"].reshape(world_size(), -1)[rank()].clone())

    def _prepare_blocks(self) -> None:
        if self.config.recompute_blocks:
            recompute_blocks(self.model)
        if self.config.compile_backend is not None:
            compile_blocks(self.model, self.config.compile_backend)
        if self.config.parallel == "fsdp" and world_size() > 1:
            divide(self.model, self.device)
        self._weights = [weight for weight in self.model.parameters() if weight.requires_grad]

    def _autocast(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16")

    def _batches(self, end: int) -> DataLoader[PairBatch | VernierError]:
        """The process's batches. Batch `step` of the run is batches `step * processes + rank` of theirs, in order."""
        return DataLoader(
            _Handed(self.source),  # type: ignore[arg-type]  # anything with __getitem__ serves
            sampler=range(self.step * world_size() + rank(), end * world_size(), world_size()),
            batch_size=None,
            num_workers=self.config.num_workers,
            multiprocessing_context="spawn" if self.config.num_workers else None,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator(),  # or the loader would draw from the global one
        )

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

    def _stop_unless_finite(self, output: ComposedOutput, batch: PairBatch) -> None:
        if torch.isfinite(torch.stack(list(output.parts.values()))).all():  # one question to the device
            return
        for name, loss in output.parts.items():
            if not torch.isfinite(loss):
                raise self._not_finite(f"objective {name!r}", loss, batch)

    def _not_finite(self, what: str, value: Tensor, batch: PairBatch) -> TrainingError:
        """The error, after the batch has been written down whole beside the checkpoints."""
        self.workdir.mkdir(parents=True, exist_ok=True)
        file = self.workdir / f"not-finite-step-{self.step:07d}-process-{rank()}.json"
        pairs = [
            {"sample": sample, "caption": caption}
            for sample, caption in zip(batch.sample_ids, batch.texts, strict=False)
        ]
        said = {"step": self.step, "what": what, "value": str(value.item()), "pairs": pairs}
        file.write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n")
        some = ", ".join(batch.sample_ids[:_IDS_IN_MESSAGE])
        return TrainingError(
            f"step {self.step}: {what} is {value.item()}. The batch is {some}"
            f"{', …' if len(batch.sample_ids) > _IDS_IN_MESSAGE else ''} (all {len(batch.texts)} pairs in {file}); the "
            "last checkpoint is whole. Lower the learning rate or look at that batch.",
            code="loss_not_finite",
        )

    def _report(
        self,
        output: ComposedOutput,
        rate: float,
        norm: Tensor,
        clock: "_Clock",
        end: int,
        validation: Mapping[str, float] | None,
    ) -> StepReport:
        images_per_s, waiting_share = clock.read(self.step)
        self.broken = merged(self.broken)
        return StepReport(
            step=self.step,
            num_steps=end,
            loss=mean_over_processes(output.loss).item(),
            parts={name: mean_over_processes(value).item() for name, value in output.parts.items()},
            report={name: mean_over_processes(value.to(self.device)).item() for name, value in output.report.items()},
            learning_rate=rate,
            gradient_norm=norm.item(),
            images_per_s=images_per_s,
            left_s=(end - self.step) * self.config.batch_size / images_per_s if images_per_s else 0.0,
            waiting_share=waiting_share,
            num_broken=len(self.broken),
            validation=validation,
        )


class _Handed:
    """A source that hands an error over as a value: one raised in a loader process would come as its traceback."""

    def __init__(self, source: PairSource) -> None:
        self.source = source

    def __getitem__(self, step: int) -> PairBatch | VernierError:
        try:
            return self.source[step]
        except VernierError as error:
            return error


class _Clock:
    """Images per second and the share of waiting for data, since the last question or the first batch's arrival."""

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self.step: int | None = None
        self.since = self.waited = 0.0

    @contextmanager
    def waiting(self, step: int) -> Iterator[None]:
        begin = time.monotonic()
        yield
        now = time.monotonic()
        if self.step is None:  # the start of the loader's processes is no part of any step
            self.step, self.since = step, now
        else:
            self.waited += now - begin

    def read(self, step: int) -> tuple[float, float]:
        now = time.monotonic()
        elapsed = max(1e-9, now - self.since)
        rate = (step - (self.step or 0)) * self.batch_size / elapsed
        share = self.waited / elapsed
        self.step, self.since, self.waited = step, now, 0.0
        return rate, share


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
