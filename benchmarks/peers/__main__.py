"""Vernier beside what a user would pick instead, on this machine.

    python -m benchmarks.peers [--place DIR] [--json OUT] [WORKLOAD…]

The first run makes an environment for each peer and the weights (4 to 8 GB below `runs/peers`, and the network);
`--setup-only` ends there. W1: embed a text. W2, W3: embed a picture of 640x480, 1280x960. W4: search 99,900 vectors by
text. W5: 70 % of W4, 20 % search by picture, 10 % embed a text. W6: W2 with 1 % truncated pictures. W7: three times the
capacity. W8: start. W9: SIGTERM under load. Without a name all of them run.

All serve the same weights and get the same pictures in the same encoding. In W1 to W5 the servers run side by side, all
but the one measured held still (SIGSTOP), in an order drawn anew for each round, after each proved that it gives
the reference's embeddings. Results of a run are put beside those that OUT has already.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.peers.peers import BY_NAME, PEERS, Peer, Place
from benchmarks.peers.reference import reference
from benchmarks.peers.running import Running, running
from benchmarks.peers.setup import gallery_vectors, installed, prepare
from benchmarks.peers.workloads import (
    Material,
    broken,
    overload,
    parity,
    requests_of,
    search_parity,
    terminated,
    throughput,
)
from benchmarks.server import made_by

Report = dict[str, Any]
_STEADY = ("W1", "W2", "W3", "W4", "W5")
_WIDTHS = (4, 16)
_OTHER_WIDTHS = (1, 64)


def main() -> int:
    """Set up, run the workloads that are named, and write what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help="W1 to W9")
    parser.add_argument("--place", type=Path, default=Path("runs/peers"))
    parser.add_argument("--peers", nargs="+", choices=BY_NAME, default=list(BY_NAME))
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--all-widths", action="store_true", help="one round with 1 and 64 clients as well")
    parser.add_argument("--setup-only", action="store_true")
    parser.add_argument("--json", type=Path, default=Path("runs/peers/peers.json"))
    options = parser.parse_args()
    place = Place(options.place.resolve())
    place.root.mkdir(parents=True, exist_ok=True)
    prepare(place)
    if options.setup_only:
        return 0
    peers = [BY_NAME[name] for name in options.peers]
    material, wanted = Material.drawn(), options.workloads or [f"W{number}" for number in range(1, 10)]
    report = _Report(options.json)
    if steady := [name for name in _STEADY if name in wanted]:
        _steady(peers, place, material, steady, options, report)
    for name, measure in (("W6", _w6), ("W7", _w7), ("W8", _w8), ("W9", _w9)):
        if name in wanted:
            for peer in peers:
                report.put(name, peer.name, measure(peer, place, material, options, report))
    report.note(made_by("benchmarks.peers"), {peer.name: installed(peer, place) for peer in PEERS if peer.requirements})
    return 0


class _Report:
    """What was seen, in a file from the first number on: by workload, then by server."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.found: Report = json.loads(file.read_text()) if file.exists() else {}

    def put(self, workload: str, name: str, seen: Report) -> None:
        """Note what a server did."""
        print(f"{workload} {name}: {json.dumps(seen)[:300]}", flush=True)
        self.found.setdefault(workload, {})[name] = seen
        self._write()

    def note(self, provenance: Report, packages: dict[str, list[str]]) -> None:
        """Note how and when, and what the environments hold."""
        self.found.setdefault("provenance", []).append(provenance)
        self.found["packages"] = packages
        self._write()

    def _write(self) -> None:
        text = json.dumps(self.found, indent=1, default=float)
        self._file.write_text(
            json.dumps(json.loads(text, parse_float=lambda number: round(float(number), 4)), indent=1) + "\n"
        )


def _steady(
    peers: Sequence[Peer],
    place: Place,
    material: Material,
    workloads: Sequence[str],
    options: argparse.Namespace,
    report: _Report,
) -> None:
    """W1 to W5: proof of the same answers first, then in turns."""
    with _side_by_side(peers, place) as servers:
        servers = [server for server in servers if _proved(server, material, place, report)]
        todo = [
            (name, server, requests)
            for name in workloads
            for server in servers
            if (requests := requests_of(name, server, material))
        ]
        rounds: dict[tuple[str, str], list[Report]] = {}
        rng = random.Random(0)
        for number in range(options.rounds):
            widths = (*_WIDTHS, *(_OTHER_WIDTHS if options.all_widths and number == 0 else ()))
            for name, server, requests in rng.sample(todo, len(todo)):
                server.go_on()
                for clients in widths:
                    seen = throughput(server, requests, clients=clients, seconds=options.seconds)
                    rounds.setdefault((name, server.peer.name), []).append(seen)
                server.hold()
        for (name, peer), seen in rounds.items():
            before = report.found.get(name, {}).get(peer, {}).get("rounds", [])
            report.put(name, peer, _summary(before + seen))


def _summary(rounds: Sequence[Report]) -> Report:
    """The median round of the width that served it best, and the span of its rounds."""
    widths = sorted({entry["clients"] for entry in rounds})
    goodput = {
        clients: statistics.median(entry["goodput_per_s"] for entry in rounds if entry["clients"] == clients)
        for clients in widths
    }
    best = max(goodput, key=lambda clients: goodput[clients])
    at_best = [entry for entry in rounds if entry["clients"] == best]
    values = [entry["goodput_per_s"] for entry in at_best]
    return {
        "goodput_per_s": goodput[best],
        "clients": best,
        "lowest": min(values),
        "highest": max(values),
        "server_cpu_ms": statistics.median(entry["server_cpu_ms"] for entry in at_best),
        "p50_ms": statistics.median(entry["p50_ms"] for entry in at_best),
        "p99_ms": statistics.median(entry["p99_ms"] for entry in at_best),
        "rounds": list(rounds),
    }


def _proved(server: Running, material: Material, place: Place, report: _Report) -> bool:
    """Whether a server gives the reference's embeddings, or finds what they find."""
    known = reference(place.model)
    server.go_on()
    seen = parity(server, material, known) if server.peer.embedding else {"passed": True}
    if server.peer.search_text:
        found = search_parity(server, material, known, gallery_vectors())
        seen |= {**found, "passed": seen["passed"] and found["passed"]}
    server.hold()
    report.put("parity", server.peer.name, seen)
    return bool(seen["passed"])


def _w6(peer: Peer, place: Place, material: Material, options: argparse.Namespace, _report: _Report) -> Report:
    with _alone(peer, place) as server:
        return broken(server, material, seconds=3 * options.seconds)


def _w7(peer: Peer, place: Place, material: Material, options: argparse.Namespace, report: _Report) -> Report:
    workload = "W2" if peer.embed_picture else "W4"
    capacity = report.found[workload][peer.name]["goodput_per_s"]
    with _alone(peer, place) as server:
        requests = requests_of(workload, server, material) or []
        seen = overload(server, requests, capacity_per_s=capacity, seconds=2 * options.seconds)
        return {"of": workload, **seen}


def _w8(peer: Peer, place: Place, material: Material, _options: argparse.Namespace, _report: _Report) -> Report:
    with _alone(peer, place) as server:
        cpu_s = server.cpu_s()
        requests = requests_of("W2" if peer.embed_picture else "W5", server, material) or []
        at_start = server.memory_mb()
        throughput(server, requests, clients=8, seconds=2)
        return {
            "start_s": server.start_s,
            "start_cpu_s": cpu_s,
            "memory_mb": at_start,
            "memory_mb_after_load": server.memory_mb(),
        }


def _w9(peer: Peer, place: Place, material: Material, _options: argparse.Namespace, _report: _Report) -> Report:
    with _alone(peer, place) as server:
        return terminated(server, requests_of("W2" if peer.embed_picture else "W4", server, material) or [])


@contextmanager
def _alone(peer: Peer, place: Place) -> Iterator[Running]:
    with tempfile.TemporaryDirectory() as folder, running(peer, place, Path(folder) / "log") as server:
        yield server


@contextmanager
def _side_by_side(peers: Sequence[Peer], place: Place) -> Iterator[list[Running]]:
    """Start every server, one after another, and hold it still."""
    with ExitStack() as stack:
        servers = []
        for peer in peers:
            servers.append(stack.enter_context(_alone(peer, place)))
            servers[-1].hold()
        time.sleep(0.5)
        yield servers


if __name__ == "__main__":
    sys.exit(main())
