"""Progress is a bar on a terminal and plain lines elsewhere."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from vernier.progress import progress

ROOT = Path(__file__).resolve().parents[3]

WORK = """
from vernier.progress import progress
with progress("Working") as hook:
    for done in range(1, 8):
        hook(done, 7)
"""


def test_lines_come_at_first_then_now_and_then_and_at_the_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 1.0, 2.0, 7.0, 8.0, 9.0])
    monkeypatch.setattr("vernier.progress.monotonic", lambda: next(clock))
    with progress("Working") as hook:
        for done in range(1, 6):
            hook(done, 5)
    assert capsys.readouterr().err.splitlines() == ["Working: 1/5", "Working: 3/5", "Working: 5/5"]


def test_what_has_no_known_end_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("Adding") as hook:
        hook(3, 0)
    assert capsys.readouterr().err == "Adding: 3\n"


def test_a_terminal_gets_a_bar() -> None:
    controller, terminal = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen([sys.executable, "-c", WORK], stderr=terminal, env=environment) as process:
        os.close(terminal)
        shown = b""
        try:
            while chunk := os.read(controller, 4096):
                shown += chunk
        except OSError:  # Linux says so when the other side is closed
            pass
        os.close(controller)
        assert process.wait(timeout=60) == 0
    text = shown.decode()
    assert "━" in text
    assert "7/7" in text
    assert "Working: " not in text
