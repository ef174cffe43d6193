"""A short run of locust itself against a real server: it is judged, and the exit status says how."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.vernier.conftest import Running, serving
from vernier import Client

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    yield from serving(tmp_path_factory.mktemp("galleries"))


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
    assert "not good enough: ground: p95" in ran.stderr
    assert "search by text" not in ran.stderr + ran.stdout


def test_a_server_that_is_not_there_fails(unused_port: int) -> None:
    ran = locust(f"http://127.0.0.1:{unused_port}", "TextSearch")
    assert ran.returncode == 1
    assert "not good enough" in ran.stderr


def test_the_other_profiles_get_only_good_answers(server: Running, tmp_path: Path) -> None:
    strict = thresholds(tmp_path, '["all requests"]\nerror_rate = 0\n')
    ran = locust(server.url, "--thresholds", strict, "PictureSearch", "Proofread", "Ingest")
    assert ran.returncode == 0, ran.stdout + ran.stderr
