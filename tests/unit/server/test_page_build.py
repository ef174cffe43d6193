"""The web page as it is shipped: built from the sources beside it, small, and of nothing from elsewhere."""

import gzip
import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path

from tests.conftest import ROOT

BUILT = ROOT / "server" / "web"
SOURCES = ROOT / "web"
NAMES = ("index.html", "package-lock.json", "package.json", "public", "src", "tsconfig.json", "vite.config.ts")
LONGEST_BYTES = 300_000


def listing(paths: Iterable[Path], root: Path) -> list[str]:
    """Digest and path of each file, as `web/vite.config.ts` notes them."""
    files = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file()]
    named = {file.relative_to(root).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    return [f"{named[name]} {name}" for name in sorted(named)]


def test_the_shipped_page_is_built_from_these_sources() -> None:
    note = json.loads((BUILT / "build.json").read_text())
    sources = "\n".join(listing([SOURCES / name for name in NAMES], SOURCES))
    assert note["sources"] == hashlib.sha256(sources.encode()).hexdigest(), "the page's sources changed: `make web`"
    shipped = [path for path in BUILT.iterdir() if path.name != "build.json"]
    assert note["files"] == listing(shipped, BUILT), "server/web was changed by hand: `make web`"


def test_the_page_is_small() -> None:
    sent = sum(len(gzip.compress(path.read_bytes(), 4)) for path in BUILT.iterdir() if path.name != "build.json")
    assert sent < LONGEST_BYTES


def test_nothing_comes_from_elsewhere() -> None:
    addresses = {
        address
        for path in BUILT.iterdir()
        for address in re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}[^\s\"'`)]*", path.read_text(encoding="utf-8"))
    }
    assert {address for address in addresses if not address.startswith("http://www.w3.org/")} == set()


def test_the_lock_file_names_no_host_and_pins_every_package() -> None:
    packages = json.loads((SOURCES / "package-lock.json").read_text())["packages"]
    assert all("resolved" not in package for package in packages.values())
    assert all("integrity" in package for name, package in packages.items() if name)
