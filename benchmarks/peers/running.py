"""One server of a comparison: started, measured, held still while another is measured, and stopped."""

import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.load import request_bytes
from benchmarks.peers.peers import Peer, Place, Request

_START_S = 300
_STOP_S = 30


@dataclass(slots=True)
class Running:
    """A server that runs, with the processes that it started.

    Attributes:
        start_s: from its start to its first answer that needed the model.
    """

    peer: Peer
    process: subprocess.Popen[bytes]
    port: int
    start_s: float = 0.0

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return "127.0.0.1", self.port

    def tree(self) -> list[psutil.Process]:
        """Its process and all below."""
        try:
            main = psutil.Process(self.process.pid)
            return [main, *main.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def cpu_s(self) -> float:
        """CPU seconds that its processes have used."""
        total = 0.0
        for one in self.tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = one.cpu_times()
                total += times.user + times.system
        return total

    def memory_mb(self) -> float:
        """Memory of its processes, what they share counted once (PSS)."""
        total = 0
        for one in self.tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                total += one.memory_full_info().pss
        return total / 1e6

    def hold(self) -> None:
        """Let it have no CPU."""
        for one in self.tree():
            one.suspend()

    def go_on(self) -> None:
        """Let it have CPU again."""
        for one in self.tree():
            one.resume()

    def bytes_of(self, request: Request) -> bytes:
        """A request as it goes over the wire."""
        path, body = request
        return request_bytes(path, json.dumps(body).encode(), "application/json", host=f"127.0.0.1:{self.port}")

    def ask(self, request: Request, *, timeout_s: float = 60) -> Any:  # noqa: ANN401
        """Send a request and return its answer.

        Raises:
            httpx.HTTPError: there was none, or not a good one.
        """
        path, body = request
        answer = httpx.post(f"http://127.0.0.1:{self.port}{path}", json=body, timeout=timeout_s)
        answer.raise_for_status()
        return answer.json()


@contextmanager
def running(peer: Peer, place: Place, log: Path) -> Iterator[Running]:
    """Start a server, wait for its first answer, and stop it and all that it started afterwards."""
    server = start(peer, place, log)
    try:
        wait_until_it_answers(server, log)
        yield server
    finally:
        stop(server)


def start(peer: Peer, place: Place, log: Path) -> Running:
    """Start a server and wait for nothing."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = int(found.getsockname()[1])
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("VERNIER_", "OMP_"))}
    with log.open("w") as file:
        process = subprocess.Popen(
            peer.command(place, port),
            env={**inherited, **peer.variables(place, port)},
            cwd=place.root,  # infinity leaves a cache where it is started
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
    return Running(peer, process, port)


def wait_until_it_answers(server: Running, log: Path) -> None:
    """Wait for the first answer that needs the model, and note how long that took."""
    question = server.peer.embed_text or server.peer.search_text
    assert question is not None
    since = psutil.Process(server.process.pid).create_time()
    while time.time() - since < _START_S:
        if server.process.poll() is not None:
            raise SystemExit(f"{server.peer.name} did not start:\n{log.read_text()[-2000:]}")
        if _listens(server) and _answers(server, question("a red cube")):
            server.start_s = time.time() - since
            return
        time.sleep(0.05)
    raise SystemExit(f"{server.peer.name} does not answer after {_START_S} s:\n{log.read_text()[-2000:]}")


def _listens(server: Running) -> bool:
    """Whether it takes connections: cheap to ask, so that asking takes nothing from who is starting."""
    with socket.socket() as tried:
        return tried.connect_ex(server.address) == 0


def _answers(server: Running, request: Request) -> bool:
    try:
        server.ask(request, timeout_s=_START_S)
    except httpx.HTTPError:
        return False
    return True


def stop(server: Running) -> None:
    """Stop a server: by SIGTERM, and whatever of it is left by SIGKILL."""
    tree = server.tree()
    for one in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.resume()
    server.process.terminate()
    _, left = psutil.wait_procs(tree, timeout=_STOP_S / 3)
    for one in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    server.process.wait(_STOP_S)
