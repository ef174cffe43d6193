"""A run that is killed at any moment goes on as if it had never stopped: real processes, real kills."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.unit.training.several_processes import ALL_OBJECTIVES
from training.checkpoint import TRAINING_STATE, list_checkpoints, load_trained, newest_checkpoint, read_tensors
from training.config import TrainConfig
from training.data.jsonl_pairs import JsonlPairsConfig
from training.train import run

RECIPE = f"{__name__}:recipe"
STEPS = 24


def recipe() -> TrainConfig:
    data = JsonlPairsConfig(size_px=32, vocab_size=100, max_subwords=32)
    return TrainConfig(
        recipe=RECIPE,
        model=ALL_OBJECTIVES.model,
        data=data,
        objectives=ALL_OBJECTIVES.objectives,
        batch_size=4,
        num_steps=STEPS,
        ema_decay=0.9,
        checkpoint_every=1,
        keep_checkpoints=2,
        report_every=1,
        num_workers=1,
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    (folder / "images").mkdir()
    lines = []
    for number in range(30):
        Image.new("RGB", (32, 32), (number * 8, 100, 255 - number * 8)).save(folder / f"images/{number}.png")
        lines.append(f'{{"image": "{number}.png", "captions": ["shade {number}", "number {number}"]}}')
    (folder / "captions.jsonl").write_text("\n".join(lines))
    return folder


def losses_in(workdir: Path) -> dict[int, float]:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(workdir / "events"))
    events.Reload()
    return {event.step: event.value for event in events.Scalars("loss")}


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums are bit for bit the same on equally many threads; the killed processes run on one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_killed_runs_end_where_an_undisturbed_one_does(data: Path, tmp_path: Path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run(RECIPE, data=data, workdir=whole)
    moments = random.Random(3)
    for number_of_kill, after in enumerate((4, 13)):
        train(data, killed, resume=number_of_kill > 0, kill_after=after, later_s=moments.random() * 0.1)
        checkpoints = list_checkpoints(killed)
        assert 1 <= len(checkpoints) <= 3  # a kill between a new checkpoint and the end of an old one leaves both
        for checkpoint in checkpoints:
            load_trained(checkpoint)  # whatever carries the name is whole
    run(RECIPE, data=data, workdir=killed, resume=True)
    assert losses_in(killed) == losses_in(whole)
    assert len(losses_in(whole)) == STEPS
    ends = newest_checkpoint(whole), newest_checkpoint(killed)
    assert ends[0].name == ends[1].name == f"step-{STEPS:07d}"
    for name in (file.name for file in ends[0].glob("*.safetensors")):
        one, other = (read_tensors(end, name) for end in ends)
        assert one.keys() == other.keys()
        assert all(torch.equal(value, other[key]) for key, value in one.items()), name
    assert (ends[0] / TRAINING_STATE).is_file()
    assert [path.name for path in (killed / "checkpoints").iterdir() if path.name.startswith(".")] == []


def train(data: Path, workdir: Path, *, resume: bool, kill_after: int, later_s: float) -> None:
    """Train in a process of its own and kill it, with its loader, a moment after so many steps are saved."""
    process = subprocess.Popen(
        [sys.executable, "-m", "vernier", "train", "--recipe", RECIPE, "--data", str(data), "--workdir", str(workdir)]
        + (["--resume"] if resume else []),
        env=os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "PYTHONPATH": os.getcwd()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    deadline = time.monotonic() + 300
    while not (workdir / f"checkpoints/step-{kill_after:07d}").exists() and time.monotonic() < deadline:
        assert process.poll() is None, process.stdout and process.stdout.read().decode()
        time.sleep(0.002)
    time.sleep(later_s)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it ended before it was killed"
