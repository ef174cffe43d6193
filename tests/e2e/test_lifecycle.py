"""Servers from their start to their end: wrong settings, one gallery under two of them, and what is left behind."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import psutil

from tests.conftest import ROOT
from tests.e2e.conftest import start_server
from tests.unit.server.drawing import jpeg


def put(url: str, colour: str) -> httpx.Response:
    return httpx.put(f"{url}/galleries/default/items/{colour}", files={"image": ("a.jpg", jpeg(colour))})


def found(url: str, colour: str) -> bool:
    answer = httpx.post(f"{url}/search", json={"text": colour, "top_k": 1})
    assert answer.status_code == 200, answer.text
    return [hit["id"] for hit in answer.json()["hits"]] == [colour]


def test_every_wrong_setting_is_told_at_once(tmp_path: Path) -> None:
    wrong = {"VERNIER_PORT": "http", "VERNIER_MAX_PIXELS": "-1", "VERNIER_API_KEYS": "short", "VERNIER_URL_HOSTS": "/"}
    done = subprocess.run(
        [sys.executable, "-c", "from vernier.cli import main; main()", "serve"],
        cwd=tmp_path,
        env={**os.environ, **wrong, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for name in wrong:
        assert name in done.stderr
    assert "short" not in done.stderr.replace("shorter", "")


def test_a_second_server_follows_the_one_that_writes_and_never_writes_itself(tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    (tmp_path / "third").mkdir()
    shared = str(tmp_path / "galleries")
    first = start_server(tmp_path)
    assert put(first.url, "red").status_code == 201
    second = start_server(tmp_path / "second", VERNIER_GALLERIES_DIR=shared)
    assert found(second.url, "red")
    assert put(first.url, "blue").status_code == 201
    assert found(second.url, "blue")
    refused = put(second.url, "green")
    assert (refused.status_code, refused.json()["code"]) == (409, "gallery_read_only")
    assert httpx.get(f"{second.url}/galleries/default").json()["read_only"] is True
    first.process.kill()
    first.process.wait()
    third = start_server(tmp_path / "third", VERNIER_GALLERIES_DIR=shared)
    assert put(third.url, "green").status_code == 201
    assert found(second.url, "green")
    assert [third.stop(), second.stop()] == [0, 0]


def test_one_process_serves_and_its_end_leaves_nothing_behind(tmp_path: Path) -> None:
    server = start_server(tmp_path, WEB_CONCURRENCY="4")
    with httpx.Client(base_url=server.url) as kept_open:
        assert kept_open.get("/health/live").status_code == 200
        assert put(server.url, "red").status_code == 201
        assert psutil.Process(server.process.pid).children(recursive=True) == []
        assert server.stop() == 0
    assert any(line.get("event") == "one_process" for line in server.log_lines())
    assert not any(line["level"] == "error" for line in server.log_lines())
