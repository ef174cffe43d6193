"""Reads the licences of what images hold and names those that bind who ships them.

    python scripts/licences.py

Offline: it reads the installed packages' own metadata. What is not recognised is refused too, until somebody has read
it and added it here.
"""

import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements"
SERVED = ("serve", "milvus")
"""Lock files of what goes into images; developers' tools are not shipped."""

_FREE = re.compile(
    r"\b(MIT|MIT-0|MIT-CMU|HPND|BSD|BSD-[23]-Clause|0BSD|Apache|Apache-2\.0|ISC|PSF|PSF-2\.0|"
    r"Python Software Foundation|MPL-2\.0|MPL 2\.0|Mozilla Public License 2\.0|Unlicense|Zlib|CC0-1\.0)\b",
    re.IGNORECASE,
)
_BINDING = re.compile(
    r"\b([AL]?GPL|GNU (Affero |Library or Lesser |Lesser )?General Public|SSPL|BUSL|Commons Clause|"
    r"CC-BY-NC|Proprietary)",
    re.IGNORECASE,
)
ACCEPTED = {
    "textual-image": "LGPL-3.0-or-later: a library of its own, installed unchanged; who ships an image passes on its "
    "licence and says where its source is",
}
"""Packages whose licence asks for something: name to what it is and why that is met."""


def packages(lock: str) -> Iterator[str]:
    """Yield the names in `requirements/LOCK.txt`."""
    for line in (REQUIREMENTS / f"{lock}.txt").read_text(encoding="utf-8").splitlines():
        if found := re.match(r"([A-Za-z0-9._-]+)==", line):
            yield found[1]


def licence_of(package: str) -> str:
    """Return what an installed package says of its licence, on one line; nothing when it says nothing."""
    told = metadata(package)
    classified = [line.rpartition("::")[2].strip() for line in told.get_all("Classifier") or () if "License ::" in line]
    said = [told.get("License-Expression") or "", *classified, (told.get("License") or "").strip().splitlines()[:1]]
    return "; ".join(dict.fromkeys(part if isinstance(part, str) else "".join(part) for part in said if part))


def may_be_shipped(licence: str) -> bool:
    """Say whether a licence leaves who ships it free; one of several that may be chosen is enough."""
    choices = re.split(r"\bOR\b", licence)
    return any(_FREE.search(choice) and not _BINDING.search(choice) for choice in choices)


def complaints() -> list[str]:
    """Return a line for each package that may not be shipped, or of which nobody knows."""
    lines = []
    for package in sorted({name for lock in SERVED for name in packages(lock)}):
        try:
            licence = licence_of(package)
        except PackageNotFoundError:
            lines.append(f"{package}: not installed here, so that its licence cannot be read; `make setup`")
            continue
        if package not in ACCEPTED and not may_be_shipped(licence):
            lines.append(
                f"{package}: {licence or 'says nothing of its licence'}; read it, then see scripts/licences.py"
            )
    return lines


if __name__ == "__main__":
    found = complaints()
    print("\n".join(found), file=sys.stderr)
    sys.exit(bool(found))
