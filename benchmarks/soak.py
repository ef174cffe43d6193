"""Lets a server live with mixed traffic for a long time and watches its memory.

    python -m benchmarks.soak [--minutes N] [--per-s N] [--bundle DIR] [--json OUT]

Requests of every kind come at random moments: searches by text and picture, some scored again and explained, grounding,
proofreading, embeddings, pages, pictures, items that are written, replaced and deleted, bulk writes, broken pictures,
requests that are wrong, and clients that leave in the middle. Each kind has the statuses that it may be answered with;
any other is an error. Resident memory is sampled every few seconds; the median of the last third of the time is held
against that of the second third. When both processes are stopped for a while, that time does not count.
"""

import argparse
import asyncio
import itertools
import json
import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.load import Connection, request_bytes
from benchmarks.report import made_by, write_report
from benchmarks.server import Server, pictures, running
from runtime.encoder import Encoder
from scenes import generate

_SAMPLE_S = 5.0
_IDS = 400
_TEXTS = 4_000
_BOUNDARY = "soak"
_FLAT = 0.03
_STOPPED_S = 2.0  # when a request is so late, the machine slept
_PATIENCE_S = 3600.0

Request = tuple[str, str, bytes, str]
"""Method, path, body and its type."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of request.

    Attributes:
        share: how often it comes, relative to the others.
        make: gives the next one.
        wanted: statuses that it may be answered with.
    """

    share: float
    make: Callable[[], Request]
    wanted: frozenset[int]


def main() -> int:
    """Run it, print the report, and write it as JSON when asked. The status is 1 when memory or answers were wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--per-s", type=float, default=8.0, help="requests a second")
    parser.add_argument("--bundle", type=Path, default=Path("bundles/demo"))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    encoder = Encoder.load(options.bundle, provider="cpu", num_threads=1)
    with tempfile.TemporaryDirectory() as folder:
        galleries = Path(folder) / "galleries"
        patient = {f"VERNIER_{name}_TIMEOUT_S": f"{_PATIENCE_S:.0f}" for name in ("REQUEST", "CANARY")}
        with running(
            galleries, options.bundle, VERNIER_CACHE_BYTES="", VERNIER_MAX_WAIT_MS="10000", **patient
        ) as server:
            soak = _Soak(server, kinds(encoder.has_fusion), options.per_s)
            cpu_s = server.cpu_s()
            asyncio.run(soak.run(60 * options.minutes))
            cpu_s = server.cpu_s() - cpu_s
    report = {
        "provenance": made_by("benchmarks.soak"),
        "minutes": options.minutes,
        "stopped_minutes": soak.stopped_s / 60,
        "per_s": options.per_s,
        "server_cores": cpu_s / (60 * options.minutes),
        **soak.report(),
    }
    write_report(report, options.json)
    return 0 if report["is_flat"] and not report["unexpected"] else 1


def kinds(has_fusion: bool) -> dict[str, Kind]:
    """Return every kind of request by name."""
    rng = random.Random(3)
    texts = itertools.cycle([generate(5, at).caption for at in range(_TEXTS)])
    files = itertools.cycle(pictures(48, "320x240") + pictures(8, "1280x960"))
    ids = itertools.cycle(rng.sample(range(_IDS), _IDS))

    def as_json(path: str, make: Callable[[], object], method: str = "POST") -> Callable[[], Request]:
        return lambda: (method, path, json.dumps(make()).encode(), "application/json")

    def picture(path: str, file: Callable[[], bytes] = lambda: next(files)) -> Callable[[], Request]:
        return lambda: ("POST", path, file(), "image/jpeg")

    def item(suffix: str = "") -> str:
        return f"/galleries/default/items/{next(ids)}{suffix}"

    def get(path: Callable[[], str], method: str = "GET") -> Callable[[], Request]:
        return lambda: (method, path(), b"", "")

    judged = "/proofread?text=a+large+brown+disc+left+of+a+mug"
    rerank = {"rerank": 5, "explain": True, "top_k": 3} if has_fusion else {"explain": True, "top_k": 3}
    found = {200}
    stored = {200, 404}
    return {
        name: Kind(share, make, frozenset(wanted))
        for name, share, make, wanted in (
            ("search by text", 40, as_json("/search", lambda: {"text": next(texts)}), found),
            ("search by picture", 10, picture("/search"), found),
            ("look closer", 2, as_json("/search", lambda: {"text": next(texts), **rerank}), found),
            ("search batch", 2, as_json("/search/batch", lambda: {"queries": [{"text": next(texts)}] * 3}), found),
            ("ground", 3, picture("/ground?phrases=a+brown+disc"), found),
            ("proofread", 2, picture(judged), found),
            ("embed", 5, picture("/embed"), found),
            ("openai", 5, as_json("/v1/embeddings", lambda: {"model": "any", "input": next(texts)}), found),
            ("page", 3, get(lambda: "/galleries/default/items?limit=50"), found),
            ("item", 3, get(item), stored),
            ("thumbnail", 3, get(lambda: item("/image")), stored),
            ("write", 8, lambda: ("PUT", item(), next(files), "image/jpeg"), {200, 201}),
            ("delete", 2, get(item, "DELETE"), {204, 404}),
            ("bulk", 1, lambda: _bulk([(str(next(ids)), next(files)) for _ in range(4)]), found),
            ("broken picture", 3, picture("/search", lambda: next(files)[:3000]), {422}),
            ("no picture", 1, picture("/ground?phrases=disc", lambda: rng.randbytes(500)), {422}),
            ("wrong field", 1, as_json("/search", lambda: {"texts": "a"}), {422}),
            ("no JSON", 1, lambda: ("POST", "/search", b"{", "application/json"), {400}),
            ("no address", 1, get(lambda: "/nowhere"), {404}),
            ("metrics", 1, get(lambda: "/metrics"), found),
            ("live", 1, get(lambda: "/health/live"), found),
        )
    }


class _Soak:
    """The traffic and what was seen of it.

    Attributes:
        stopped_s: seconds in which nothing ran.
    """

    stopped_s = 0.0

    def __init__(self, server: Server, of: Mapping[str, Kind], per_s: float) -> None:
        self._server, self._kinds, self._per_s = server, of, per_s
        self._rng = random.Random(4)
        self._idle: list[Connection] = []
        self._seconds: list[float] = []
        self._statuses: Counter[tuple[str, int]] = Counter()
        self._left = 0
        self._resident: list[float] = []

    async def run(self, seconds: float) -> None:
        """Keep it up for so long."""
        due = time.perf_counter()
        until = due + seconds
        watching = asyncio.create_task(self._watch())
        tasks: set[asyncio.Task[None]] = set()
        names, shares = list(self._kinds), [kind.share for kind in self._kinds.values()]
        while due < until:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            if (late_s := time.perf_counter() - due) > _STOPPED_S:
                self.stopped_s, due, until = self.stopped_s + late_s, due + late_s, until + late_s
            [name] = self._rng.choices(names, shares)
            task = asyncio.create_task(self._leave(name) if self._rng.random() < 0.01 else self._call(name, due))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            due += self._rng.expovariate(self._per_s)
        await asyncio.gather(*tasks)
        watching.cancel()
        for connection in self._idle:
            connection.close()

    def report(self) -> dict[str, Any]:
        """Say what was seen."""
        length = len(self._resident)
        second, last = (statistics.median(self._resident[length * at // 3 : length * (at + 1) // 3]) for at in (1, 2))
        unexpected = {
            f"{name}: {status}": count
            for (name, status), count in sorted(self._statuses.items())
            if status not in self._kinds[name].wanted
        }
        return {
            "requests": sum(self._statuses.values()),
            "by_kind": {
                name: sum(count for (kind, _), count in self._statuses.items() if kind == name) for name in self._kinds
            },
            "left_in_the_middle": self._left,
            "unexpected": unexpected,
            "p50_ms": 1000 * statistics.median(self._seconds),
            "p99_ms": 1000 * sorted(self._seconds)[int(0.99 * len(self._seconds))],
            "resident_mb": {
                "second_third": second,
                "last_third": last,
                "by_minute": self._resident[:: round(60 / _SAMPLE_S)],
            },
            "growth": last / second - 1,
            "is_flat": abs(last / second - 1) <= _FLAT,
        }

    async def _call(self, name: str, due: float) -> None:
        connection = self._idle.pop() if self._idle else Connection(self._server.address, patience_s=_PATIENCE_S)
        answer = await connection.call(self._bytes(name), due)
        self._idle.append(connection)
        self._statuses[name, answer.status] += 1
        self._seconds.append(answer.seconds)

    async def _leave(self, name: str) -> None:
        """Send a request, or a part of it, and be gone."""
        request = self._bytes(name)
        _, writer = await asyncio.open_connection(*self._server.address)
        writer.write(request[: self._rng.choice((len(request), len(request) // 2))])
        await asyncio.sleep(0.005)
        writer.close()
        self._left += 1

    def _bytes(self, name: str) -> bytes:
        method, path, body, content_type = self._kinds[name].make()
        return request_bytes(path, body, content_type, host=self._server.url.removeprefix("http://"), method=method)

    async def _watch(self) -> None:
        while True:
            self._resident.append(self._server.resident_mb())
            await asyncio.sleep(_SAMPLE_S)


def _bulk(items: list[tuple[str, bytes]]) -> Request:
    parts = [
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode() + file
        for name, file in items
    ]
    body = b"\r\n".join(parts) + f"\r\n--{_BOUNDARY}--\r\n".encode()
    return "POST", "/galleries/default/items", body, f"multipart/form-data; boundary={_BOUNDARY}"


if __name__ == "__main__":
    raise SystemExit(main())
