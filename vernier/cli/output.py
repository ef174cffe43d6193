"""What commands print: results on stdout, everything else on stderr."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any


def say(line: str = "") -> None:
    """Write one line of a result to stdout."""
    sys.stdout.write(line + "\n")


def note(line: str) -> None:
    """Write one line that is not a result to stderr."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def say_json(value: Mapping[str, Any] | Sequence[Any]) -> None:
    """Write a result to stdout as JSON."""
    say(json.dumps(value, indent=2, ensure_ascii=False))


def say_table(rows: Sequence[Sequence[str]]) -> None:
    """Write rows to stdout with their columns aligned; the last column may be of any length."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)] if rows else []
    for row in rows:
        say("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip())
