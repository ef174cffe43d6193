"""Every command of the tutorials, run as it is written, each tutorial in an empty folder of its own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.e2e.commands import REASONS, Command, commands_in, script_of

DOCUMENTS = [*sorted((ROOT / "docs" / "tutorials").glob("*.md")), ROOT / "docs" / "from-clip-retrieval.md"]
BIN = Path(sys.executable).parent


def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script as someone new at this machine: an empty home, nothing set, `vernier` on the path."""
    environment = {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "PYTHONPATH": str(ROOT),
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", ""),
        "DEMO_BUNDLE": str(ROOT / "bundles" / "demo"),
    }
    environment = {name: value for name, value in environment.items() if value}
    with subprocess.Popen(
        ["bash", "--norc", "-c", script], cwd=folder, env=environment, text=True, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        try:
            out, err = process.communicate(timeout=240)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(script, process.returncode, out, err)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_every_command_does_what_it_should(document: Path, tmp_path: Path) -> None:
    commands = commands_in(document)
    assert {command.skipped for command in commands} - {None} <= REASONS
    assert sum(command.skipped is None for command in commands) >= 3
    ran = run(script_of(commands), tmp_path)
    assert ran.returncode == 0, f"{document.name}: {ran.stderr[-2000:]}\n{ran.stdout[-1000:]}"
    assert "Traceback" not in ran.stderr


def test_a_command_that_fails_is_named(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text(
        "# Page\n<!-- before: touch made -->\n```console\n$ test -e made\noutput\n```\n<!-- skip: gpu -->\n"
        "```console\n$ false\n```\n```\n$ no command\n```\n```console\n$ echo one &&\n> false\n$ touch never\n```\n"
    )
    assert commands_in(document) == [
        Command(2, "touch made"), Command(4, "test -e made"), Command(9, "false", "gpu"),
        Command(15, "echo one &&\nfalse"), Command(17, "touch never"),
    ]  # fmt: skip
    ran = run(script_of(commands_in(document)), tmp_path)
    assert ran.returncode == 1
    assert "line 15 ended with 1" in ran.stderr
    assert not (tmp_path / "never").exists()
