"""Measures galleries against bare FAISS: search, filters, start, memory, writes, and searching meanwhile.

    python -m benchmarks.index [--items 100000] [--grow 50000 200000] [--keep DIR] [--hnswlib] [--json OUT]

The vectors are clustered and of unit length, 3000 clusters with a falling spectrum. Times of searches are CPU seconds
of one thread, measured in turns with bare FAISS over the same index and the same kept vectors, so that ratios hold on a
busy machine; FAISS is set up as the gallery sets it up. Times of writes, starts and pauses are wall-clock and include
fsync and whatever else the machine does. `--grow` measures smaller galleries too, for what grows with the size.
"""

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from index import LocalGallery, NewItem, ingest, open_folder, parse_filter
from index.large_index import LargeIndex
from index.sources import list_sources
from runtime.encoder import Encoder
from scenes import generate

DIM = 256
_SPACE = "benchmark"
_BATCH = 1000
_ROUNDS = 9
_SHARES = (0.001, 0.01, 0.1, 0.5)
_TOP_K = 10
_NUM_QUERIES = 512
_SWITCH_INTERVAL_S = 0.0005  # as the server sets it

Report = dict[str, Any]


def main() -> int:
    """Run everything once, print it, and write it as JSON when asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--grow", type=int, nargs="*", default=[], help="smaller sizes, measured for start and memory")
    parser.add_argument("--keep", type=Path, help="keep galleries in this folder, and use those that are there")
    parser.add_argument("--hnswlib", action="store_true", help="measure hnswlib beside it, which takes long to build")
    parser.add_argument("--bundle", type=Path, help="measure adding pictures with this bundle")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--start", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    faiss.omp_set_num_threads(1)
    if arguments.start is not None:
        print(json.dumps(_start_here(arguments.start)))
        return 0
    report: Report = {"provenance": provenance(), "dim": DIM, "items": arguments.items}
    with _folder(arguments.keep) as folder:
        report["growth"] = [
            _grown(folder / f"of-{number}", number) for number in sorted({*arguments.grow, arguments.items})
        ]
        vectors, queries = clustered(arguments.items, DIM, num_queries=_NUM_QUERIES)
        report |= _measured(folder / f"of-{arguments.items}", vectors, queries)
        if arguments.bundle is not None:
            report["ingest"] = _ingest(arguments.bundle, folder / "pictures")
        if arguments.hnswlib:
            report["hnswlib"] = _hnswlib(vectors, queries, folder / f"hnswlib-of-{arguments.items}")
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
    points = centres[drawn]
    for start in range(0, len(points), _BATCH):
        part = points[start : start + _BATCH]
        part += 0.5 * rng.standard_normal(part.shape, dtype=np.float32) * spectrum
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return points[:number], points[number:]


def provenance() -> Report:
    """Say where, when and how this was measured."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "hardware": f"{len(names) or 1} x {names[0] if names else platform.processor()}, shared with other work",
        "load_average": os.getloadavg()[0],
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit.stdout.strip() or "unknown",
        "command": "python -m " + " ".join(["benchmarks.index", *sys.argv[1:]]),
        "faiss": faiss.__version__,
        "python": platform.python_version(),
    }


# What grows with the size


def _grown(place: Path, number: int) -> Report:
    """Fill, tune and start a gallery of so many items."""
    report: Report = {"items": number}
    filled = place.with_suffix(".json")
    if not filled.exists():
        filled.write_text(json.dumps(_fill(place, clustered(number, DIM, num_queries=_NUM_QUERIES)[0])))
    report |= json.loads(filled.read_text())
    with open_folder(place, read_only=True) as gallery:
        stats = gallery.stats()
        report |= {
            "file_bytes_per_item": stats.file_bytes / number,
            "snapshot_bytes_per_item": stats.snapshot_bytes / number,
        }
    command = [sys.executable, "-m", "benchmarks.index", "--start", str(place)]
    started = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent.parent)
    return report | {"start": json.loads(started.stdout)}


def _fill(place: Path, vectors: np.ndarray) -> Report:
    rng = np.random.default_rng(1)
    ranks = rng.permutation(len(vectors))
    with open_folder(place, space=_SPACE, dim=DIM, create=True) as gallery:
        started = time.perf_counter()
        for start in range(0, len(vectors), _BATCH):
            part = vectors[start : start + _BATCH]
            gallery.upsert([_item(start + at, vector, int(ranks[start + at])) for at, vector in enumerate(part)])
        filled_s = time.perf_counter() - started
        started, cpu_started = time.perf_counter(), time.process_time()
        tunings = gallery.tune()
        return {
            "fill_items_per_s": len(vectors) / filled_s,
            "tune_s": time.perf_counter() - started,
            "tune_cpu_s": time.process_time() - cpu_started,
            "tuned": [str(tuning) for tuning in tunings],
        }


def _item(number: int, vector: np.ndarray, rank: int) -> NewItem:
    metadata = {"rank": rank, "year": 1990 + number % 30, "tags": ["a", "bc"[number % 2]], "licence": "cc-by"}
    return NewItem(id=f"folder/{number:08d}.jpg", image_embedding=vector, content_digest=str(number), metadata=metadata)


def _start_here(place: Path) -> Report:
    """In a process of its own: open a gallery, search it, and say what that took."""
    queries = clustered(1, DIM, num_queries=_NUM_QUERIES)[1]
    before = _memory_bytes()
    started = time.perf_counter()
    with open_folder(place, read_only=True) as gallery:
        gallery.search(queries[:1], top_k=_TOP_K)
        first_answer_s = time.perf_counter() - started
        after = _memory_bytes()
        for query in queries:
            gallery.search(query[None], top_k=_TOP_K)
        searched = _memory_bytes()
        number = len(gallery._memory)
    return {
        "to_first_answer_s": first_answer_s,
        "own_bytes_per_item": (after["own"] - before["own"]) / number,
        "own_bytes_per_item_after_512_searches": (searched["own"] - before["own"]) / number,
        "mapped_bytes_per_item_after_512_searches": (searched["mapped"] - before["mapped"]) / number,
    }


def _memory_bytes() -> dict[str, int]:
    """Return the process's memory: its own, and pages of files that the system may take back."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {name: int(lines[key].split()[0]) * 1024 for name, key in (("own", "RssAnon"), ("mapped", "RssFile"))}


# What one gallery does


def _measured(place: Path, vectors: np.ndarray, queries: np.ndarray) -> Report:
    answers = _exact_answers(vectors, queries)
    with open_folder(place) as gallery:
        bare = {
            "": _bare_search(gallery),
            "_as_it_comes": _bare_search(gallery, implem=0),
            "_in_memory": _bare_search(gallery, in_memory=True),
        }
        return {
            "index_kind": gallery.info().index_kind,
            "recall_at_10": _recall(gallery.search(queries, top_k=_TOP_K), answers),
            "search": {str(number): _search_ratio(gallery, bare, queries, number) for number in (1, 8, 64)},
            "filtered": {str(share): _filtered(gallery, vectors, queries[:128], share) for share in _SHARES},
            "add_one_ms": _add_one_ms(gallery),
            "delete_one_ms": _delete_one_ms(gallery),
            "add_1000_items_per_s": _add_batches(gallery),
            "while_adding_500_per_s": _while_adding(gallery, queries),
            "while": _pauses(gallery, queries),
        }


def _bare_search(
    gallery: LocalGallery, *, in_memory: bool = False, implem: int | None = None
) -> Callable[[np.ndarray], object]:
    """Return the search of bare FAISS with the same index.

    Args:
        gallery: whose index is meant.
        in_memory: over a copy of the vectors in memory instead of the same mapped file.
        implem: FAISS's way through the lists in place of the gallery's; 0 is what FAISS takes by itself.
    """
    index = gallery._memory.index("image")
    if not isinstance(index, LargeIndex):
        flat = index._index
        return lambda queries: flat.search(queries, _TOP_K)
    codes = index.codes(0, index.num_positions).reshape(-1)
    codes = codes.copy() if in_memory else codes
    kept: Any = index.codec.index_over(codes)
    kept.ntotal = index.num_positions
    base: Any = index.candidates.index
    if implem is not None and hasattr(base, "implem"):
        base = faiss.clone_index(base)
        base.implem = implem
    refined: Any = faiss.IndexRefine(base, kept)
    refining: Any = faiss.IndexRefineSearchParameters
    effort = index.fit.effort
    parameters = refining(
        k_factor=effort.num_candidates / _TOP_K, base_index_params=index.candidates.parameters(effort.breadth, None)
    )

    def search(queries: np.ndarray, _alive: tuple[Any, Any] = (codes, base)) -> object:
        return refined.search(queries, _TOP_K, params=parameters)

    return search


def _search_ratio(
    gallery: LocalGallery,
    bare: dict[str, Callable[[np.ndarray], object]],
    queries: np.ndarray,
    at_once: int,
) -> Report:
    batches = [np.ascontiguousarray(queries[at : at + at_once]) for at in range(0, 256, at_once)]
    searches = [lambda batch: gallery.search(batch, top_k=_TOP_K), *bare.values()]
    own, *others = _in_turns(*(lambda one=one: [one(batch) for batch in batches] for one in searches))
    number = len(batches) * at_once
    report = {"queries_per_cpu_s": number / own}
    for name, other in zip(bare, others, strict=True):
        report |= {f"bare_faiss{name}": number / other, f"ratio{name and '_to' + name}": other / own}
    return report


def _filtered(gallery: LocalGallery, vectors: np.ndarray, queries: np.ndarray, share: float) -> Report:
    """Measure a filter that lets this share through; cold is its first use, which reads SQLite."""
    limit = int(len(vectors) * share)
    ranks = np.random.default_rng(1).permutation(len(vectors))
    passing = np.flatnonzero(ranks < limit)
    answers = passing[_exact_answers(vectors[passing], queries)]
    only = parse_filter({"rank": {"gte": 0, "lt": limit}})
    started = time.thread_time()
    gallery.search(queries[:1], top_k=_TOP_K, filter=only)
    cold_s = time.thread_time() - started
    found = [gallery.search(query[None], top_k=_TOP_K, filter=only)[0] for query in queries]
    warm_s = _best_of(lambda: [gallery.search(query[None], top_k=_TOP_K, filter=only) for query in queries[:32]]) / 32
    return {"recall_at_10": _recall(found, answers), "cold_ms": cold_s * 1e3, "queries_per_cpu_s": 1 / warm_s}


def _add_one_ms(gallery: LocalGallery) -> Report:
    """Measure the wall-clock time of adding an item; that the next search finds it is made sure of."""
    taken = []
    for number, vector in enumerate(_random(200, seed=2)):
        item = NewItem(id=f"new {number}", image_embedding=vector, content_digest="x", metadata={"n": 1})
        started = time.perf_counter()
        gallery.upsert([item])
        found = gallery.search(vector[None], top_k=1)[0][0].id
        taken.append(time.perf_counter() - started)
        assert found == item.id
    return _quantiles_ms(taken)


def _delete_one_ms(gallery: LocalGallery) -> Report:
    taken = []
    for number, vector in enumerate(_random(200, seed=2)):
        started = time.perf_counter()
        gallery.delete(f"new {number}")
        found = gallery.search(vector[None], top_k=1)[0][0].id
        taken.append(time.perf_counter() - started)
        assert found != f"new {number}"
    return _quantiles_ms(taken)


def _add_batches(gallery: LocalGallery) -> float:
    vectors = _random(5 * _BATCH, seed=4)
    started = time.perf_counter()
    for start in range(0, len(vectors), _BATCH):
        gallery.upsert(
            [_item(2 * 10**7 + start + at, vector, -2) for at, vector in enumerate(vectors[start : start + _BATCH])]
        )
    return len(vectors) / (time.perf_counter() - started)


def _while_adding(gallery: LocalGallery, queries: np.ndarray) -> Report:
    """Measure the wall-clock time of single searches, idle and while 500 items a second are added, turn by turn."""
    idle: list[float] = []
    busy: list[float] = []
    added = 0
    for _ in range(4):
        idle += _search_times(gallery, queries, seconds=2)
        stop = threading.Event()
        counts: list[int] = []
        adding = threading.Thread(target=_add_steadily, args=(gallery, stop, 10**7 + added, counts))
        adding.start()
        busy += _search_times(gallery, queries, seconds=2)
        stop.set()
        adding.join()
        added += counts[0]
    p99_idle, p99_busy = (float(np.quantile(times, 0.99)) * 1e3 for times in (idle, busy))
    return {
        "items_per_s": added / 8,
        "p99_idle_ms": p99_idle,
        "p99_busy_ms": p99_busy,
        "ratio": p99_busy / p99_idle,
        "median_idle_ms": statistics.median(idle) * 1e3,
        "median_busy_ms": statistics.median(busy) * 1e3,
    }


def _pauses(gallery: LocalGallery, queries: np.ndarray) -> Report:
    """Measure the longest that single searches take while the gallery looks after itself."""
    report: Report = {"nothing": _longest(gallery, queries, lambda: time.sleep(3))}
    report["snapshot"] = _longest(gallery, queries, gallery.snapshot)
    report["tuning"] = _longest(gallery, queries, gallery.tune)
    report["compacting"] = _longest(gallery, queries, gallery.compact)
    return report


def _longest(gallery: LocalGallery, queries: np.ndarray, work: Callable[[], object]) -> Report:
    done = threading.Event()

    def run() -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)  # as the server does
        work()
        done.set()

    thread = threading.Thread(target=run)
    started = time.perf_counter()
    thread.start()
    times: list[float] = []
    while not done.is_set():
        times += _search_times(gallery, queries, seconds=0.25)
    thread.join()
    return {"seconds": time.perf_counter() - started, "searches": len(times), **_quantiles_ms(times)}


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


def _add_steadily(gallery: LocalGallery, stop: threading.Event, first: int, counts: list[int]) -> None:
    number, started = 0, time.perf_counter()
    for vectors in _random(4000, seed=3).reshape(-1, 25, DIM):
        if stop.is_set():
            break
        gallery.upsert([_item(first + number + at, vector, -1) for at, vector in enumerate(vectors)])
        number += 25
        time.sleep(max(0.0, started + number / 500 - time.perf_counter()))
    counts.append(number)


def _ingest(bundle: Path, folder: Path) -> Report:
    """Measure adding drawn pictures, a thousand in a batch, against decoding and encoding them alone."""
    encoder = Encoder.load(bundle, num_threads=1)
    folder.mkdir(exist_ok=True)
    for number in range(len(list(folder.iterdir())), 2 * _BATCH):
        generate(3, number, split="test", size_px=192).image.save(folder / f"{number}.jpg")
    sources = list_sources([folder]).sources
    least = {"alone": math.inf, "added": math.inf}
    with tempfile.TemporaryDirectory() as place:
        for number in range(2):
            where = Path(place) / f"gallery-{number}"
            with open_folder(where, space=encoder.space, dim=encoder.dim, create=True) as gallery:
                started = time.perf_counter()
                for batch in ingest._prepared_batches(gallery, encoder, sources, _BATCH, ingest.LONGEST_PX):
                    ingest._encoded(gallery, encoder, batch)
                least["alone"] = min(least["alone"], time.perf_counter() - started)
                started = time.perf_counter()
                ingest.add(gallery, encoder, [folder], batch_size=_BATCH)
                least["added"] = min(least["added"], time.perf_counter() - started)
    return {
        "decoded_and_encoded_per_s": len(sources) / least["alone"],
        "added_per_s": len(sources) / least["added"],
        "ratio": least["alone"] / least["added"],
    }


def _hnswlib(vectors: np.ndarray, queries: np.ndarray, place: Path) -> Report:
    """Measure hnswlib over the same vectors, with the least effort that reaches a recall of 0.95.

    The index is kept at `place`, since it takes minutes to make.
    """
    import hnswlib

    answers = _exact_answers(vectors, queries)
    index = hnswlib.Index("ip", DIM)
    told = place.with_suffix(".json")
    if not told.exists():
        index.init_index(max_elements=len(vectors), M=16, ef_construction=100)
        started = time.process_time()
        index.add_items(vectors, num_threads=1)
        built = {"build_cpu_s": time.process_time() - started}
        index.save_index(str(place))
        told.write_text(json.dumps(built))
        index = hnswlib.Index("ip", DIM)
    before = _memory_bytes()["own"]
    index.load_index(str(place), max_elements=len(vectors))
    index.set_num_threads(1)
    report: Report = json.loads(told.read_text()) | {
        "own_bytes_per_item": (_memory_bytes()["own"] - before) / len(vectors),
    }
    for ef in (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512):
        index.set_ef(ef)
        found = index.knn_query(queries, k=_TOP_K, num_threads=1)[0]
        recall = float(np.mean([len(set(a) & set(b)) / _TOP_K for a, b in zip(found, answers, strict=True)]))
        if recall >= 0.95:
            taken = _best_of(lambda: [index.knn_query(query, k=_TOP_K, num_threads=1) for query in queries[:256]])
            return report | {"ef": ef, "recall_at_10": recall, "queries_per_cpu_s": 256 / taken}
    return report


# Tools


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def _random(number: int, *, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((number, DIM), dtype=np.float32)
    unit: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def _exact_answers(vectors: np.ndarray, queries: np.ndarray) -> np.ndarray:
    found: np.ndarray = faiss.knn(
        queries, np.ascontiguousarray(vectors), min(_TOP_K, len(vectors)), metric=faiss.METRIC_INNER_PRODUCT
    )[1]
    return found


def _recall(found: list[list[Any]], answers: np.ndarray) -> float:
    hits = sum(
        len({hit.id for hit in mine} & {f"folder/{at:08d}.jpg" for at in wanted})
        for mine, wanted in zip(found, answers, strict=True)
    )
    return hits / answers.size


def _quantiles_ms(times: list[float]) -> Report:
    return {
        "median_ms": statistics.median(times) * 1e3,
        "p99_ms": float(np.quantile(times, 0.99)) * 1e3,
        "max_ms": max(times) * 1e3,
    }


def _in_turns(*runs: Callable[[], object]) -> list[float]:
    """Return the least CPU seconds that each takes, run in turns."""
    least = [math.inf] * len(runs)
    for turn in range(_ROUNDS):
        for number in np.roll(range(len(runs)), turn).tolist():  # each comes first as often: what it reads is cold then
            run = runs[number]
            started = time.thread_time()
            run()
            least[number] = min(least[number], time.thread_time() - started)
    return least


def _best_of(run: Callable[[], object]) -> float:
    return _in_turns(run)[0]


if __name__ == "__main__":
    sys.exit(main())
