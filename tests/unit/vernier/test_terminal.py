"""What a terminal sees and what a pipe sees: colours, pictures, completion."""

import codecs
import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import termios
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.vernier.conftest import Running, picture
from vernier import Client

ROOT = Path(__file__).resolve().parents[3]
VERNIER = Path(sys.executable).with_name("vernier")

Answers = dict[str, str]
"""What a terminal says to what it is asked; the questions are regular expressions."""

SILENT: Answers = {}
SIXEL: Answers = {r"\x1b\[c": "\x1b[?62;4c", r"\x1b\[16t": "\x1b[6;20;10t"}
KITTY: Answers = {
    r"\x1b\[c": "\x1b[?62c",
    r"\x1b\[16t": "\x1b[6;20;10t",
    r"\x1b_G[^\x1b]*i=(\d+)[^\x1b]*a=q[^\x1b]*\x1b\\": "\x1b_Gi={0};OK\x1b\\",
}


def clean_environment(**variables: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("VERNIER_", "NO_COLOR"))}
    return {**kept, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLORTERM": "truecolor", **variables}


def on_a_terminal(*arguments: str, answers: Answers, cwd: Path, **variables: str) -> tuple[int, str]:
    """Run a command on a terminal that answers so; its exit status and all that it wrote there."""
    controller, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (30, 100))
    process = subprocess.Popen(
        [sys.executable, "-m", "vernier", *arguments],
        stdin=terminal, stdout=terminal, stderr=terminal, cwd=cwd, env=clean_environment(**variables),
    )  # fmt: skip
    os.close(terminal)
    shown, answered, decoder = "", 0, codecs.getincrementaldecoder("utf-8")()
    while True:
        if not select.select([controller], [], [], 60)[0]:
            process.kill()
            raise AssertionError(f"nothing happens: {shown!r}")
        try:
            chunk = os.read(controller, 65536)
        except OSError:  # Linux says so when the other side is closed
            break
        if not chunk:
            break
        shown += decoder.decode(chunk)
        for question, answer in answers.items():
            for match in re.finditer(question, shown[answered:]):
                os.write(controller, answer.format(*match.groups()).encode())
        answered = len(shown)
    os.close(controller)
    return process.wait(timeout=60), shown


def in_a_pipe(*arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vernier", *arguments],
        cwd=cwd, env=clean_environment(**variables), capture_output=True, text=True, stdin=subprocess.DEVNULL,
        timeout=60,
    )  # fmt: skip


@pytest.fixture(scope="module")
def asked(server: Running) -> Iterator[tuple[str, ...]]:
    """A search with two hits, one of which has a picture."""
    name = f"t{uuid.uuid4().hex[:12]}"
    with Client(server.url) as client:
        client.create_gallery(name)
        client.add("red", image=picture("red"), text="a red picture", gallery=name)
        client.add("blue", image=picture("blue"), text="a blue picture", gallery=name)
        yield ("search", "a red picture", "--url", server.url, "--gallery", name)
        client.delete_gallery(name)


def test_a_pipe_gets_no_colour_and_no_picture(asked: tuple[str, ...], tmp_path: Path) -> None:
    ran = in_a_pipe(*asked, "--pictures", cwd=tmp_path)
    assert ran.returncode == 0
    assert "\x1b" not in ran.stdout + ran.stderr
    assert ran.stdout.split()[1] == "red"
    assert "pictures are not shown: this is no terminal" in ran.stderr
    assert in_a_pipe(*asked, cwd=tmp_path).stderr == ""


def test_a_terminal_gets_colours_unless_they_are_not_wanted(asked: tuple[str, ...], tmp_path: Path) -> None:
    status, shown = on_a_terminal(*asked, "--no-pictures", answers=SILENT, cwd=tmp_path)
    assert status == 0
    assert "\x1b[36mred" in shown
    _, plain = on_a_terminal(*asked, "--no-pictures", answers=SILENT, cwd=tmp_path, NO_COLOR="1")
    assert "\x1b" not in plain
    assert "red" in plain
    _, failed = on_a_terminal("search", "x", "--url", "nowhere", answers=SILENT, cwd=tmp_path)
    assert "\x1b[31m" in failed
    assert "no address" in failed


def test_a_terminal_without_pictures_gets_half_blocks_when_asked(asked: tuple[str, ...], tmp_path: Path) -> None:
    _, shown = on_a_terminal(*asked, "--pictures", answers=SILENT, cwd=tmp_path)
    assert shown.count("▀") > 100
    assert "▀" not in on_a_terminal(*asked, answers=SILENT, cwd=tmp_path)[1]


@pytest.mark.parametrize(("answers", "begins"), [(SIXEL, "\x1bP"), (KITTY, "\x1b_G")])
def test_a_terminal_with_pictures_gets_them_unasked(
    asked: tuple[str, ...], tmp_path: Path, answers: Answers, begins: str
) -> None:
    status, shown = on_a_terminal(*asked, answers=answers, cwd=tmp_path)
    assert status == 0
    after_the_table = shown[shown.index("a blue picture") :]
    assert begins in after_the_table
    assert "▀" not in shown


def test_json_is_json_on_a_terminal_too(asked: tuple[str, ...], tmp_path: Path) -> None:
    _, shown = on_a_terminal(*asked, "--json", answers=KITTY, cwd=tmp_path)
    assert [hit["id"] for hit in json.loads(shown)["hits"]] == ["red", "blue"]


Complete = Callable[[str], list[str]]


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Complete:
    """What bash offers when the tabulator is pressed at the end of a line, with the script that `vernier` gives."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash here")
    folder = tmp_path_factory.mktemp("completion")
    environment = clean_environment(PATH=f"{VERNIER.parent}{os.pathsep}{os.environ['PATH']}")
    script = subprocess.run(
        [VERNIER], env={**environment, "_VERNIER_COMPLETE": "source_bash"}, capture_output=True, text=True, timeout=60
    )
    assert script.returncode == 0, script.stderr

    def press(line: str) -> list[str]:
        words = line.split(" ")
        press_tab = (
            f"{script.stdout}\nCOMP_WORDS=({' '.join(words)})\nCOMP_CWORD={len(words) - 1}\nCOMP_LINE='{line}'\n"
            'handler=$(complete -p vernier | sed "s/.*-F \\([^ ]*\\).*/\\1/")\n$handler vernier\n'
            'printf "%s\\n" "${COMPREPLY[@]}"\n'
        )
        ran = subprocess.run(
            [bash, "--norc", "-c", press_tab], cwd=folder, env=environment, capture_output=True, text=True, timeout=60
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.split()

    return press


def test_bash_completes_commands_options_and_choices(complete: Complete) -> None:
    assert complete("vernier pro") == ["proofread"]
    assert {"add", "stats", "verify"} <= set(complete("vernier index "))
    assert "--rerank" in complete("vernier search x --re")
    assert complete("vernier export x --precision fp1") == ["fp16"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_a_script_too(shell: str, tmp_path: Path) -> None:
    ran = in_a_pipe(cwd=tmp_path, _VERNIER_COMPLETE=f"source_{shell}")
    assert ran.returncode == 0, ran.stderr
    assert "_VERNIER_COMPLETE" in ran.stdout
