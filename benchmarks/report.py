"""What every benchmark says of itself, and how it says what it found."""

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.index import provenance

Report = dict[str, Any]


def made_by(module: str) -> Report:
    """Say where, when and how this was measured."""
    arguments = sys.argv[1 : sys.argv.index("--json")] if "--json" in sys.argv else sys.argv[1:]
    command = "python -m " + " ".join([module, *arguments])
    return {**provenance(), "command": command, "note": "the machine was shared with other work"}


def write_report(report: Report, file: Path | None) -> None:
    """Print a report, and write it as JSON when a file is named."""
    text = json.dumps(report, indent=2, default=lambda value: round(float(value), 6))
    print(text)
    if file:
        file.write_text(text + "\n")
