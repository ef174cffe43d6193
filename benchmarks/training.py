"""Measures the training loop against a plain PyTorch loop that does the same forward, backward and optimizer work.

    python -m benchmarks.training [--recipe MODULE:FUNCTION] [--pairs N] [--rounds N] [--json OUT]
        [--beside MODULE:FUNCTION --at-most RATIO]

Both loops step the same model with the same optimizer on the same batches, which lie in memory, in turns: a round is
one step of each. So ratios hold on a busy machine; they are of CPU seconds on a CPU, where other work disturbs the
clock, and of seconds on a GPU. Every objective takes part from the first step on. Peak memory is that of the steps of
each loop; on a CPU it is the process's resident memory, which keeps what either loop once had. The share of waiting for
data is that of the loop with the recipe's own source and loader processes. Checkpoints and validation are left out.

With `--beside` a third loop takes part, that of another recipe: what a step of the one costs in steps of the other.
"""

import argparse
import dataclasses
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from training.config import TrainConfig
from training.data.batch import PairBatch
from training.data.scene_pairs import ScenePairsConfig
from training.data.source import PairSource
from training.schedule import learning_rate
from training.train import load_recipe
from training.trainer import StepReport, Trainer

_TARGET_RATIO = 1.10
_TARGET_WAITING = 0.05
_BATCHES = 4  # different ones, in memory
_MEBIBYTE = 1 << 20

Report = dict[str, Any]


def main() -> int:
    """Run everything once, print it, and write it as JSON when asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="training.recipes.baseline:small")
    parser.add_argument("--pairs", type=int, default=32, help="of a step, in place of the recipe's")
    parser.add_argument("--rounds", type=int, default=10, help="after one that is thrown away")
    parser.add_argument(
        "--waiting-steps", type=int, default=10, help="over which waiting for data is measured; 1: it is not"
    )
    parser.add_argument("--beside", help="another recipe whose steps are taken in turns with these")
    parser.add_argument("--at-most", type=float, help="how many times its step this recipe's may take")
    parser.add_argument("--workers", type=int, default=1, help="processes that make batches")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    config = comparable(load_recipe(arguments.recipe), arguments.pairs, arguments.workers)
    report = {"provenance": provenance(), "recipe": config.recipe, "pairs": config.batch_size}
    with tempfile.TemporaryDirectory() as folder:
        other = load_recipe(arguments.beside) if arguments.beside else None
        beside = None if other is None else comparable(other, arguments.pairs, arguments.workers)
        report |= compared(config, Path(folder), rounds=arguments.rounds, beside=beside)
        # the first batch belongs to the loader's start, so one step tells nothing
        steps = arguments.waiting_steps
        report["waiting"] = waiting(config, Path(folder), steps=steps) if steps > 1 else None
    report["targets"] = {"ratio": report["ratio"] <= _TARGET_RATIO}
    if report["waiting"] is not None:
        report["targets"]["waiting"] = report["waiting"]["share"] < _TARGET_WAITING
    if beside is not None and arguments.at_most is not None:
        report["targets"]["beside"] = report["beside"]["ratio"] <= arguments.at_most
    text = json.dumps(report, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")
    return 0


def comparable(config: TrainConfig, pairs: int, workers: int) -> TrainConfig:
    """The recipe on drawn scenes of its own size, with fewer pairs and every objective from the first step on."""
    data = config.data
    if not isinstance(data, ScenePairsConfig):
        data = ScenePairsConfig(size_px=data.size_px, max_subwords=data.max_subwords)  # type: ignore[attr-defined]
    return dataclasses.replace(
        config,
        data=data,
        objectives=tuple(dataclasses.replace(term, start_step=0, warmup_steps=0) for term in config.objectives),
        batch_size=pairs,
        num_workers=workers,
        validate_every=None,
        report_every=1,
    )


def compared(config: TrainConfig, workdir: Path, *, rounds: int, beside: TrainConfig | None = None) -> Report:
    """Step times and peak memory of both loops, and of that of another recipe where there is one."""
    trainer, held = ready(config, workdir)
    plain = PlainLoop(trainer, held)
    loops: dict[str, Callable[[], object]] = {"vernier": one_step(trainer), "plain": plain.step}
    if beside is not None:
        loops["beside"] = one_step(ready(beside, workdir)[0])
    measured: dict[str, list[Measure]] = {name: [] for name in loops}
    for round_ in range(rounds + 1):
        for name in sorted(loops, reverse=bool(round_ % 2)):  # neither always goes first
            measured[name].append(measure(loops[name], trainer.device))
    kept = {name: values[1:] for name, values in measured.items()}
    clock = "seconds" if trainer.device.type == "cuda" else "cpu_seconds"
    median = {name: statistics.median(getattr(value, clock) for value in values) for name, values in kept.items()}
    ratios = [
        getattr(one, clock) / getattr(other, clock) for one, other in zip(kept["vernier"], kept["plain"], strict=True)
    ]
    timed: dict[str, Report] = {
        name: {
            "median_cpu_s": round(statistics.median(value.cpu_seconds for value in values), 4),
            "median_s": round(statistics.median(value.seconds for value in values), 4),
            "peak_memory_mib": round(max(value.peak_bytes for value in values) / _MEBIBYTE),
        }
        for name, values in kept.items()
    }
    if beside is not None:
        ratio = round(median["vernier"] / median["beside"], 4)
        timed["beside"] = {"recipe": beside.recipe, "ratio": ratio, **timed["beside"]}
    return {
        "parameters": sum(weight.numel() for weight in trainer.model.parameters()),
        "rounds": rounds,
        "ratio": round(median["vernier"] / median["plain"], 4),
        "ratio_of_rounds": {"least": round(min(ratios), 4), "most": round(max(ratios), 4)},
        "ratio_of": clock,
        **timed,
    }


def ready(config: TrainConfig, workdir: Path) -> tuple[Trainer, "InMemory"]:
    """A trainer whose batches lie in memory."""
    source = opened(config)
    held = InMemory(source, [source[step] for step in range(_BATCHES)])
    return without_checkpoints(Trainer(dataclasses.replace(config, num_workers=0), held, workdir)), held


def one_step(trainer: Trainer) -> Callable[[], object]:
    """A step of its loop, as it is called again and again."""
    return lambda: trainer.run(max_steps=1, report=lambda report: None)


def waiting(config: TrainConfig, workdir: Path, *, steps: int) -> Report:
    """The share of the loop's time that it waits for its loader, the loader's own start left out."""
    config = dataclasses.replace(config, report_every=steps)
    trainer = without_checkpoints(Trainer(config, opened(config), workdir))
    reports: list[StepReport] = []
    trainer.run(max_steps=steps, report=reports.append)
    last = reports[-1]
    return {
        "share": round(last.waiting_share, 4),
        "steps": steps,
        "loader_processes": config.num_workers,
        "images_per_s": round(last.images_per_s, 1),
    }


class PlainLoop:
    """What one would write by hand for this model and these objectives."""

    def __init__(self, trainer: Trainer, source: PairSource) -> None:
        self.trainer = trainer
        self.source = source
        self.config = trainer.config
        self.model, self.optimizer = trainer.model, trainer.optimizer
        self.weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        self.average = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.number = 0

    def step(self) -> None:
        """One step."""
        device = self.trainer.device
        batch = self.source[self.number].to(device)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config.optimizer, step=self.number, num_steps=self.config.num_steps)
        self.model.train()
        with torch.autocast(device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            features = self.model.encode_pairs(batch.pixels, batch.ids, batch.mask)
            loss = self.trainer.objective(self.model, batch, features, step=self.number).loss
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.weights, self.config.optimizer.clip_norm)
        self.optimizer.step()
        with torch.no_grad():
            self.trainer.objective.advance(self.model, features)
            if self.config.ema_decay is not None:
                torch._foreach_lerp_(
                    list(self.average.values()), list(self.model.state_dict().values()), 1 - self.config.ema_decay
                )
        loss.item()
        self.number += 1


class InMemory:
    """A source whose batches are made beforehand."""

    def __init__(self, source: PairSource, batches: list[PairBatch]) -> None:
        self.name = source.name
        self.image_transform, self.text_transform = source.image_transform, source.text_transform
        self.most_broken = source.most_broken
        self.held_out, self.lexicon = source.held_out, source.lexicon
        self.batches = batches

    def __getitem__(self, step: int) -> PairBatch:
        """One of the batches, again and again."""
        return self.batches[step % len(self.batches)]


@dataclasses.dataclass(frozen=True, slots=True)
class Measure:
    """What one step took."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


def measure(step: Callable[[], object], device: torch.device) -> Measure:
    """Take one step and look at the clocks and at the highest memory of the step."""
    forget_peak(device)
    begin, cpu_begin = time.perf_counter(), time.process_time()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return Measure(time.perf_counter() - begin, time.process_time() - cpu_begin, peak_bytes(device))


def forget_peak(device: torch.device) -> None:
    """Begin to look for the highest memory anew."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes(device: torch.device) -> int:
    """The highest memory since: of the GPU, or resident of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) * 1024


def opened(config: TrainConfig) -> PairSource:
    """The recipe's source."""
    tokenizer = config.data.tokenizer(None)
    return config.data.open(None, tokenizer=tokenizer, batch_size=config.batch_size, seed=config.seed)


def without_checkpoints(trainer: Trainer) -> Trainer:
    """The same, saving nothing."""
    trainer.save = lambda: trainer.workdir  # type: ignore[method-assign]
    return trainer


def provenance() -> Report:
    """Say where, when and how this was measured."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": commit.stdout.strip(),
        "cpu": names[0] if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "machine": "shared with other work" if os.getloadavg()[0] > 1.5 else "otherwise idle",
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "command": "python -m " + " ".join(["benchmarks.training", *sys.argv[1:]]),
    }


if __name__ == "__main__":
    raise SystemExit(main())
