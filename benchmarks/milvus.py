"""A gallery in Milvus beside the same gallery in a folder: writes, acknowledgements and searches, in one run.

    python -m benchmarks.milvus [--items 10000]

It starts the Milvus that `scripts/milvus.sh` brings, in a folder of its own. Prints JSON.
"""

import argparse
import contextlib
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from index import Gallery, NewItem, open_gallery, parse_filter
from runtime.errors import GalleryError

DIM, AT_ONCE, SPACE = 256, 500, "benchmark"
SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "milvus.sh"


@contextlib.contextmanager
def milvus(folder: Path) -> Iterator[int]:
    """Run a Milvus server; gives its port."""
    home = Path(subprocess.run([SCRIPT], check=True, capture_output=True, text=True).stdout.strip())
    (folder / "data").mkdir()
    (folder / "data" / "bin").symlink_to(home / "run" / "bin")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    command: list[str | Path] = [home / "bin" / "milvus-server", "--data", folder / "data", "--proxy-port", str(port)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        yield port
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def opened(uri: str, *, first_start_s: float = 120.0) -> Gallery:
    """Open a gallery; a Milvus that is starting is waited for."""
    until = time.monotonic() + first_start_s
    while True:
        try:
            return open_gallery(uri, space=SPACE, dim=DIM, create=True)
        except GalleryError as error:
            if error.code != "gallery_unreachable" or time.monotonic() > until:
                raise


def median_ms(call: Callable[[int], object], times: int) -> float:
    """Return the median of how long a call takes, in milliseconds."""
    taken = []
    for at in range(times):
        started = time.perf_counter()
        call(at)
        taken.append(1000 * (time.perf_counter() - started))
    return round(statistics.median(taken), 2)


def measured(gallery: Gallery, items: list[NewItem], queries: np.ndarray) -> dict[str, float]:
    """Return what a gallery does in which time."""
    started = time.perf_counter()
    for start in range(0, len(items), AT_ONCE):
        gallery.upsert(items[start : start + AT_ONCE])
    filter = parse_filter({"n": {"lt": 10}})
    one = [NewItem(id=f"one{at}", image_embedding=queries[at], content_digest="x") for at in range(20)]
    return {
        "items_per_s": round(len(items) / (time.perf_counter() - started)),
        "search_ms": median_ms(lambda at: gallery.search(queries[at : at + 1], top_k=10), 50),
        "filtered_search_ms": median_ms(lambda at: gallery.search(queries[at : at + 1], top_k=10, filter=filter), 50),
        "write_acknowledged_ms": median_ms(lambda at: gallery.upsert([one[at]]), 20),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, default=10_000)
    number = parser.parse_args().items
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((number + 100, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    items = [
        NewItem(id=f"i{at}", image_embedding=vectors[at], metadata={"n": at % 100}, content_digest=str(at))
        for at in range(number)
    ]
    queries = vectors[number:]
    report: dict[str, object] = {"items": number, "dim": DIM, "machine": platform.processor() or platform.machine()}
    with tempfile.TemporaryDirectory() as folder:
        report["folder"] = measured(opened(str(Path(folder) / "gallery")), items, queries)
        with milvus(Path(folder)) as port:
            for wait in ("none", "write", "read"):
                gallery = opened(f"milvus://127.0.0.1:{port}/{wait}?pictures=none&wait={wait}")
                report[f"milvus wait={wait}"] = measured(gallery, items, queries)
                gallery.close()
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
