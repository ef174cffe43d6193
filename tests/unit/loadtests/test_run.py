"""A short run of locust itself against a real server: it is judged, and the exit status says how."""

import json
import os
import pkgutil
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.vernier.conftest import Running, serving
from vernier import Client

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    yield from serving(tmp_path_factory.mktemp("galleries"), cache_bytes=0)  # each request does all its work


def locust(host: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "locust", "-f", str(ROOT / "loadtests" / "locustfile.py"), "--headless"]
    command += ["--users", "3", "--spawn-rate", "3", "--run-time", "2s", "--host", host, "--only-summary", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def thresholds(folder: Path, text: str) -> str:
    file = folder / "thresholds.toml"
    file.write_text(text)
    return str(file)


def test_the_mixed_profile_runs_when_none_is_named(server: Running, tmp_path: Path) -> None:
    kind = thresholds(tmp_path, '["all requests"]\nerror_rate = 0\n')
    ran = locust(server.url, "--thresholds", kind)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "search by text" in ran.stderr + ran.stdout
    assert "good enough" in ran.stderr
    with Client(server.url) as client:
        assert [gallery.name for gallery in client.galleries()] == ["default"]


def test_a_run_that_is_not_good_enough_fails(server: Running, tmp_path: Path) -> None:
    ran = locust(server.url, "--thresholds", thresholds(tmp_path, "[ground]\np95_ms = 0.001\n"), "Ground")
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "not good enough: run: ground: p95" in ran.stderr
    assert "search by text" not in ran.stderr + ran.stdout


def test_a_server_that_is_not_there_fails(unused_port: int) -> None:
    ran = locust(f"http://127.0.0.1:{unused_port}", "TextSearch")
    assert ran.returncode == 1
    assert "not good enough" in ran.stderr


def test_a_plan_in_an_open_loop_is_judged_stage_by_stage_and_names_the_slow_part(
    server: Running, tmp_path: Path
) -> None:
    asked = '["all requests"]\nerror_rate = 0\n[stage.steady.proofread]\np95_ms = 0.001\n'
    told = ["--plan", "spike", "--stretch", "0.05", "--loop", "open", "--full", "20", "--report", str(tmp_path)]
    ran = locust(server.url, *told, "--thresholds", thresholds(tmp_path, asked), "Proofread")
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "not good enough: steady: proofread: p95" in ran.stderr
    assert "not good enough: spike" not in ran.stderr
    assert "of their time" in ran.stderr
    measured = json.loads((tmp_path / "report.json").read_text())["measured"]
    assert [entry["stage"] for entry in measured if entry["name"] == "proofread"][:2] == ["warm-up", "steady"]
    assert all("proofread" in entry["server_ms"] for entry in measured if entry["requests"] > entry["refused"])


@pytest.mark.parametrize(
    ("broken", "profile", "kind", "stage"),
    [
        ("server.pictures.decode_image", "PictureSearch", "search by picture", "decode"),
        ("index.local.LocalGallery.search", "TextSearch", "search by text", "search"),
    ],
)
def test_a_stage_that_became_slow_is_named(
    broken: str, profile: str, kind: str, stage: str, server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk, a codec, an index may become slow by itself: a sleep is put where the stage does its work."""
    owner, name = broken.rpartition(".")[::2]
    at_work = pkgutil.resolve_name(owner)
    quick = getattr(at_work, name)

    def slow(*args: object, **kwargs: object) -> object:
        time.sleep(0.2)
        return quick(*args, **kwargs)

    monkeypatch.setattr(at_work, name, slow)
    asked = thresholds(tmp_path, f'["{kind}"]\np95_ms = 150\n')
    ran = locust(server.url, "--users", "1", "--thresholds", asked, "--report", str(tmp_path), profile)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert re.search(rf"not good enough: run: {kind}: p95 .*; the slowest spent \d+ ms in `{stage}`", ran.stderr)
    measured = json.loads((tmp_path / "report.json").read_text())["measured"]
    assert {entry["slowest_stage"] for entry in measured} == {stage}


def test_two_workers_report_to_one_master(server: Running, unused_port: int, tmp_path: Path) -> None:
    here = ["--master-port", str(unused_port)]
    command = [sys.executable, "-m", "locust", "-f", str(ROOT / "loadtests" / "locustfile.py"), "TextSearch"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    workers = [
        subprocess.Popen(
            [*command, "--worker", "--loop", "open", *here], env=environment, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    here = ["--master", "--master-bind-port", str(unused_port), "--expect-workers", "2"]
    strict = ["--thresholds", thresholds(tmp_path, '["all requests"]\nerror_rate = 0\n')]
    told = ["--plan", "steady", "--stretch", "0.05", "--loop", "open", "--full", "20", "--report", str(tmp_path)]
    try:
        ran = locust(server.url, "TextSearch", *here, *told, *strict)
        said = [worker.communicate(timeout=60)[1] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert ran.returncode == 0, ran.stdout + ran.stderr + "".join(said)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["run"]["workers"] == 2
    assert {entry["stage"] for entry in report["measured"] if entry["requests"]} == {"warm-up", "steady"}


def test_the_other_profiles_get_only_good_answers(server: Running, tmp_path: Path) -> None:
    strict = thresholds(tmp_path, '["all requests"]\nerror_rate = 0\n')
    ran = locust(server.url, "--thresholds", strict, "PictureSearch", "Proofread", "Ingest")
    assert ran.returncode == 0, ran.stdout + ran.stderr
