"""The comparison with others: fair by construction, and told as it was measured."""

import ast
import json
import re
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.index_curves import best
from benchmarks.index_curves import table as curves_table
from benchmarks.peers.peers import PEERS, SERVERS
from benchmarks.peers.table import tables
from tests.conftest import ROOT

RESULTS = ROOT / "benchmarks" / "results" / "peers.json"
PAGE = (ROOT / "docs" / "peers.md").read_text(encoding="utf-8")
OURS = {"vernier", "server", "export", "index", "training", "evaluation", "scenes", "runtime", "benchmarks"}


def test_the_page_says_what_was_measured() -> None:
    if RESULTS.exists():
        assert tables(json.loads(RESULTS.read_text())) in PAGE
    else:
        assert "goodput a second (rounds)" not in PAGE


@pytest.mark.parametrize("size", ["1m", "100k"])
def test_the_page_says_what_the_indexes_did(size: str) -> None:
    found = json.loads((RESULTS.parent / f"index-curves-{size}.json").read_text())
    assert curves_table(found) in PAGE
    assert f"images/index-curves-{size}.svg" in PAGE
    (own,) = found["curves"]["as the gallery tuned itself"]
    assert f"{own['recall']:.3f} at a" in PAGE


@pytest.mark.parametrize("peer", [peer for peer in PEERS if peer.requirements], ids=lambda peer: peer.name)
def test_the_page_names_version_and_patch_of_each(peer) -> None:
    versions = re.findall(r"==([\d.]+)", peer.requirements[0])
    settings = PAGE.partition("## Results")[0]
    (row,) = re.findall(rf"^\| {peer.name} \|.*$", settings, re.MULTILINE | re.IGNORECASE)
    assert all(version in row for version in versions)
    assert not peer.patches or peer.patches.partition(":")[0] in row


@pytest.mark.parametrize("file", sorted(SERVERS.glob("*.py")), ids=lambda file: file.name)
def test_servers_of_others_see_nothing_of_ours(file) -> None:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not {name.partition(".")[0] for name in names} & OURS


def test_everybody_has_our_torch() -> None:
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["training"]
    (pinned,) = (one for one in asked if one.startswith("torch=="))
    assert (SERVERS.parent / "constraints.txt").read_text().strip() == pinned


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1))
def test_a_curve_keeps_what_nothing_beats(drawn: list[tuple[int, int]]) -> None:
    points = [{"recall": recall, "queries_per_cpu_s": speed} for recall, speed in drawn]
    kept = [(point["recall"], point["queries_per_cpu_s"]) for point in best(points)]  # type: ignore[arg-type]
    unbeaten = {
        one for one in drawn if not any(other[0] >= one[0] and other[1] >= one[1] and other != one for other in drawn)
    }
    assert kept == sorted(unbeaten)
