"""docs/security.md and docs/runbook.md name tests that exist; docs/capacity.md says what was measured."""

import json
import re
from pathlib import Path

import pytest

from server.errors import CODES
from tests.conftest import ROOT

DOCS = ROOT / "docs"
NAMED = sorted(
    {
        named
        for page in ("security.md", "runbook.md")
        for named in re.findall(r"`(tests/[\w/]+\.py(?:::\w+)?)`", (DOCS / page).read_text(encoding="utf-8"))
    }
)


def exists(named: str) -> bool:
    file, _, test = named.partition("::")
    path = Path(ROOT / file)
    return path.is_file() and (not test or bool(re.search(rf"^(async )?def {test}\(", path.read_text(), re.MULTILINE)))


@pytest.mark.parametrize("named", NAMED)
def test_named_tests_exist(named: str) -> None:
    assert exists(named)


def test_this_would_find_one_that_is_gone() -> None:
    assert len(NAMED) > 40
    assert not exists("tests/unit/server/test_safety.py::test_gone")
    assert not exists("tests/gone.py")


def test_every_threat_has_a_test() -> None:
    rows = [line for line in (DOCS / "security.md").read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    for row in rows[1:]:
        assert re.search(r"`tests/\S+::test_\w+`", row), row


def test_codes_in_the_runbook_are_the_servers() -> None:
    text = (DOCS / "runbook.md").read_text(encoding="utf-8")
    start_only = {"gallery_too_new", "bundle_damaged"}
    for code in re.findall(r"`((?:gallery|space|bundle)_\w+)`", text):
        assert code in CODES or code in start_only, code


def test_capacity_is_reckoned_from_what_was_measured() -> None:
    """Within a quarter, so that a benchmark may run again without a word here."""

    def results(name: str) -> dict:
        return json.loads((ROOT / "benchmarks" / "results" / name).read_text())

    text = (DOCS / "capacity.md").read_text(encoding="utf-8").replace(",", "")
    index, embed = results("index-1m.json"), results("server-embed.json")["embed"]["rounds"]
    million = index["growth"][-1]
    peers = {name: results("peers.json")[name] for name in ("W1", "W2", "W3", "W4", "W8")}
    searches = results("server-search.json")["search"]["rounds"]
    measured = {
        r"16 clients \| ([\d.]+) ms": sorted(entry["server_cpu_ms"] for entry in searches)[len(searches) // 2],
        r"\| memory of its own \| 1e6 x ([\d.]+) B": million["start"]["own_bytes_per_item"],
        r"page cache \| 1e6 x ([\d.]+) B": million["start"]["mapped_bytes_per_item_after_512_searches"],
        r"without pictures \| 1e6 x ([\d.]+) B": million["file_bytes_per_item"] + million["snapshot_bytes_per_item"],
        r"fp32 on CPUs \| 1e6 x ([\d.]+) ms": sorted(entry["server_cpu_ms"] for entry in embed)[len(embed) // 2],
        r"640x480 embedded.*?int8 ([\d.]+) ms": peers["W2"]["vernier-int8"]["server_cpu_ms"],
        r"1280x960 embedded the same \| fp32 ([\d.]+) ms": peers["W3"]["vernier-fp32"]["server_cpu_ms"],
        r"a text embedded.*?int8 ([\d.]+) ms": peers["W1"]["vernier-int8"]["server_cpu_ms"],
        r"exact the same.*?int8 ([\d.]+) ms": peers["W4"]["vernier-int8"]["server_cpu_ms"],
        r"int8 on CPUs \| 1e6 x ([\d.]+) ms": peers["W3"]["vernier-int8"]["server_cpu_ms"],
        r"fp32 and ([\d.]+) MB in int8": peers["W8"]["vernier-int8"]["memory_mb_after_load"],
        r"256 numbers \|.*?\(1 / ([\d.]+)\)": index["search"]["1"]["queries_per_cpu_s"],
    }
    for said, number in measured.items():
        (found,) = re.findall(said, text)
        assert float(found) == pytest.approx(number, rel=0.25), said
