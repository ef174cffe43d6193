"""Checkpoints: everything a run needs to go on as if it had never stopped, and everything an export needs.

A checkpoint is a directory `step-0000500/`:

    config.json                  the resolved config, with its kinds
    tokenizer.json
    model.safetensors            the weights as trained
    average.safetensors          their moving average, when the recipe keeps one: this is what is exported
    training_state.safetensors   optimizer moments, objectives' state, random generators of every process
    state.json                   step, format version, source commit, validation numbers, broken pictures

It is written beside its place and renamed there, and renamed away before it is removed, so a directory with that name
is always whole. Nothing is pickled. Weights that were divided over processes are whole here: a checkpoint does not
depend on how many there were.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from training.config import TrainConfig
from training.errors import TrainingError
from training.model.pair_model import PairModel
from training.serialise import from_json, to_json

FORMAT = 1
MODEL, AVERAGE, TRAINING_STATE = "model.safetensors", "average.safetensors", "training_state.safetensors"
_PARTIAL = ".partial-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run has come."""

    step: int  # optimizer steps done, which is also the next batch
    commit: str = "unknown"  # of the source that trained
    metrics: Mapping[str, float]  # of the last validation
    broken: Mapping[str, str] = field(default_factory=dict)  # pictures that could not be read: name to reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A model read back from a checkpoint, ready to be exported or looked at."""

    model: PairModel  # in evaluation mode, with the averaged weights when there are any
    config: TrainConfig
    tokenizer: Tokenizer
    progress: Progress
    weights: Path  # the file that the weights were read from


def directory_of(workdir: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return workdir / "checkpoints" / f"step-{step:07d}"


def write_checkpoint(
    workdir: Path,
    *,
    config: TrainConfig,
    tokenizer: Tokenizer,
    progress: Progress,
    model: Mapping[str, Tensor],
    average: Mapping[str, Tensor] | None,
    training_state: Mapping[str, Tensor],
) -> Path:
    """Write a checkpoint so that it is either whole or absent, then remove all but the newest few.

    Returns:
        Its directory.
    """
    final = directory_of(workdir, progress.step)
    final.parent.mkdir(parents=True, exist_ok=True)
    _remove_partial(final.parent)
    partial = final.with_name(_PARTIAL + final.name)
    partial.mkdir()
    (partial / "config.json").write_text(json.dumps(to_json(config), indent=2) + "\n")
    tokenizer.save(str(partial / "tokenizer.json"))
    _save(model, partial / MODEL)
    if average is not None:
        _save(average, partial / AVERAGE)
    _save(training_state, partial / TRAINING_STATE)
    state = {
        "format": FORMAT,
        "step": progress.step,
        "commit": progress.commit,
        "metrics": dict(progress.metrics),
        "broken": dict(progress.broken),
    }
    (partial / "state.json").write_text(json.dumps(state, indent=2) + "\n")
    for file in partial.iterdir():
        _flush(file)
    _flush(partial)
    if final.exists():
        _discard(final)
    partial.rename(final)
    _flush(final.parent)
    for old in list_checkpoints(workdir)[: -config.keep_checkpoints]:
        _discard(old)
    return final


def list_checkpoints(workdir: Path) -> list[Path]:
    """The whole checkpoints of a run, oldest first."""
    return sorted((workdir / "checkpoints").glob("step-*"))


def newest_checkpoint(workdir: Path) -> Path:
    """The checkpoint to go on from.

    Raises:
        TrainingError: `checkpoint_missing`.
    """
    found = list_checkpoints(workdir)
    if not found:
        raise TrainingError(
            f"{workdir} holds no checkpoint to resume from; start without --resume.", code="checkpoint_missing"
        )
    return found[-1]


def read_progress(checkpoint: Path) -> Progress:
    """How far the run of this checkpoint had come."""
    with _undamaged(checkpoint, "state.json") as file:
        state = json.loads(file.read_text())
    if state["format"] > FORMAT:
        raise TrainingError(
            f"{checkpoint} has format {state['format']}; this program reads up to {FORMAT}. Upgrade vernier.",
            code="checkpoint_mismatch",
        )
    return Progress(
        step=state["step"], commit=state["commit"], metrics=state["metrics"], broken=state.get("broken", {})
    )


def read_config(checkpoint: Path) -> TrainConfig:
    """The config that the checkpoint was trained with."""
    with _undamaged(checkpoint, "config.json") as file:
        content = json.loads(file.read_text())
    config = from_json(content)
    if not isinstance(config, TrainConfig):
        raise TrainingError(f"{checkpoint}/config.json is no training config.", code="checkpoint_mismatch")
    return config


def read_tokenizer(checkpoint: Path) -> Tokenizer:
    """The tokenizer that the checkpoint was trained with."""
    return Tokenizer.from_file(str(_needed(checkpoint, "tokenizer.json")))


def read_tensors(checkpoint: Path, name: str) -> dict[str, Tensor]:
    """The tensors of one of the checkpoint's files."""
    with _undamaged(checkpoint, name) as file:
        tensors: dict[str, Tensor] = load_file(file)
    return tensors


def load_trained(checkpoint: Path) -> Trained:
    """Build the model of a checkpoint and fill in its weights.

    Raises:
        TrainingError: `checkpoint_missing`, or `checkpoint_mismatch` when the weights are not those of the config.
    """
    config, tokenizer = read_config(checkpoint), read_tokenizer(checkpoint)
    averaged = (checkpoint / AVERAGE).exists()
    weights = checkpoint / (AVERAGE if averaged else MODEL)
    with torch.random.fork_rng():
        model = config.model.build(tokenizer.get_vocab_size())
    try:
        model.load_state_dict(read_tensors(checkpoint, weights.name))
    except RuntimeError as error:
        raise TrainingError(
            f"the weights in {checkpoint} are not those of its config: {error}", code="checkpoint_mismatch"
        ) from error
    model.eval()
    return Trained(
        model=model,
        config=config,
        tokenizer=tokenizer,
        progress=read_progress(checkpoint),
        weights=weights,
    )


@contextmanager
def _undamaged(checkpoint: Path, name: str) -> Iterator[Path]:
    """One of the checkpoint's files, to be read here; one that cannot be read as what it is, is named."""
    file = _needed(checkpoint, name)
    try:
        yield file
    except (SafetensorError, ValueError) as error:
        raise TrainingError(
            f"{file} is damaged ({error}); remove {checkpoint} to go on from the checkpoint before it.",
            code="checkpoint_damaged",
        ) from error


def _needed(checkpoint: Path, name: str) -> Path:
    file = checkpoint / name
    if not file.is_file():
        raise TrainingError(
            f"{checkpoint} is no checkpoint: {name} is missing. Name a directory such as "
            "WORKDIR/checkpoints/step-0000500.",
            code="checkpoint_missing",
        )
    return file


def _save(tensors: Mapping[str, Tensor], file: Path) -> None:
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, file)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _discard(checkpoint: Path) -> None:
    going = checkpoint.with_name(f"{_PARTIAL}old-{checkpoint.name}")
    checkpoint.rename(going)
    shutil.rmtree(going)


def _remove_partial(folder: Path) -> None:
    for left_over in folder.glob(_PARTIAL + "*"):
        shutil.rmtree(left_over)
