"""Kills a process that writes to a gallery, at random moments, and looks for writes that were lost or half done.

    python -m benchmarks.gallery_crash --kills 200

A child process adds, replaces and deletes items with their features, writes snapshots, tunes and compacts, and reports
every operation before it starts and after it was acknowledged. It is ended by SIGKILL. Then the gallery must hold
exactly what was acknowledged, with the one operation under way either done or not done, as a whole; `verify` must find
nothing. SIGKILL ends a process and not the machine: what the disk does when the power fails is not seen here.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from index import LocalGallery, NewItem, local, open_folder
from index.features import Kept, pack
from runtime.encoder import ImageFeatures

DIM = 32
SPACE = "crash"
_MOST_IDS = 400

State = dict[str, str]
"""Id to content digest of every item that must be there."""


@dataclass(slots=True, kw_only=True)
class CrashReport:
    """What the kills showed.

    Attributes:
        problems: every lost, doubled or half written item, and everything that `verify` found.
        during: how often each kind of operation was under way when the process was killed.
        slowest_start_s: the longest that the gallery took to open afterwards, wall-clock.
        slowest_start_cpu_s: the most CPU that this took.
    """

    kills: int = 0
    acknowledged: int = 0
    problems: list[str] = field(default_factory=list)
    during: dict[str, int] = field(default_factory=dict)
    slowest_start_s: float = 0.0
    slowest_start_cpu_s: float = 0.0


def kill_and_look(folder: Path, *, kills: int, seed: int = 0, longest_s: float = 0.6) -> CrashReport:
    """Kill a writing process `kills` times, each within `longest_s` of its first write, and look each time."""
    chance = random.Random(seed)
    report = CrashReport()
    held: State = {}
    for round_number in range(kills):
        lines = _run_and_kill(folder, seed=chance.randrange(2**30), after_s=chance.uniform(0, longest_s))
        acknowledged, under_way = _replayed(lines)
        for operation in acknowledged:
            _do(operation, held)
        report.kills += 1
        report.acknowledged += len(acknowledged)
        kind = under_way["kind"] if under_way else "nothing"
        report.during[kind] = report.during.get(kind, 0) + 1
        held = _look(folder, held, under_way, report, round_number)
    return report


def _run_and_kill(folder: Path, *, seed: int, after_s: float) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "benchmarks.gallery_crash", "--child", str(folder), "--seed", str(seed)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).resolve().parent.parent)
    assert child.stdout is not None
    lines = [child.stdout.readline()]  # the gallery is open
    time.sleep(after_s)
    child.send_signal(signal.SIGKILL)
    lines += child.stdout.read().splitlines(keepends=True)
    child.stdout.close()
    if child.wait() != -signal.SIGKILL:
        raise RuntimeError("the writing process ended by itself")
    return [json.loads(line) for line in lines if line.endswith(b"\n")]  # the last may be cut off


def _replayed(lines: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """Return the operations that were acknowledged, and the one that was under way."""
    acknowledged, under_way = [], None
    for line in lines:
        if line["kind"] == "acknowledged":
            assert under_way is not None
            acknowledged.append(under_way)
            under_way = None
        elif line["kind"] != "open":
            under_way = line
    return acknowledged, under_way


def _look(folder: Path, held: State, under_way: dict[str, Any] | None, report: CrashReport, round_number: int) -> State:
    """Open the gallery, compare, and return what it holds."""
    started, cpu_started = time.perf_counter(), time.process_time()
    with open_folder(folder, space=SPACE, dim=DIM) as gallery:
        report.slowest_start_s = max(report.slowest_start_s, time.perf_counter() - started)
        report.slowest_start_cpu_s = max(report.slowest_start_cpu_s, time.process_time() - cpu_started)
        report.problems += [f"kill {round_number}: {problem}" for problem in gallery.verify()]
        found = _contents(gallery)
        finished = dict(held)
        if under_way is not None:
            _do(under_way, finished)
        if found not in (held, finished):
            wrong = {i for i in {*held, *found} if held.get(i) != found.get(i) and finished.get(i) != found.get(i)}
            report.problems.append(f"kill {round_number}: not as acknowledged, nor wholly further: {sorted(wrong)[:5]}")
        wrong_parts = [*_wrong_hits(gallery, found), *_wrong_features(gallery, found)]
        report.problems += [f"kill {round_number}: {problem}" for problem in wrong_parts]
    return found


def _contents(gallery: LocalGallery) -> State:
    held: State = {}
    cursor = None
    while True:
        page = gallery.page(cursor=cursor, limit=1000)
        held |= {item.id: item.content_digest for item in page.items}
        if page.next_cursor is None:
            return held
        cursor = page.next_cursor


def _wrong_hits(gallery: LocalGallery, held: State) -> list[str]:
    """Search for every item by its own vector: it must be there, once, with the vector that was stored last."""
    if not held:
        return []
    queries = np.stack([_vector(digest) for digest in held.values()])
    problems = []
    for item_id, hits in zip(held, gallery.search(queries, top_k=3), strict=True):
        if hits[0].id != item_id or abs(hits[0].score - 1) > 1e-5:
            problems.append(f"{item_id} is not found by its own vector")
        if len({hit.id for hit in hits}) != len(hits):
            problems.append(f"{item_id}: an item is found twice")
    return problems


def _wrong_features(gallery: LocalGallery, held: State) -> list[str]:
    """Every picture has the features that were stored with its vector, and no others."""
    found = gallery.features(list(held), ("codes", "patch_tokens"))
    return [
        f"{item_id} has not its own features"
        for item_id, digest in held.items()
        if found.get(item_id) != _features(digest)
    ]


def _features(digest: str) -> Kept:
    tokens = np.random.default_rng(int(digest)).standard_normal((1, 16, 32)).astype(np.float32)
    features = ImageFeatures(
        embedding=_vector(digest)[None],
        patch_tokens=tokens,
        patch_embeddings=None,
        codes=tokens.argmax(axis=-1),
    )
    return pack(features, [(40, 30)], ("codes", "patch_tokens"), "int8")[0]


def _do(operation: dict[str, Any], held: State) -> None:
    if operation["kind"] == "upsert":
        held.update(operation["items"])
    elif operation["kind"] == "delete":
        held.pop(operation["id"], None)


def _vector(digest: str) -> np.ndarray:
    vector = np.random.default_rng(int(digest)).standard_normal(DIM).astype(np.float32)
    return vector / np.linalg.norm(vector)


def _write_until_killed(folder: Path, seed: int) -> None:
    chance = random.Random(seed)
    local.EXACT_UP_TO = 50  # so that what large galleries do is killed in the middle as well
    gallery = open_folder(folder, space=SPACE, dim=DIM, create=True)
    _say({"kind": "open"})
    while True:
        operation = _some_operation(chance)
        _say(operation)
        if operation["kind"] == "upsert":
            gallery.upsert(
                [
                    NewItem(
                        id=item_id,
                        image_embedding=_vector(digest),
                        content_digest=digest,
                        metadata={"n": int(digest) % 100},
                        picture=b"p" * 2000,
                        features=_features(digest),
                    )
                    for item_id, digest in operation["items"].items()
                ]
            )
        elif operation["kind"] == "delete":
            gallery.delete(operation["id"])
        elif operation["kind"] == "snapshot":
            gallery.snapshot()
        elif operation["kind"] == "tune":
            gallery.tune(vectors="float32", kind="ivf-pq")
        elif operation["kind"] == "compact":
            gallery.compact()
        else:
            gallery.close()
            gallery = open_folder(folder, space=SPACE, dim=DIM)
        _say({"kind": "acknowledged"})


def _some_operation(chance: random.Random) -> dict[str, Any]:
    kind = chance.choices(["upsert", "delete", "snapshot", "compact", "tune", "reopen"], [10, 6, 3, 1, 1, 1])[0]
    if kind == "upsert":
        number = chance.choice([1, 1, 5, 100])
        ids = {f"item {chance.randrange(_MOST_IDS)}" for _ in range(number)}
        return {"kind": kind, "items": {item_id: str(chance.randrange(2**40)) for item_id in sorted(ids)}}
    return {"kind": kind, "id": f"item {chance.randrange(_MOST_IDS)}"}


def _say(line: dict[str, Any]) -> None:
    os.write(1, json.dumps(line).encode() + b"\n")


def main() -> int:
    """Run the kills and print what they showed; 1 when something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        _write_until_killed(arguments.child, arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        report = kill_and_look(Path(folder) / "gallery", kills=arguments.kills, seed=arguments.seed)
    print(f"{report.kills} kills, {report.acknowledged} acknowledged operations, {len(report.problems)} problems")
    print(
        f"under way when killed: {report.during}; slowest start {report.slowest_start_s:.2f} s "
        f"({report.slowest_start_cpu_s:.2f} s of CPU)"
    )
    for problem in report.problems:
        print(problem)
    if arguments.json:
        from benchmarks.index import provenance

        told = provenance() | {"command": " ".join(["python -m benchmarks.gallery_crash", *sys.argv[1:]])}
        arguments.json.write_text(json.dumps({"provenance": told, **asdict(report)}, indent=2) + "\n")
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
