"""Measures galleries against bare FAISS: search, filters, start, writes, and searching while writing.

    python -m benchmarks.index --items 100000 [--json OUT]

The vectors are clustered and of unit length, 3000 clusters with a falling spectrum. Times of searches are CPU seconds
of one thread, measured in turns with bare FAISS on the same vectors, so that ratios hold on a busy machine; FAISS is
set up as the gallery sets it up. Times of writes and starts are wall-clock and include fsync.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from index import LocalGallery, NewItem, open_gallery, parse_filter

DIM = 256
_SPACE = "benchmark"
_BATCH = 1000
_ROUNDS = 7
_SHARES = (0.001, 0.01, 0.1, 0.5)
_TOP_K = 10

Report = dict[str, Any]


def main() -> int:
    """Run everything once, print it, and write it as JSON when asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    faiss.omp_set_num_threads(1)
    report: Report = {"provenance": provenance(), "items": arguments.items, "dim": DIM}
    vectors, queries = clustered(arguments.items, DIM)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "gallery"
        report |= _fill(place, vectors)
        report["exact"] = _measured(place, vectors, queries)
        with open_gallery(place) as gallery:
            report["tune"] = _tune(gallery)
        report["candidates"] = _measured(place, vectors, queries)
        report["start_without_snapshot_s"] = _start_without_snapshot(place)
    text = json.dumps(report, indent=2, default=lambda value: round(float(value), 6))
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")
    return 0


def clustered(number: int, dim: int, *, num_queries: int = 256, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return vectors and queries of unit length from the same clusters."""
    rng = np.random.default_rng(seed)
    spectrum = (np.arange(1, dim + 1) ** -0.5).astype(np.float32)
    centres = rng.standard_normal((3000, dim), dtype=np.float32) * spectrum
    weights = rng.zipf(1.3, len(centres)).clip(1, 200).astype(float)
    drawn = rng.choice(len(centres), number + num_queries, p=weights / weights.sum())
    points = centres[drawn] + 0.5 * rng.standard_normal((len(drawn), dim), dtype=np.float32) * spectrum
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return points[:number], points[number:]


def provenance() -> Report:
    """Say where, when and how this was measured."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "hardware": f"{len(names) or 1} x {names[0] if names else platform.processor()}",
        "load_average": os.getloadavg()[0],
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit.stdout.strip() or "unknown",
        "command": "python -m " + " ".join(["benchmarks.index", *sys.argv[1:]]),
        "faiss": faiss.__version__,
        "python": platform.python_version(),
    }


def _fill(place: Path, vectors: np.ndarray) -> Report:
    rng = np.random.default_rng(1)
    ranks = rng.permutation(len(vectors))
    with open_gallery(place, space=_SPACE, dim=DIM, create=True) as gallery:
        started = time.perf_counter()
        for start in range(0, len(vectors), _BATCH):
            part = vectors[start : start + _BATCH]
            gallery.upsert([_item(start + at, vector, int(ranks[start + at])) for at, vector in enumerate(part)])
        return {"fill_items_per_s": len(vectors) / (time.perf_counter() - started)}


def _item(number: int, vector: np.ndarray, rank: int) -> NewItem:
    metadata = {"rank": rank, "year": 1990 + number % 30, "tags": ["a", "bc"[number % 2]], "licence": "cc-by"}
    return NewItem(id=f"folder/{number:08d}.jpg", image_embedding=vector, content_digest=str(number), metadata=metadata)


def _measured(place: Path, vectors: np.ndarray, queries: np.ndarray) -> Report:
    started = time.perf_counter()
    gallery = open_gallery(place)
    gallery.search(queries[:1], top_k=_TOP_K)
    first_answer_s = time.perf_counter() - started
    with gallery:
        bare = _bare_index(gallery, vectors)
        answers = _exact_answers(vectors, queries)
        return {
            "index_kind": gallery.info().index_kind,
            "start_to_first_answer_s": first_answer_s,
            "recall_at_10": _recall(gallery, queries, answers),
            "search": {str(n): _search_ratio(gallery, bare, queries, n) for n in (1, 8, 64)},
            "filtered": {str(share): _filtered(gallery, vectors, queries, share) for share in _SHARES},
            "add_one_ms": _add_one_ms(gallery),
            "search_while_adding_500_per_s": _while_adding(gallery, queries),
            "disk_bytes_per_item": _disk_bytes(place) / len(vectors),
        }


def _tune(gallery: LocalGallery) -> Report:
    started = time.perf_counter()
    tunings = gallery.tune()
    return {"seconds": time.perf_counter() - started, "chosen": [str(tuning) for tuning in tunings]}


def _bare_index(gallery: LocalGallery, vectors: np.ndarray) -> Callable[[np.ndarray], object]:
    """Return the search of bare FAISS with the same index: flat, or IVF-PQ with a flat refinement."""
    flat: Any = faiss.IndexFlatIP(DIM)
    flat.add(vectors)
    candidates = gallery._memory.candidates("image")
    if candidates is None:
        return lambda queries: flat.search(queries, _TOP_K)
    base: Any = faiss.clone_index(candidates._index)
    base.reset()
    refined: Any = faiss.IndexRefineFlat(base)
    refined.add(vectors)
    effort = candidates.fit.effort
    probing: Any = faiss.SearchParametersIVF
    refining: Any = faiss.IndexRefineSearchParameters
    parameters = refining(k_factor=effort.num_candidates / _TOP_K, base_index_params=probing(nprobe=effort.num_probes))
    return lambda queries: refined.search(queries, _TOP_K, params=parameters)


def _search_ratio(
    gallery: LocalGallery, bare: Callable[[np.ndarray], object], queries: np.ndarray, at_once: int
) -> Report:
    batches = [np.ascontiguousarray(queries[at : at + at_once]) for at in range(0, 64, at_once)]
    own, other = _in_turns(
        lambda: [gallery.search(batch, top_k=_TOP_K) for batch in batches],
        lambda: [bare(batch) for batch in batches],
    )
    number = len(batches) * at_once
    return {"queries_per_cpu_s": number / own, "bare_faiss": number / other, "ratio": other / own}


def _filtered(gallery: LocalGallery, vectors: np.ndarray, queries: np.ndarray, share: float) -> Report:
    """Measure a filter that lets this share through; cold is its first use, which reads SQLite."""
    limit = int(len(vectors) * share)
    ranks = np.random.default_rng(1).permutation(len(vectors))
    passing = np.flatnonzero(ranks < limit)
    answers = _exact_answers(vectors[passing], queries)
    hits = 0
    only = parse_filter({"rank": {"gte": 0, "lt": limit}})
    started = time.thread_time()
    gallery.search(queries[:1], top_k=_TOP_K, filter=only)
    cold_s = time.thread_time() - started
    for query, wanted in zip(queries, answers, strict=True):
        found = {hit.id for hit in gallery.search(query[None], top_k=_TOP_K, filter=only)[0]}
        hits += len(found & {f"folder/{passing[at]:08d}.jpg" for at in wanted})
    warm_s = _best_of(lambda: [gallery.search(query[None], top_k=_TOP_K, filter=only) for query in queries[:16]]) / 16
    return {"recall_at_10": hits / answers.size, "cold_ms": cold_s * 1e3, "warm_ms": warm_s * 1e3}


def _add_one_ms(gallery: LocalGallery) -> Report:
    rng = np.random.default_rng(2)
    taken = []
    for number in range(200):
        vector = rng.standard_normal(DIM).astype(np.float32)
        item = NewItem(
            id=f"new {number}", image_embedding=vector / np.linalg.norm(vector), content_digest="x", metadata={"n": 1}
        )
        started = time.perf_counter()
        gallery.upsert([item])
        taken.append(time.perf_counter() - started)
        assert item.image_embedding is not None
        assert gallery.search(item.image_embedding[None], top_k=1)[0][0].id == item.id
    for number in range(200):
        gallery.delete(f"new {number}")
    return {"median": statistics.median(taken) * 1e3, "p99": float(np.quantile(taken, 0.99)) * 1e3}


def _while_adding(gallery: LocalGallery, queries: np.ndarray) -> Report:
    """Measure the wall-clock time of single searches, idle and while 500 items a second are added."""
    idle = _search_times(gallery, queries, seconds=2)
    stop = threading.Event()
    added = threading.Thread(target=_add_steadily, args=(gallery, stop))
    added.start()
    busy = _search_times(gallery, queries, seconds=2)
    stop.set()
    added.join()
    for item in gallery.page(limit=1000, filter=parse_filter({"rank": -1})).items:
        gallery.delete(item.id)
    p99_idle, p99_busy = (float(np.quantile(times, 0.99)) * 1e3 for times in (idle, busy))
    return {"p99_idle_ms": p99_idle, "p99_busy_ms": p99_busy, "ratio": p99_busy / p99_idle}


def _search_times(gallery: LocalGallery, queries: np.ndarray, *, seconds: float) -> list[float]:
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        query = queries[len(times) % len(queries)][None]
        started = time.perf_counter()
        gallery.search(query, top_k=_TOP_K)
        times.append(time.perf_counter() - started)
        time.sleep(0.002)
    return times


def _add_steadily(gallery: LocalGallery, stop: threading.Event) -> None:
    rng = np.random.default_rng(3)
    number, started = 0, time.perf_counter()
    while not stop.is_set():
        vectors = rng.standard_normal((25, DIM)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        gallery.upsert([_item(10**7 + number + at, vector, -1) for at, vector in enumerate(vectors)])
        number += 25
        if number == 1000:
            break
        time.sleep(max(0.0, started + number / 500 - time.perf_counter()))


def _start_without_snapshot(place: Path) -> float:
    for file in (place / "snapshot").iterdir():
        file.unlink()
    started = time.perf_counter()
    with open_gallery(place, read_only=True):
        return time.perf_counter() - started


def _exact_answers(vectors: np.ndarray, queries: np.ndarray) -> np.ndarray:
    flat: Any = faiss.IndexFlatIP(DIM)
    flat.add(np.ascontiguousarray(vectors))
    found: np.ndarray = flat.search(queries, min(_TOP_K, len(vectors)))[1]
    return found


def _recall(gallery: LocalGallery, queries: np.ndarray, answers: np.ndarray) -> float:
    found = gallery.search(queries, top_k=_TOP_K)
    hits = sum(
        len({hit.id for hit in mine} & {f"folder/{at:08d}.jpg" for at in wanted})
        for mine, wanted in zip(found, answers, strict=True)
    )
    return hits / answers.size


def _disk_bytes(place: Path) -> int:
    return sum(file.stat().st_size for file in place.rglob("*") if file.is_file())


def _in_turns(first: Callable[[], object], second: Callable[[], object]) -> tuple[float, float]:
    """Return the least CPU seconds that each takes, run in turns."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(_ROUNDS):
        for run, taken in zip((first, second), times, strict=True):
            started = time.thread_time()
            run()
            taken.append(time.thread_time() - started)
    return min(times[0]), min(times[1])


def _best_of(run: Callable[[], object]) -> float:
    return _in_turns(run, lambda: None)[0]


if __name__ == "__main__":
    sys.exit(main())
