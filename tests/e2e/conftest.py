"""A real server in a process of its own, on a real socket; and a real browser."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.conftest import ROOT
from tests.e2e.pages import fill_gallery, watched_page

PROGRAM = """
import sys
from runtime.engines.fake import fake_encoder
from server.run import serve
from server.settings import load_settings

serve(load_settings(), encoder=fake_encoder())
"""


@dataclass
class RunningServer:
    """A server process."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def stop(self) -> int:
        """Send SIGTERM and return how the process ended."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)

    def log_lines(self) -> list[dict]:
        """What it logged."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def start_server(folder: Path, **variables: str) -> RunningServer:
    """Start a server of the fake model over the galleries in a folder and wait until it is ready."""
    return start_program(PROGRAM, folder, **variables)


def start_program(program: str, folder: Path, **variables: str) -> RunningServer:
    """Start a program that serves, and wait until it is ready."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VERNIER_")}
    environment |= {"VERNIER_PORT": str(port), "VERNIER_GALLERIES_DIR": str(folder / "galleries"), **variables}
    log = folder / "server.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-c", program], cwd=ROOT, env=environment, stderr=stream, stdout=stream
        )
    url = f"http://127.0.0.1:{port}"
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        try:
            if httpx.get(f"{url}/health/ready").status_code == 200:
                return RunningServer(url, process, log)
        except httpx.TransportError:
            time.sleep(0.05)
    process.kill()
    raise AssertionError(f"the server did not start:\n{log.read_text()}")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    """A server with an empty gallery."""
    running = start_server(tmp_path)
    yield running
    if running.process.poll() is None:
        running.process.kill()
        running.process.wait()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, headless; `VERNIER_CHROMIUM` names another one than is found on the path."""
    found = os.environ.get("VERNIER_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium on the path; install it or name it in VERNIER_CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server for all tests of the page, whose default gallery they leave as it is."""
    running = start_server(tmp_path_factory.mktemp("page"))
    fill_gallery(running.url)
    yield running
    running.stop()


@pytest.fixture
def page(browser: Browser, filled: RunningServer) -> Iterator[Page]:
    """The page, opened; what it must not say or ask fails the test."""
    with watched_page(browser, filled.url) as page:
        page.goto(filled.url)
        yield page
