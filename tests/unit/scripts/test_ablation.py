"""What an ablation refuses, and what it reads from what an interrupted one left behind."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from runtime.errors import UsageError, VernierError
from scripts.ablation import Ablation, Plan, Run, Workshop, differing
from training.config import OptimizerConfig
from training.recipes.baseline import ablation, ablation_itc, tiny

BASELINE = "training.recipes.baseline:ablation"
ITC = "training.recipes.baseline:ablation_itc"


def ablation_of(tmp_path, recipe=ITC, **changes):
    plan = Plan(**{"recipe": recipe, "baseline": BASELINE, "scenes": 60, "max_steps": 20, **changes})
    return Ablation(plan, name="x", seeds=[0], folder=tmp_path / "x", jobs=1, docs=tmp_path)


def test_recipes_of_equal_steps_on_equal_scenes_are_accepted_again_and_again(tmp_path):
    ablation_of(tmp_path).check()
    ablation_of(tmp_path).check()
    with pytest.raises(UsageError, match="another plan"):
        ablation_of(tmp_path, scenes=61).check()


def test_the_command_in_the_report_gives_the_same_plan_again(tmp_path):
    command = ablation_of(tmp_path, scenes=60, max_steps=20)._provenance()["command"]
    assert 'ARGS="--scenes 60 --max-steps 20"`' in command
    assert f"RECIPE={ITC} BASELINE={BASELINE}" in command


def test_recipes_of_other_lengths_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"num_steps is \d+ in training.recipes.baseline:tiny and 1500"):
        ablation_of(tmp_path, recipe="training.recipes.baseline:tiny").check()
    assert not (tmp_path / "x").exists()


def test_settings_that_differ_are_named():
    assert differing(ablation_itc(), ablation()) == []
    changed = replace(ablation(), ema_decay=0.5, optimizer=OptimizerConfig(weight_decay=0.7))
    assert {"ema_decay", "optimizer.weight_decay"} <= set(differing(changed, ablation()))
    assert "data.world" in differing(tiny(), ablation())


def run_in(folder, *, parts):
    folder.mkdir()
    (folder / "times.jsonl").write_text("".join(json.dumps(part) + "\n" for part in parts))
    return Run(arm="recipe", recipe=ITC, seed=0, num_steps=100, folder=folder)


def test_the_time_of_parts_that_were_killed_is_that_of_the_others(tmp_path):
    parts = [{"steps": 30, "cpu_s": 6, "wall_s": 9}, {"steps": 20, "cpu_s": 4, "wall_s": 16}]
    assert run_in(tmp_path / "a", parts=parts).seconds() == (20, 50)
    assert run_in(tmp_path / "b", parts=[]).seconds() is None
    assert run_in(tmp_path / "c", parts=[]).step() == 0


@pytest.mark.parametrize(
    ("cpu_s", "steps"), [({"recipe": 10.0, "baseline": 10.0}, None), ({"recipe": 40.0}, 5), ({}, None)]
)
def test_a_slower_recipe_gets_the_steps_of_the_baselines_time(cpu_s, steps, tmp_path):
    asked = ablation_of(tmp_path)
    asked.check()
    for arm, seconds in ({"baseline": 10.0} | cpu_s if cpu_s else {}).items():
        file = tmp_path / "x" / f"{arm}-seed0" / "times.jsonl"
        file.parent.mkdir()
        file.write_text(json.dumps({"steps": 20, "cpu_s": seconds, "wall_s": 1}) + "\n")
    note = asked._decide_equal_time()
    assert asked._equal_time_steps() == steps
    for arm in ("recipe", "baseline"):  # other times later do not change what was decided
        (tmp_path / "x" / f"{arm}-seed0" / "times.jsonl").unlink(missing_ok=True)
    assert ablation_of(tmp_path)._decide_equal_time() == note


def test_a_command_that_fails_says_so_with_the_end_of_its_log(tmp_path):
    with (tmp_path / "lock").open("w") as lock:
        workshop = Workshop(lock)
        with pytest.raises(VernierError, match=r"`vernier doctors` failed; the end of .*a\.log"):
            workshop.vernier("doctors", log=tmp_path / "a.log")
        cpu_s, wall_s = workshop.vernier("--version", log=tmp_path / "a.log")
        assert cpu_s > 0
        assert wall_s > 0
        workshop.end()
        with pytest.raises(VernierError, match="told to end"):
            workshop.vernier("--version", log=tmp_path / "a.log")


def test_only_one_is_at_work_and_sigterm_ends_what_it_began(tmp_path):
    call = [sys.executable, "-c", "import scripts.ablation as a; a.main()", ITC, "--name", "x", "--scenes", "4000"]
    call += ["--runs", str(tmp_path), "--docs", str(tmp_path), "--jobs", "1"]
    first = subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert "drawing" in first.stdout.readline()
        log = tmp_path / "x" / "scenes.log"
        while not log.exists() or "Drawing" not in log.read_text():
            assert first.poll() is None
            time.sleep(0.05)
        with (tmp_path / "x" / "lock").open("w") as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # as another call would
        os.kill(first.pid, signal.SIGTERM)
        _, said = first.communicate(timeout=60)
        assert first.returncode == 1
        assert "call it again to go on" in said
        assert not (tmp_path / "x" / "scenes" / "test").exists()
    finally:
        first.kill()
        first.wait()


def test_a_plan_from_before_starts_is_the_plan_without_one(tmp_path):
    ablation_of(tmp_path).check()
    stamp = tmp_path / "x" / "plan.json"
    plan = json.loads(stamp.read_text())
    del plan["start"]
    stamp.write_text(json.dumps(plan))
    ablation_of(tmp_path).check()
    with pytest.raises(UsageError, match="another plan"):
        ablation_of(tmp_path, start="runs/start-{seed}").check()
