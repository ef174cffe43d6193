"""An ablation from two recipes to a report: train, export, evaluate, compare.

Both recipes are trained with each seed, for equally many steps of equally many pairs; each checkpoint becomes a bundle,
and each bundle is evaluated on the same drawn scenes. Where the recipe takes longer than the baseline, it is trained
again with so many fewer steps that it takes as long, its schedule falling to the end. What is done is passed over, so
an ablation that was interrupted at any moment goes on where it stopped when it is called again.

    .venv/bin/python scripts/ablation.py training.recipes.vilem:ablation --baseline training.recipes.baseline:ablation
        [--seeds 0 1 2] [--name NAME] [--jobs N] [--scenes 1000] [--max-steps N] [--start 'runs/start-{seed}']
        [--equal-steps-only]

With `--start` every run goes on from trained weights, the same for both arms of a seed: what a few hundred steps add to
a model that already sorts, where from nothing they would only begin to.
"""

import argparse
import fcntl
import json
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from evaluation.ablation import AblationReport, Arm, SplitReport, to_markdown  # noqa: E402
from evaluation.comparison import compare, samples_of  # noqa: E402
from evaluation.items import read_items  # noqa: E402
from evaluation.plots import as_png, as_svg, differences  # noqa: E402
from runtime.errors import UsageError, VernierError  # noqa: E402
from training.checkpoint import MODEL, list_checkpoints, newest_checkpoint, read_config, read_progress, read_tensors  # noqa: E402
from training.config import TrainConfig  # noqa: E402
from training.data.scene_pairs import ScenePairsConfig  # noqa: E402
from training.serialise import to_json  # noqa: E402
from training.train import load_recipe, source_commit  # noqa: E402

SPLITS = ("test", "compositional", "edit-type")
SCENES_SEED = 20261
SLOWER = 1.02
"""How many times the baseline's time a recipe may take before it is also compared in equal time."""

FILES = {
    "--retrieval": "captions",
    "--hard-negatives": "hard_negatives",
    "--grounding": "grounding",
    "--image-pairs": "image_pairs",
    "--mentions": "mentions",
    "--occlusions": "occlusions",
    "--near-duplicates": "near_duplicates",
}
"""What is evaluated: the options of `vernier eval` and the files of scenes."""

PROBES = ("occlusions", "near_duplicates")
"""Groups that every recipe has; a result without them is from before there were any, and is made again."""

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What decides the result; an ablation that has begun goes on with the same plan only."""

    recipe: str
    baseline: str
    scenes: int
    max_steps: int | None
    start: str | None = None


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training run and what comes of it."""

    arm: str
    recipe: str
    seed: int
    num_steps: int
    folder: Path

    @property
    def bundle(self) -> Path:
        """Where its bundle is."""
        return self.folder / "bundle"

    def items(self, split: str) -> Path:
        """Where its answers on a split are."""
        return self.folder / f"{split}.items.jsonl"

    def result(self, split: str) -> Path:
        """Where its numbers on a split are."""
        return self.folder / f"{split}.json"

    @property
    def checkpoint(self) -> Path | None:
        """Its last checkpoint; None before there is one."""
        return next(reversed(list_checkpoints(self.folder / "work")), None)

    def step(self) -> int:
        """How many steps its last checkpoint has seen."""
        return read_progress(self.checkpoint).step if self.checkpoint else 0

    def seconds(self) -> tuple[float, float] | None:
        """CPU and wall-clock seconds of its training; None where no part of it was timed to its end.

        Parts that were killed left no time; they are taken to have been as fast as the others.
        """
        file = self.folder / "times.jsonl"
        parts = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        steps = sum(part["steps"] for part in parts)
        if not steps:
            return None
        cpu, wall = (sum(part[kind] for part in parts) for kind in ("cpu_s", "wall_s"))
        return cpu * self.num_steps / steps, wall * self.num_steps / steps


class Workshop:
    """Runs commands, each with a log of its own, and ends them when it is told to end."""

    def __init__(self, lock: IO[str]) -> None:
        self._lock = lock
        self._running: set[subprocess.Popen[bytes]] = set()
        self._ended = threading.Event()

    def vernier(self, *arguments: str | Path, log: Path) -> tuple[float, float]:
        """Run one command of vernier; its CPU and wall-clock seconds.

        Raises:
            VernierError: it failed; the message has the end of its log.
        """
        words = [str(argument) for argument in arguments]
        log.parent.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        with log.open("ab") as output:
            output.write(f"$ vernier {shlex.join(words)}\n".encode())
            output.flush()
            process = subprocess.Popen(
                [sys.executable, "-m", "vernier", *words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **ONE_THREAD},
                cwd=ROOT,
                pass_fds=[self._lock.fileno()],  # as long as it lives, no other call begins the same work
            )
            self._running.add(process)
            if self._ended.is_set():
                process.terminate()
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            self._running.discard(process)
        if self._ended.is_set():
            raise VernierError("it was told to end; call it again to go on.")
        if process.returncode:
            last = "\n    ".join(log.read_text(errors="replace").splitlines()[-5:])
            raise VernierError(f"`vernier {words[0]}` failed; the end of {log}:\n    {last}")
        return used.ru_utime + used.ru_stime, time.monotonic() - started

    def end(self) -> None:
        """End what runs, and start nothing more."""
        self._ended.set()
        for process in list(self._running):
            process.terminate()


class Ablation:
    """The stages, each passed over where it is done."""

    def __init__(
        self,
        plan: Plan,
        *,
        name: str,
        seeds: Sequence[int],
        folder: Path,
        jobs: int,
        docs: Path,
        in_equal_time: bool = True,
    ) -> None:
        self.plan = plan
        self.name = name
        self.seeds = seeds
        self.folder = folder
        self.jobs = jobs
        self.docs = docs
        self.in_equal_time = in_equal_time

    @cached_property
    def configs(self) -> dict[str, TrainConfig]:
        """The two recipes."""
        return {"baseline": load_recipe(self.plan.baseline), "recipe": load_recipe(self.plan.recipe)}

    def check(self) -> None:
        """Refuse what could not be compared, and what was begun with another plan.

        Raises:
            UsageError: the message says what to do.
        """
        ours, theirs = self.configs["recipe"], self.configs["baseline"]
        for what in ("num_steps", "batch_size"):
            if getattr(ours, what) != getattr(theirs, what):
                raise UsageError(
                    f"{what} is {getattr(ours, what)} in {self.plan.recipe} and {getattr(theirs, what)} in "
                    f"{self.plan.baseline}; an ablation compares recipes of equal steps and batches."
                )
        if not all(isinstance(config.data, ScenePairsConfig) for config in (ours, theirs)) or (
            (ours.data.world, ours.data.size_px) != (theirs.data.world, theirs.data.size_px)
        ):
            raise UsageError("an ablation compares recipes on drawn scenes of the same world and size.")
        stamp = self.folder / "plan.json"
        if stamp.exists() and Plan(**json.loads(stamp.read_text())) != self.plan:
            raise UsageError(
                f"{self.folder} was begun with another plan ({stamp.read_text().strip()}); take another NAME, or "
                "remove it."
            )
        write(stamp, json.dumps(asdict(self.plan)) + "\n")

    def run(self, workshop: Workshop) -> None:
        """Everything, and the report."""
        self._draw(workshop)
        both = [self._run(arm, seed) for seed in self.seeds for arm in ("baseline", "recipe")]
        self._all(workshop, both)
        note = self._decide_equal_time()
        self._report(note if self._equal_time_steps() is None else "it is being trained.", finished=False)
        if self._equal_time_steps() is not None:
            self._all(workshop, [self._run("equal-time", seed) for seed in self.seeds])
        self._report(note, finished=True)

    def _run(self, arm: str, seed: int) -> Run:
        steps = self._equal_time_steps() if arm == "equal-time" else self._steps()
        assert steps is not None
        recipe = self.plan.baseline if arm == "baseline" else self.plan.recipe
        return Run(arm=arm, recipe=recipe, seed=seed, num_steps=steps, folder=self.folder / f"{arm}-seed{seed}")

    def _steps(self) -> int:
        own = self.configs["baseline"].num_steps
        return own if self.plan.max_steps is None else min(own, self.plan.max_steps)

    def _draw(self, workshop: Workshop) -> None:
        data = self.configs["baseline"].data
        drawn = ("--world", data.world, "--size", str(data.size_px))
        for split in SPLITS:
            out = self._scenes(split)
            if not (out / "near_duplicates.jsonl").exists():
                shutil.rmtree(out, ignore_errors=True)  # drawn before there were probes
                say(f"drawing {self.plan.scenes} scenes of {split}")
                asked = (
                    "--count",
                    str(self.plan.scenes),
                    "--seed",
                    str(SCENES_SEED),
                    "--split",
                    split,
                    "--probes",
                    *drawn,
                )
                workshop.vernier("scenes", out, *asked, log=self.folder / "scenes.log")

    def _scenes(self, split: str) -> Path:
        return self.folder / "scenes" / split

    def _all(self, workshop: Workshop, runs: Iterable[Run]) -> None:
        """Train, export and evaluate runs, `jobs` at a time; what fails is said when the others are done."""
        with ThreadPoolExecutor(self.jobs) as pool:
            done = [pool.submit(self._one, workshop, run) for run in runs]
            try:
                wait(done)
            except BaseException:  # an interruption: what runs is ended, and what waits never begins
                workshop.end()
                raise
        failed = dict.fromkeys(str(error) for future in done if (error := future.exception()) is not None)
        if failed:
            raise VernierError("\n".join(failed))

    def _one(self, workshop: Workshop, run: Run) -> None:
        name = f"{run.arm}, seed {run.seed}"
        self._train(workshop, run, name)
        if not (run.bundle / "manifest.json").is_file():
            say(f"{name}: exporting")
            assert run.checkpoint is not None
            workshop.vernier(
                "export", run.checkpoint, "--out", run.bundle, "--name", f"{run.arm}-seed{run.seed}",
                log=run.folder / "export.log",
            )  # fmt: skip
        for split in SPLITS:
            if not is_whole(run.result(split)):
                _, wall_s = self._evaluate(workshop, run, split)
                say(f"{name}: evaluated on {split} in {wall_s:.0f} s")

    def _train(self, workshop: Workshop, run: Run, name: str) -> None:
        first = run.step()
        if first >= run.num_steps:
            return
        say(f"{name}: training from step {first} to {run.num_steps}; see {run.folder / 'train.log'}")
        cpu_s, wall_s = workshop.vernier(
            "train", "--recipe", run.recipe, "--workdir", run.folder / "work", "--seed", str(run.seed),
            "--num-steps", str(run.num_steps), *(["--resume"] if first else []),
            *(["--start-from", start] if (start := self._start(run.seed)) else []),
            log=run.folder / "train.log",
        )  # fmt: skip
        part = {"steps": run.num_steps - first, "cpu_s": round(cpu_s, 1), "wall_s": round(wall_s, 1)}
        with (run.folder / "times.jsonl").open("a") as times:
            times.write(json.dumps(part) + "\n")
        say(f"{name}: trained in {wall_s:.0f} s ({cpu_s:.0f} s of CPU)")

    def _start(self, seed: int) -> Path | None:
        """The newest checkpoint of the run that this seed's runs start from, where they start from one."""
        if self.plan.start is None:
            return None
        return newest_checkpoint(Path(self.plan.start.format(seed=seed)))

    def _evaluate(self, workshop: Workshop, run: Run, split: str) -> tuple[float, float]:
        scenes = self._scenes(split)
        partial = run.result(split).with_suffix(".partial")
        seconds = workshop.vernier(
            "eval", run.bundle, "--images", scenes / "images", "--threads", "1",
            *(word for flag, file in FILES.items() for word in (flag, scenes / f"{file}.jsonl")),
            "--json", partial, "--items", run.items(split),
            log=run.folder / "eval.log",
        )  # fmt: skip
        partial.replace(run.result(split))
        return seconds

    def _equal_time_steps(self) -> int | None:
        """Steps of the recipe in the baseline's time; None where it was decided that it needs none, or not yet."""
        stamp = self.folder / "equal_time.json"
        steps = json.loads(stamp.read_text())["num_steps"] if stamp.exists() else None
        return None if steps is None else int(steps)

    def _decide_equal_time(self) -> str:
        """Decide once, from the times of all seeds; what the report says of it."""
        if not self.in_equal_time:
            return "not compared: equal steps only."
        stamp = self.folder / "equal_time.json"
        if not stamp.exists():
            steps, note = self._equal_time()
            write(stamp, json.dumps({"num_steps": steps, "note": note}) + "\n")
        return str(json.loads(stamp.read_text())["note"])

    def _equal_time(self) -> tuple[int | None, str]:
        times = {
            arm: [seconds for seed in self.seeds if (seconds := self._run(arm, seed).seconds()) is not None]
            for arm in ("baseline", "recipe")
        }
        if not all(times.values()):
            return None, "not compared: the training times are not known, because the runs were killed."
        ours, theirs = (sum(cpu for cpu, _ in times[arm]) / len(times[arm]) for arm in ("recipe", "baseline"))
        if ours <= SLOWER * theirs:
            return None, f"equal steps are equal time: the recipe takes {ours / theirs:.2f} times the baseline's."
        steps = max(1, int(self._steps() * theirs / ours))
        return steps, (
            f"a step of the recipe takes {ours / theirs:.2f} times as long (CPU time of the training process, which "
            f"has one thread); it is trained again from nothing for {steps} steps, its rate falling to the end, and "
            "set beside the same baseline. Warm-ups counted in steps stay as they are."
        )

    def _report(self, note: str, *, finished: bool) -> None:
        timed = finished and self._equal_time_steps() is not None
        report = AblationReport(
            name=self.name,
            seeds=self.seeds,
            baseline=self._arm("baseline"),
            recipe=self._arm("recipe"),
            equal_time=self._arm("equal-time") if timed else None,
            equal_time_note=note,
            config_differences=differing(self.configs["recipe"], self.configs["baseline"]),
            splits={split: self._split(split, timed=timed) for split in SPLITS},
            provenance=self._provenance(),
        )
        self.docs.mkdir(parents=True, exist_ok=True)
        figure = differences(report)
        write(self.docs / f"{self.name}.json", json.dumps(report.to_json(), indent=1) + "\n")
        write(self.docs / f"{self.name}.svg", as_svg(figure) + "\n")
        (self.docs / f"{self.name}.png").write_bytes(as_png(figure))
        write(self.docs / f"{self.name}.md", to_markdown(report))
        say(f"{'the report' if finished else 'a first report, without equal time,'} is {self.docs / self.name}.md")

    def _arm(self, arm: str) -> Arm:
        runs = [self._run(arm, seed) for seed in self.seeds]
        first = runs[0]
        assert first.checkpoint is not None
        times = {str(run.seed): run.seconds() for run in runs}
        return Arm(
            recipe=first.recipe,
            num_steps=first.num_steps,
            batch_size=self.configs["baseline"].batch_size,
            weights=sum(tensor.numel() for tensor in read_tensors(first.checkpoint, MODEL).values()),
            bundle_bytes=sum(file.stat().st_size for file in first.bundle.rglob("*.onnx*")),
            train_s={seed: None if taken is None else taken[0] for seed, taken in times.items()},
            wall_s={seed: None if taken is None else taken[1] for seed, taken in times.items()},
        )

    def _split(self, split: str, *, timed: bool) -> SplitReport:
        arms = ["recipe", "baseline", *(["equal-time"] if timed else [])]
        answers = [read_items(self._run(arm, seed).items(split)) for arm in arms for seed in self.seeds]
        samples = samples_of(answers)
        count = len(self.seeds)
        recipe, baseline, in_time = samples[:count], samples[count : 2 * count], samples[2 * count :]
        return SplitReport(
            count=self.plan.scenes,
            equal_steps=compare(recipe, baseline),
            equal_time=compare(in_time, baseline) if timed else None,
        )

    def _provenance(self) -> dict[str, str]:
        asked = f"--scenes {self.plan.scenes}"
        if self.plan.max_steps is not None:
            asked += f" --max-steps {self.plan.max_steps}"
        if self.plan.start is not None:
            asked += " --start runs/start-{seed}"
        if not self.in_equal_time:
            asked += " --equal-steps-only"
        return {
            "date": datetime.now(UTC).date().isoformat(),
            "source": source_commit(),
            "hardware": hardware(),
            "command": f"`make ablation NAME={self.name} RECIPE={self.plan.recipe} BASELINE={self.plan.baseline} "
            f'SEEDS="{" ".join(map(str, self.seeds))}" ARGS="{asked}"`, {self.jobs} runs at a time, one thread each',
            "scenes": f"{self.plan.scenes} of each split, drawn once with seed {SCENES_SEED}; the same for every model",
            "start": self._said_start(),
        }

    def _said_start(self) -> str:
        """What every run begins with, in words."""
        starts = [start for seed in self.seeds if (start := self._start(seed)) is not None]
        if not starts:
            return "nothing"
        first, steps = read_config(starts[0]), read_progress(starts[0]).step
        own = ", ".join(str(read_config(start).seed) for start in starts)
        return (
            f"both go on from the same trained weights: `{first.recipe}` after {steps} steps of {first.batch_size}, "
            f"a run for each seed here (its own seeds: {own})"
        )


def differing(ours: TrainConfig, theirs: TrainConfig) -> list[str]:
    """Settings in which two recipes differ, `data.size_px`, but for their names and objectives."""

    def leaves(value: Any, name: str) -> dict[str, Any]:  # noqa: ANN401 - JSON
        if isinstance(value, dict):
            return {
                key: leaf
                for part, inner in value.items()
                for key, leaf in leaves(inner, f"{name}.{part}" if name else part).items()
            }
        return {name: value}

    first, second = leaves(to_json(ours), ""), leaves(to_json(theirs), "")
    names = sorted(key for key in {*first, *second} if first.get(key) != second.get(key))
    return [name for name in names if name not in ("recipe", "objectives")]


def hardware() -> str:
    """The machine, in words."""
    file = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*: (.*)$", file.read_text(), re.M) if file.exists() else []
    return f"{os.cpu_count()} cores of {names[0] if names else platform.processor() or 'an unnamed CPU'}"


def is_whole(result: Path) -> bool:
    """Say whether a result is there, with every group that can be asked of any bundle."""
    return result.exists() and all(group in json.loads(result.read_text()) for group in PROBES)


def write(path: Path, text: str) -> None:
    """Write a file so that it is whole or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def say(line: str) -> None:
    """Print a line with the time."""
    print(f"{datetime.now(UTC):%H:%M:%S} {line}", flush=True)


def main() -> None:
    """Read the call, hold the lock, do the work."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", help="what is tested, as training.recipes.vilem:ablation")
    parser.add_argument("--baseline", default="training.recipes.baseline:ablation", help="what it stands beside")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--name", help="of the report; made of the recipe's name when left out")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at a time, one thread each")
    parser.add_argument("--scenes", type=int, default=1000, help="of each split")
    parser.add_argument("--max-steps", type=int, help="at most so many steps a run, to try everything out")
    parser.add_argument("--start", help="working directory of the run to start from, `{seed}` being the seed's")
    parser.add_argument("--equal-steps-only", action="store_true", help="no second training in the baseline's time")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "ablation", help="where the work goes")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs" / "experiments", help="where the report goes")
    given = parser.parse_args()
    name = given.name or re.sub(r"\W+", "-", given.recipe.removeprefix("training.recipes."))
    folder = given.runs.resolve() / name
    folder.mkdir(parents=True, exist_ok=True)
    plan = Plan(
        recipe=given.recipe,
        baseline=given.baseline,
        scenes=given.scenes,
        max_steps=given.max_steps,
        start=given.start,
    )
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"ablation: {folder} is at work already (or a run of it that was left behind still is).")
        workshop = Workshop(lock)
        signal.signal(signal.SIGTERM, lambda *_: workshop.end())
        ablation = Ablation(
            plan,
            name=name,
            seeds=given.seeds,
            folder=folder,
            jobs=given.jobs,
            docs=given.docs,
            in_equal_time=not given.equal_steps_only,
        )
        try:
            ablation.check()
            ablation.run(workshop)
        except KeyboardInterrupt:
            sys.exit("ablation: interrupted; call it again to go on")
        except VernierError as error:
            sys.exit(f"ablation: {error}")


if __name__ == "__main__":
    main()
