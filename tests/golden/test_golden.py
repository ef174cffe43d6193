"""What earlier versions wrote is read by this one, and answers the same."""

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from index.items import SCHEMA_VERSION as GALLERY_SCHEMA
from runtime.bundle import read_bundle
from runtime.bundle.manifest import SCHEMA_VERSION as BUNDLE_SCHEMA
from tests.golden.make import HERE, answers_of, encoder_of

VERSIONS = sorted(folder.name for folder in HERE.iterdir() if (folder / "answers.json").is_file())
EACH = pytest.mark.parametrize("version", VERSIONS)


def close(found: Any, wanted: Any) -> bool:
    """Compare as JSON, numbers within a millionth part: another machine adds in another order.

    A field that came later is empty in what was kept before it.
    """
    if isinstance(wanted, float):
        return found == pytest.approx(wanted, abs=2e-6)
    if isinstance(wanted, dict):
        came_later = [found[key] for key in found.keys() - wanted.keys()]
        is_whole = found.keys() >= wanted.keys() and not any(came_later)
        return is_whole and all(close(found[key], wanted[key]) for key in wanted)
    if isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(close, found, wanted))
    return bool(found == wanted)


@pytest.fixture
def kept(version: str, tmp_path: Path) -> Path:
    """A copy, because opening a gallery may bring its file to a newer form."""
    return Path(shutil.copytree(HERE / version, tmp_path / "kept"))


def asked_of(kept: Path, gallery: Path, version: str) -> dict[str, Any]:
    """What is asked today, without what was not asked when the version was kept."""
    found: dict[str, Any] = json.loads(json.dumps(answers_of(encoder_of(kept / "bundle"), gallery)))
    return {name: found[name] for name in wanted(version)}


def wanted(version: str) -> dict[str, Any]:
    answers: dict[str, Any] = json.loads((HERE / version / "answers.json").read_text(encoding="utf-8"))
    return answers


def test_there_is_one_of_every_schema() -> None:
    """A schema that is written today without one kept here would be unreadable unnoticed tomorrow."""
    schemas = {json.loads((HERE / v / "bundle" / "manifest.json").read_text())["schema_version"] for v in VERSIONS}
    assert {3, BUNDLE_SCHEMA} <= schemas
    galleries = [
        sqlite3.connect(f"file:{HERE / v / 'gallery' / 'items.sqlite'}?immutable=1", uri=True) for v in VERSIONS
    ]
    found = {g.execute("SELECT value FROM gallery WHERE key = 'schema_version'").fetchone()[0] for g in galleries}
    for gallery in galleries:
        gallery.close()
    assert GALLERY_SCHEMA in found
    assert len(found) > 1


def test_they_are_small() -> None:
    sizes = {v: sum(file.stat().st_size for file in (HERE / v).rglob("*") if file.is_file()) for v in VERSIONS}
    assert max(sizes.values()) < 200_000, sizes


@EACH
def test_bundle_and_gallery_answer_as_they_did(version: str, kept: Path) -> None:
    found = asked_of(kept, kept / "gallery", version)
    assert close(found, wanted(version)), found


@EACH
def test_the_gallery_does_so_without_its_snapshot_and_from_a_backup(version: str, kept: Path, tmp_path: Path) -> None:
    """As docs/runbook.md has it: SQLite's own backup in an empty folder is the whole gallery."""
    restored = tmp_path / "restored"
    restored.mkdir()
    source = sqlite3.connect(kept / "gallery" / "items.sqlite")
    source.execute("VACUUM INTO ?", (str(restored / "items.sqlite"),))
    source.close()
    found = asked_of(kept, restored, version)
    assert close(found, wanted(version)), found


@EACH
def test_this_would_find_a_difference(version: str, kept: Path) -> None:
    answers = wanted(version)
    other = json.loads(json.dumps(answers))
    other["found"]["images"][0][0][1] += 1e-4
    assert close(answers, answers)
    assert not close(other, answers)


@EACH
def test_the_space_is_what_it_was(version: str) -> None:
    """Galleries of today are refused by a bundle of another space, so how it is reckoned must stay."""
    assert read_bundle(HERE / version / "bundle").manifest.space == wanted(version)["space"]
