"""The site has no broken link and every page that is made from the code, and fetches nothing from elsewhere."""

import os
import re
import shutil
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.contracts.test_cli import COMMANDS
from vernier import Client

pytest.importorskip("mkdocs", reason="`make docs` installs what the site needs")


def build(source: Path, out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, timeout=240)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    built = build(ROOT, out)
    assert built.returncode == 0, built.stderr
    return out


def text_of(page: Path) -> str:
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8"))))


def test_nothing_comes_from_elsewhere(site: Path) -> None:
    fetched = (
        r'<(?:script|img|iframe|source)[^>]+src="(?:https?:)?//|<link[^>]+href="(?:https?:)?//|url\((?:https?:)?//'
    )
    for page in [*site.rglob("*.html"), *site.rglob("*.css")]:
        assert not re.search(fetched, page.read_text(encoding="utf-8")), page


def test_the_reference_has_everything(site: Path) -> None:
    commands = text_of(site / "reference" / "command-line.html")
    for name, flags in COMMANDS.items():
        assert f"vernier {name}" in commands
        assert all(flag in commands for flag in flags if flag.startswith("--"))
    python = text_of(site / "reference" / "python.html")
    for name in vars(Client):
        assert name.startswith("_") or name in python
    for answer in ("SearchAnswer", "ItemOutcome", "ApiError"):
        assert answer in python
    fields = text_of(site / "reference" / "http-fields.html")
    for wanted in ("POST /search", "exclude_ids", "PUT /galleries/{gallery}/items/{item}"):
        assert wanted in fields


def test_a_broken_link_breaks_the_build(tmp_path: Path) -> None:
    for name in ("mkdocs.yml", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "mkdocs.yml").write_text(
        re.sub(r"(?s)\nnav:.*|\nhooks: .*?\n|\n  - mkdocstrings:.*?(?=\n\n)", "\n", (ROOT / "mkdocs.yml").read_text())
    )
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# Page\n\n[gone](gone.md)\n")
    built = build(tmp_path, tmp_path / "out")
    assert built.returncode == 1
    assert "gone.md" in built.stderr
