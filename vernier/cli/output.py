"""What commands print: results on stdout, everything else on stderr; in colour on a terminal, plain elsewhere."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TextIO

import typer

Colour = Literal["red", "green", "yellow", "cyan"]


class Coloured(NamedTuple):
    """A cell of a table that a terminal shows in a colour."""

    text: str
    colour: Colour


def has_colours(stream: TextIO) -> bool:
    """Say whether a stream is a terminal that shows colours and whose owner wants them (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def say(line: str = "") -> None:
    """Write one line of a result to stdout."""
    sys.stdout.write(line + "\n")


def note(line: str) -> None:
    """Write one line that is not a result to stderr."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def complain(line: str) -> None:
    """Write to stderr why the command ends."""
    name = typer.style("vernier:", fg="red", bold=True) if has_colours(sys.stderr) else "vernier:"
    note(f"{name} {line}")


def say_json(value: Mapping[str, Any] | Sequence[Any]) -> None:
    """Write a result to stdout as JSON."""
    say(json.dumps(value, indent=2, ensure_ascii=False))


def say_table(rows: Sequence[Sequence[str | Coloured]]) -> None:
    """Write rows to stdout with their columns aligned; the last column may be of any length."""
    columns = len(rows[0]) - 1 if rows else 0
    widths = [max(len(_text(row[column])) for row in rows) for column in range(columns)]
    coloured = has_colours(sys.stdout)
    for row in rows:
        padded = [_text(cell).ljust(width) for cell, width in zip(row, [*widths, 0], strict=True)]
        padded[-1] = padded[-1].rstrip()
        if not coloured:
            say("  ".join(padded).rstrip())
            continue
        shown = [
            typer.style(text, fg=cell.colour) if isinstance(cell, Coloured) and text.strip() else text
            for cell, text in zip(row, padded, strict=True)
        ]
        say("  ".join(shown))


def _text(cell: str | Coloured) -> str:
    return cell.text if isinstance(cell, Coloured) else cell
