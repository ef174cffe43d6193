"""Draws the reliability of a bundle's word errors from what `vernier eval --json` wrote.

Called after `vernier eval BUNDLE --images DIR --hard-negatives F --json result.json` as
`python -m benchmarks.reliability result.json docs/images/word-error-reliability.png`.
"""

import json
import sys
from pathlib import Path

from evaluation.plots import as_png, reliability


def main() -> None:
    """Read the result and write the picture."""
    result, out = map(Path, sys.argv[1:3])
    numbers = json.loads(result.read_text(encoding="utf-8"))["proofreading"]
    out.write_bytes(as_png(reliability(numbers["reliability"])))


if __name__ == "__main__":
    main()
