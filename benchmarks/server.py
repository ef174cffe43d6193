"""Measures a real server process against bare calls of the same tokeniser, engines and search, and under overload.

    python -m benchmarks.server [--bundle DIR] [--items N] [--seconds S] [--json OUT] [PART…]

Parts: `search` (text search against a bare loop), `embed` (picture embedding against decode and engine alone),
`overload` (an open loop at three times the capacity), `paced` (the same with an engine that leaves the cores alone),
`broken` (1 % truncated pictures among good ones). Server and bare loop are measured in turns, so that ratios hold on a
busy machine; CPU seconds are those of the server's process. The load comes from this process, which takes a share of
the cores for itself (`load_cores`), and says how late it was (`sent_late_p99_ms`). Caches are off.
"""

import argparse
import functools
import io
import itertools
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from benchmarks.index import clustered
from benchmarks.load import Load, closed_loop, one_by_one, open_loop, request_bytes
from benchmarks.report import Report, made_by, write_report
from index import Gallery, NewItem, open_gallery
from runtime.encoder import Encoder
from runtime.preprocess.image import decode_image
from scenes import generate

_TOP_K = 10
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_START_S = 300  # a busy machine may take so long to start a server over a large gallery


_PROGRAM = "from server.run import serve; from server.settings import load_settings; serve(load_settings())"
_PACED = """
import time
from runtime.engines.fake import fake_encoder
from server.run import serve
from server.settings import load_settings

class Paced:
    provider = "paced"

    def __init__(self, engine):
        self.engine = engine

    def run(self, inputs, *outputs):
        time.sleep(0.002 + 0.01 * len(next(iter(inputs.values()))))
        return self.engine.run(inputs, *outputs)

encoder = fake_encoder()
encoder.engines["text_encoder"] = Paced(encoder.engines["text_encoder"])
serve(load_settings(), encoder=encoder)
"""


@dataclass(frozen=True, slots=True)
class Server:
    """A server process."""

    process: subprocess.Popen[bytes]
    port: int

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        return "127.0.0.1", self.port

    @property
    def url(self) -> str:
        """Where it listens, for an HTTP client."""
        return f"http://127.0.0.1:{self.port}"

    def cpu_s(self) -> float:
        """CPU seconds that the process has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S

    def resident_mb(self) -> float:
        """Resident memory of the process in MB."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * _PAGE_BYTES / 1e6

    def batches(self, graph: str) -> tuple[float, float]:
        """How many batches of a graph ran, and how many rows they had."""
        told = httpx.get(f"{self.url}/metrics").text
        found = [
            re.search(rf'^vernier_batch_rows_{kind}{{graph="{graph}"}} (\S+)$', told, re.MULTILINE)
            for kind in ("count", "sum")
        ]
        return tuple(float(match.group(1)) if match else 0.0 for match in found)  # type: ignore[return-value]


def main() -> int:
    """Run the parts, print the report, and write it as JSON when asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {"search": search, "embed": embed, "overload": overload, "paced": paced, "broken": broken}
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(parts))
    parser.add_argument("--bundle", type=Path, default=Path("bundles/demo"))
    parser.add_argument("--items", type=int, default=10_000, help="in the gallery")
    parser.add_argument("--galleries", type=Path, help="directory to keep the filled gallery in for the next run")
    parser.add_argument("--picture-size", default="640x480", help="of the JPEG files that are sent")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--max-wait-ms", default="", help="VERNIER_MAX_WAIT_MS of the server; its default when empty")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    report: Report = {"provenance": made_by("benchmarks.server"), "options": _shown(options)}
    with tempfile.TemporaryDirectory() as folder:
        encoder = Encoder.load(options.bundle)
        galleries = options.galleries or Path(folder) / "galleries"
        vectors, _ = clustered(options.items, encoder.dim)
        fill_gallery(galleries / "default", encoder, vectors)
        for name in options.parts or parts:
            # Where all clients wait for their answers, nobody is to be refused, however slow the machine is.
            max_wait_ms = options.max_wait_ms or ("600000" if name in ("search", "embed") else "")
            with (
                running(galleries, options.bundle, VERNIER_MAX_WAIT_MS=max_wait_ms) as server,
                open_gallery(galleries / "default", read_only=True) as gallery,
            ):
                report[name] = parts[name](server, encoder, gallery, options)
    write_report(report, options.json)
    return 0


def search(server: Server, encoder: Encoder, gallery: Gallery, options: argparse.Namespace) -> Report:
    """Text search: throughput and CPU seconds against a bare loop at the same batch sizes; latency of one alone.

    The loop searches the same gallery, opened a second time, so that it makes the same calls of FAISS.
    """
    texts = [generate(3, at).caption for at in range(256)]
    bodies = [json.dumps({"text": text, "top_k": _TOP_K, "include": []}).encode() for text in texts]
    requests = _turns([_json_request("/search", body, server) for body in bodies])
    text_size = 1

    def bare(batch: Sequence[str]) -> None:
        """Embed in batches as large as the server's of texts; search in one as large as its searches."""
        parts = [batch[at : at + text_size] for at in range(0, len(batch), text_size)]
        embedded = [encoder.embed_subwords(encoder.text_transform.encode(part)).embedding for part in parts]
        gallery.search(np.concatenate(embedded), top_k=_TOP_K)

    closed_loop(server.address, requests, clients=options.clients, seconds=1)
    rounds: list[Report] = []
    for _ in range(options.rounds):
        rows, searches = _Rows(server, "text_encoder"), _Rows(server, "search")
        served = _Measured(server, lambda: _busy(server, requests, options))
        text_size, search_size = max(1, round(rows.per_batch())), max(1, round(searches.per_batch()))
        loop = _bare_loop(bare, texts, search_size, options.seconds)
        rounds.append(
            {
                "texts_per_batch": text_size,
                "searches_per_batch": search_size,
                "server_per_s": served.load.per_s(),
                "bare_per_s": loop["per_s"],
                "server_cpu_ms": served.cpu_ms,
                "bare_cpu_ms": loop["cpu_ms"],
                "throughput_ratio": served.load.per_s() / loop["per_s"],
                "cpu_ratio": served.cpu_ms / loop["cpu_ms"],
                "statuses": served.load.statuses(),
            }
        )
    text_size = 1
    alone: list[Report] = []
    for _ in range(2 * options.rounds):
        served_ms = one_by_one(server.address, requests, seconds=options.seconds / 2).quantile_ms(0.5)
        bare_ms = _bare_loop(bare, texts, 1, options.seconds / 2)["median_ms"]
        alone.append(
            {"unloaded_median_ms": served_ms, "bare_median_ms": bare_ms, "added_median_ms": served_ms - bare_ms}
        )
    return {
        "index_kind": gallery.info().index_kind,
        "rounds": rounds,
        "alone": alone,
        "throughput_ratio": statistics.median(entry["throughput_ratio"] for entry in rounds),
        "cpu_ratio": statistics.median(entry["cpu_ratio"] for entry in rounds),
        "added_median_ms": statistics.median(entry["added_median_ms"] for entry in alone),
    }


def embed(server: Server, encoder: Encoder, _gallery: Gallery, options: argparse.Namespace) -> Report:
    """Picture embedding: CPU seconds per request against decode and engine alone at the same batch size."""
    files = pictures(16, options.picture_size)
    requests = _turns([_picture_request("/embed", file, server) for file in files])
    side_px = encoder.manifest.image.size_px

    def bare(batch: Sequence[bytes]) -> None:
        encoder.embed_pixels([encoder.image_input(decode_image(file, target_px=side_px)) for file in batch])

    closed_loop(server.address, requests, clients=4, seconds=1)
    rounds: list[Report] = []
    for _ in range(options.rounds):
        rows = _Rows(server, "image_encoder")
        served = _Measured(server, lambda: _busy(server, requests, options))
        size = max(1, round(rows.per_batch()))
        loop = _bare_loop(bare, files, size, options.seconds)
        rounds.append(
            {
                "batch_size": size,
                "server_per_s": served.load.per_s(),
                "bare_per_s": loop["per_s"],
                "server_cpu_ms": served.cpu_ms,
                "bare_cpu_ms": loop["cpu_ms"],
                "cpu_ratio": served.cpu_ms / loop["cpu_ms"],
                "statuses": served.load.statuses(),
            }
        )
    return {"rounds": rounds, "cpu_ratio": statistics.median(entry["cpu_ratio"] for entry in rounds)}


def overload(server: Server, _encoder: Encoder, _gallery: Gallery, options: argparse.Namespace) -> Report:
    """Picture search in an open loop: at 70 % of the capacity, and at three times as much as there is."""
    requests = _turns([_picture_request("/search", file, server) for file in pictures(64, options.picture_size)])
    return _overload(server, requests, options)


def paced(_server: Server, _encoder: Encoder, _gallery: Gallery, options: argparse.Namespace) -> Report:
    """The same for text search with an engine that takes 10 ms a row elsewhere, as on an accelerator.

    The cores are then left to the server, so that this shows who is let in and when, also on a busy machine.
    """
    with tempfile.TemporaryDirectory() as folder, running(Path(folder), options.bundle, program=_PACED) as server:
        bodies = [json.dumps({"text": generate(3, at).caption}).encode() for at in range(256)]
        return _overload(server, _turns([_json_request("/search", body, server) for body in bodies]), options)


def _overload(server: Server, requests: Callable[[], bytes], options: argparse.Namespace) -> Report:
    """Measure usual load and flood between two peaks; a flood is looked at from its third second on."""
    clients = max(1, options.clients // 2)

    def at_peak() -> Load:
        return closed_loop(server.address, requests, clients=clients, seconds=options.seconds)

    closed_loop(server.address, requests, clients=clients, seconds=1)
    rounds: list[Report] = []
    for _ in range(options.rounds):
        peak = _Measured(server, at_peak)
        peak_per_s = peak.load.per_s()
        usual = open_loop(server.address, requests, per_s=0.7 * peak_per_s, seconds=2 * options.seconds)
        open_loop(server.address, requests, per_s=3 * peak_per_s, seconds=2)
        flood = _Measured(
            server,
            functools.partial(open_loop, server.address, requests, per_s=3 * peak_per_s, seconds=2 * options.seconds),
        )
        peak_again = _Measured(server, at_peak)
        mean_peak_per_s = (peak_per_s + peak_again.load.per_s()) / 2
        peak_cpu_ms = (peak.good_cpu_ms + peak_again.good_cpu_ms) / 2
        rounds.append(
            {
                "peak_per_s": peak_per_s,
                "peak_again_per_s": peak_again.load.per_s(),
                "usual": _load_report(usual),
                "flood": _load_report(flood.load),
                "goodput_ratio": flood.load.per_s() / mean_peak_per_s,
                "goodput_ratio_per_cpu_second": peak_cpu_ms / flood.good_cpu_ms,
                "p99_ratio": flood.load.quantile_ms(0.99) / usual.quantile_ms(0.99),
                "refused_p50_ms": flood.load.quantile_ms(0.5, 429),
                "refused_p99_ms": flood.load.quantile_ms(0.99, 429),
                "refused_within_20_ms": flood.load.share_within(0.020, 429),
                "load_cores": flood.load_cores,
            }
        )
    names = [name for name, value in rounds[0].items() if isinstance(value, float)]
    return {"rounds": rounds, **{name: statistics.median(entry[name] for entry in rounds) for name in names}}


def broken(server: Server, _encoder: Encoder, _gallery: Gallery, options: argparse.Namespace) -> Report:
    """One picture in a hundred is cut short: what that does to the others. Both loads take turns, second by second."""
    files = pictures(99, options.picture_size)
    good = [_picture_request("/search", file, server) for file in files]
    mixed = [*good, _picture_request("/search", files[0][: len(files[0]) // 2], server)]
    closed_loop(server.address, _turns(good), clients=4, seconds=1)
    per_s = 0.5 * closed_loop(server.address, _turns(good), clients=4, seconds=options.seconds).per_s()
    turns = {"clean": _turns(good), "dirty": _turns(mixed)}
    rounds: list[Report] = []
    for _ in range(options.rounds):
        loads = {name: Load() for name in turns}
        for _ in range(round(4 * options.seconds)):
            for name, requests in turns.items():
                loads[name] += open_loop(server.address, requests, per_s=per_s, seconds=1)
        rounds.append(
            {
                **{name: _load_report(load) for name, load in loads.items()},
                "p99_ratio": loads["dirty"].quantile_ms(0.99) / loads["clean"].quantile_ms(0.99),
            }
        )
    return {"rounds": rounds, "p99_ratio": statistics.median(entry["p99_ratio"] for entry in rounds)}


@contextmanager
def running(galleries: Path, bundle: Path, *, program: str = _PROGRAM, **variables: str) -> Iterator[Server]:
    """Start a server with its defaults, caches off, and end it afterwards."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = int(found.getsockname()[1])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VERNIER_")} | {
        "VERNIER_BUNDLE": str(bundle),
        "VERNIER_GALLERIES_DIR": str(galleries),
        "VERNIER_PORT": str(port),
        "VERNIER_CACHE_BYTES": "0",
        "VERNIER_LOG_LEVEL": "warning",
        **variables,
    }
    process = subprocess.Popen([sys.executable, "-c", program], env=environment)
    server = Server(process, port)
    try:
        _wait_until_ready(server)
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def pictures(count: int, size: str) -> list[bytes]:
    """Return JPEG files of drawn scenes with a little noise, so that they are as hard to decode as photos."""
    width, height = map(int, size.split("x"))
    rng = np.random.default_rng(2)
    files = []
    for at in range(count):
        image = generate(4, at, size_px=192).image.resize((width, height), Image.Resampling.BICUBIC)
        noisy = np.asarray(image, np.int16) + rng.integers(-12, 13, (height, width, 1), np.int16)
        stream = io.BytesIO()
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=88)
        files.append(stream.getvalue())
    return files


def _busy(server: Server, requests: Callable[[], bytes], options: argparse.Namespace) -> Load:
    return closed_loop(server.address, requests, clients=options.clients, seconds=options.seconds)


class _Measured:
    """A load with the CPU milliseconds that the server took for each of its answers, and for each good one."""

    def __init__(self, server: Server, load: Callable[[], Load]) -> None:
        before, own_before = server.cpu_s(), time.process_time()
        self.load = load()
        self.load_cores = (time.process_time() - own_before) / self.load.seconds
        cpu_ms = 1000 * (server.cpu_s() - before)
        self.cpu_ms = cpu_ms / max(1, len(self.load.answers))
        self.good_cpu_ms = cpu_ms / max(1, sum(answer.status == 200 for answer in self.load.answers))


class _Rows:
    """How many rows the batches of a graph had, from here on."""

    def __init__(self, server: Server, graph: str) -> None:
        self._server, self._graph = server, graph
        self._before = server.batches(graph)

    def per_batch(self) -> float:
        count, rows = (
            now - before for now, before in zip(self._server.batches(self._graph), self._before, strict=True)
        )
        return rows / max(1.0, count)


def _bare_loop(
    call: Callable[[Sequence[Any]], None], inputs: Sequence[Any], size: int, seconds: float
) -> dict[str, float]:
    turn = itertools.cycle(range(0, max(1, len(inputs) - size), size))
    call(inputs[:size])
    took, cpu, started = [], time.process_time(), time.perf_counter()
    while time.perf_counter() - started < seconds:
        at, before = next(turn), time.perf_counter()
        call(inputs[at : at + size])
        took.append(time.perf_counter() - before)
    count = len(took) * size
    return {
        "per_s": count / sum(took),
        "cpu_ms": 1000 * (time.process_time() - cpu) / count,
        "median_ms": 1000 * statistics.median(took),
    }


def _load_report(load: Load) -> Report:
    return {
        "answered_per_s": load.per_s(),
        "p50_ms": load.quantile_ms(0.5),
        "p99_ms": load.quantile_ms(0.99),
        "sent_late_p99_ms": load.late_ms(0.99),
        "statuses": load.statuses(),
    }


def fill_gallery(place: Path, encoder: Encoder, vectors: np.ndarray) -> None:
    """Fill a gallery that is not there yet, and do now what a server would do for it in the background."""
    is_new = not place.exists()
    with open_gallery(place, space=encoder.space, dim=encoder.dim, create=True) as gallery:
        for start in range(0, len(vectors) if is_new else 0, 1000):
            chunk = vectors[start : start + 1000]
            items = [
                NewItem(id=f"{start + at:08d}", image_embedding=vector, content_digest=str(start + at))
                for at, vector in enumerate(chunk)
            ]
            gallery.upsert(items)
        gallery.upkeep()


def _wait_until_ready(server: Server) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until:
        if server.process.poll() is not None:
            raise SystemExit("the server did not start")
        try:
            if httpx.get(f"{server.url}/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise SystemExit(f"the server is not ready after {_START_S} seconds")


def _json_request(path: str, body: bytes, server: Server) -> bytes:
    return request_bytes(path, body, "application/json", host=f"127.0.0.1:{server.port}")


def _picture_request(path: str, body: bytes, server: Server) -> bytes:
    return request_bytes(path, body, "image/jpeg", host=f"127.0.0.1:{server.port}")


def _turns(requests: Sequence[bytes]) -> Callable[[], bytes]:
    turn = itertools.cycle(requests)
    return lambda: next(turn)


def _shown(options: argparse.Namespace) -> Report:
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in vars(options).items()
        if name != "json"
    }


if __name__ == "__main__":
    raise SystemExit(main())
