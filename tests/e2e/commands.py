"""Commands out of a document: what stands after `$ ` in its `console` blocks.

`<!-- skip: REASON -->` above a block keeps it from being run here; `<!-- before: COMMAND -->` is run and not shown.
"""

import re
from dataclasses import dataclass
from pathlib import Path

_BEFORE = re.compile(r"^<!-- before: (.+) -->$")
_SKIP = re.compile(r"^<!-- skip: (.+) -->$")

REASONS = frozenset({"cluster", "gpu", "hours", "install", "network"})
"""Why a block may be left out: it needs several machines, a card, hours, an empty machine, or the network."""


@dataclass(frozen=True)
class Command:
    """One command, over several lines perhaps.

    Attributes:
        line: where it stands, from 1.
        skipped: why it is not run here; None when it is.
    """

    line: int
    text: str
    skipped: str | None = None


def commands_in(document: Path) -> list[Command]:
    """Return every command of a document, in order."""
    found: list[Command] = []
    skipped: str | None = None
    inside = False
    for number, line in enumerate(document.read_text(encoding="utf-8").splitlines(), 1):
        if match := _BEFORE.match(line):
            found.append(Command(number, match[1]))
        elif match := _SKIP.match(line):
            skipped = match[1]
        elif line.startswith("```"):
            if inside:
                skipped = None
            inside = not inside and line.strip() == "```console"
        elif inside and line.startswith("$ "):
            found.append(Command(number, line[2:], skipped))
        elif inside and line.startswith("> ") and found:
            found[-1] = Command(found[-1].line, f"{found[-1].text}\n{line[2:]}", found[-1].skipped)
    return found


def script_of(commands: list[Command]) -> str:
    """Return what bash runs: all of it in one shell, up to the first command that fails, which is named on stderr."""
    head = "set -uo pipefail\nset -m\ntrap 'kill $(jobs -p) 2> /dev/null; wait' EXIT\n"
    body = [
        f"{command.text}\nstatus=$?; [ $status = 0 ] || {{ echo line {command.line} ended with $status >&2; exit 1; }}"
        for command in commands
        if command.skipped is None
    ]
    return head + "\n".join(body) + "\n"
