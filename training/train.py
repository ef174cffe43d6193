"""The entry: a recipe's name to a finished checkpoint."""

import importlib
import inspect
import json
import subprocess
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from runtime.errors import UsageError
from training.checkpoint import list_checkpoints, newest_checkpoint, read_config, read_tokenizer
from training.config import TrainConfig
from training.data.augmentation import PICTURES
from training.data.found import found_in, names_shards
from training.data.jsonl_pairs import JsonlPairsConfig
from training.data.listed_pairs import ListedPairsConfig
from training.data.scene_pairs import ScenePairsConfig
from training.data.source import DataConfig
from training.data.wrong_words import WrongWordsConfig
from training.distributed import is_first, world_size
from training.errors import TrainingError
from training.events import written_to
from training.parallel import joined
from training.report import shown_on
from training.serialise import to_json
from training.start import going_on
from training.trainer import StepReport, Trainer


def run(
    recipe: str = "training.recipes.baseline:tiny",
    *,
    data: Path | str | None = None,
    workdir: Path,
    resume: bool = False,
    max_steps: int | None = None,
    seed: int | None = None,
    num_steps: int | None = None,
    start_from: Path | None = None,
    console: Console | None = None,
) -> Path:
    """Train a recipe, or go on with it.

    Args:
        recipe: `module:function`.
        data: the directory that the recipe's data lies in, or shards by path or URL. A recipe of drawn scenes needs
            none; it, and one of JSON lines, trains on what is found there (`training.data.found`).
        workdir: where checkpoints go.
        resume: go on from the newest checkpoint of `workdir`.
        max_steps: stop after so many steps of this call, at the latest.
        seed: in place of the recipe's own.
        num_steps: length of the whole run, over which the rate falls, in place of the recipe's own.
        start_from: a checkpoint whose weights and tokenizer the run begins with (`training.start`).
        console: where progress is shown.

    Returns:
        The directory of the last checkpoint.

    Raises:
        UsageError: the recipe does not exist.
        DataError: the data is missing or not what it should be.
        TrainingError: there is nothing to resume from, the checkpoint is of another config, or the loss is not finite.
    """
    directory = None if data is None or names_shards(str(data)) else Path(data)
    config = load_recipe(recipe, directory)
    if data is not None:
        config = replace(config, data=data_of(config, str(data)))
    if seed is not None:
        config = replace(config, seed=seed)
    if num_steps is not None:
        config = replace(config, num_steps=num_steps)
    if start_from is not None:
        config = going_on(config, start_from.resolve())
    with joined():
        return _run(config, directory, workdir, resume, max_steps, console)


def data_of(config: TrainConfig, data: str) -> DataConfig:
    """The recipe's own data, but in place of drawn scenes or of JSON lines that are not there what is there."""
    own = config.data
    if isinstance(own, ScenePairsConfig):
        # of a drawn caption a few words may be wrong, of any other all: the share is the paper's there
        words = own.wrong_words and replace(own.wrong_words, share=WrongWordsConfig().share)
        # pictures that are seen again and again are distorted, which endless drawn ones need not be
        augmentation = replace(PICTURES, masked_share=own.augmentation.masked_share)
        like = ListedPairsConfig(
            size_px=own.size_px, max_subwords=own.max_subwords, wrong_words=words, augmentation=augmentation
        )
        return found_in(data, like)
    if isinstance(own, JsonlPairsConfig) and not (Path(data) / own.captions).is_file():
        return found_in(data, own)
    return own


def _run(
    config: TrainConfig, data: Path | None, workdir: Path, resume: bool, max_steps: int | None, console: Console | None
) -> Path:
    if not resume and list_checkpoints(workdir):
        raise TrainingError(
            f"{workdir} already holds checkpoints; add --resume to go on, or name another directory.",
            code="workdir_used",
        )
    checkpoint = newest_checkpoint(workdir) if resume else None
    if checkpoint:
        _check_same(config, read_config(checkpoint), checkpoint)
    start = Path(config.start_from) if config.start_from and not checkpoint else None
    known = checkpoint or start
    tokenizer = read_tokenizer(known) if known else config.data.tokenizer(data)
    pairs = config.pairs_per_process(world_size())
    source = config.data.open(data, tokenizer=tokenizer, batch_size=pairs, seed=config.seed)
    trainer = Trainer(config, source, workdir, commit=source_commit(), start=start)
    if checkpoint:
        trainer.restore(checkpoint)
    if not is_first():
        return trainer.run(max_steps=max_steps, report=lambda report: None)
    with (
        shown_on(console or Console(), first_step=trainer.step) as show,
        written_to(workdir, first_step=trainer.step) as write,
    ):

        def report(of: StepReport) -> None:
            show(of)
            write(of)

        return trainer.run(max_steps=max_steps, report=report)


def load_recipe(recipe: str, data: Path | None = None) -> TrainConfig:
    """The config that `module:function` returns.

    A recipe whose model depends on what it is trained on takes the data directory as its argument.
    """
    module_name, _, function_name = recipe.partition(":")
    try:
        make = getattr(importlib.import_module(module_name), function_name)
        config = make(data) if inspect.signature(make).parameters else make()
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise UsageError(
            f"there is no recipe {recipe!r} ({error}); name one as module:function, such as "
            "training.recipes.baseline:tiny."
        ) from error
    if not isinstance(config, TrainConfig):
        raise UsageError(f"{recipe!r} gives a {type(config).__name__}, not a TrainConfig.")
    return config


def source_commit() -> str:
    """The commit of this source tree, with `+` when files differ from it; `unknown` outside a repository."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run([*git, "status", "--porcelain", "."], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit.stdout.strip() + ("+" if changed.stdout.strip() else "")


def _check_same(wanted: TrainConfig, found: TrainConfig, checkpoint: Path) -> None:
    ours, theirs = to_json(wanted), to_json(found)
    if ours != theirs:
        differing = [name for name in ours if json.dumps(ours[name]) != json.dumps(theirs.get(name))]
        raise TrainingError(
            f"{checkpoint} was trained with another config (they differ in {', '.join(differing)}); resume with the "
            "recipe it was started with, or start in another directory.",
            code="checkpoint_mismatch",
        )
