"""`vernier serve` as a process of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.unit.vernier.colour_bundle import write_colour_bundle
from tests.unit.vernier.conftest import picture
from vernier import Client, ServerUnreachableError

ROOT = Path(__file__).resolve().parents[3]


@contextmanager
def served(*arguments: object, port: int, cwd: Path) -> Iterator[Client]:
    """A client of a server that is stopped afterwards as an operator stops it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VERNIER_")}
    environment |= {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "vernier", "serve", "--port", str(port), *map(str, arguments)]
    with subprocess.Popen(command, cwd=cwd, env=environment, stderr=subprocess.PIPE) as process:
        try:
            with Client(f"http://127.0.0.1:{port}") as client:
                wait_for(client, process)
                yield client
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=30) == 0
        finally:
            process.kill()


def wait_for(client: Client, process: subprocess.Popen[bytes]) -> None:
    for _ in range(1200):
        assert process.poll() is None, process.stderr and process.stderr.read().decode()
        try:
            if client.health().status == "ready":
                return
        except ServerUnreachableError:
            time.sleep(0.05)
    pytest.fail("the server did not become ready")


def test_a_bundle_over_a_gallery(tmp_path: Path, unused_port: int) -> None:
    write_colour_bundle(tmp_path / "colours")
    named = ("--bundle", tmp_path / "colours", "--gallery", tmp_path / "gallery")
    with served(*named, port=unused_port, cwd=tmp_path) as client:
        client.add("red", image=picture("red"))
        assert client.search("red").hits[0].id == "red"
    with served(*named, port=unused_port, cwd=tmp_path) as client:
        assert client.search("red").hits[0].id == "red"
    assert not (tmp_path / ".galleries").exists()


def test_the_demo(tmp_path: Path, unused_port: int) -> None:
    write_colour_bundle(tmp_path / "bundles" / "demo")
    with served(port=unused_port, cwd=tmp_path) as client:
        answer = client.search("a red circle")
        assert len(answer.hits) == 10
        assert answer.gallery.items >= 500
        assert answer.hits[0].metadata is not None
        assert "caption" in answer.hits[0].metadata
    assert (tmp_path / ".galleries" / "demo" / "default").is_dir()
