"""Recall against queries per CPU-second: a gallery, FAISS alone, hnswlib and Milvus Lite over the same vectors.

    python -m benchmarks.index_curves [--items 1000000] [--keep DIR] [--milvus-lite PYTHON] [--json OUT] [--svg OUT]

Every query is asked alone, in one thread; each effort that a search knows is tried, and what another beats in both
ways is left out. CPU seconds are the least of two turns. FAISS searches the gallery's own lists over the same mapped
vectors. Milvus Lite runs in an environment of its own (`uv pip install milvus-lite pymilvus psutil "setuptools<81"`)
whose interpreter is named; its CPU is that of client and server.
"""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import faiss
import hnswlib
import numpy as np

from benchmarks.index import DIM, _bare_search, _exact_answers, _fill, _folder, _hnswlib, clustered, provenance
from index import LocalGallery, open_folder
from index.candidates import Effort
from index.large_index import LargeIndex

Point = dict[str, float | str]
Report = dict[str, Any]
_TOP_K = 10
_NUM_QUERIES = 512
_NUM_TIMED = 128
_TURNS = 2
_EFS = (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
_MILVUS_LITE = Path(__file__).parent / "peers" / "servers" / "milvus_curve.py"


def main() -> int:
    """Measure every curve, print a table, and write and draw it when asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--keep", type=Path, help="directory to keep filled indexes in for the next run")
    parser.add_argument("--milvus-lite", type=Path, metavar="PYTHON", help="interpreter that has milvus-lite")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--svg", type=Path)
    options = parser.parse_args()
    faiss.omp_set_num_threads(1)
    vectors, queries = clustered(options.items, DIM, num_queries=_NUM_QUERIES)
    answers = _exact_answers(vectors, queries)
    with _folder(options.keep) as keep:
        place = keep / f"of-{options.items}"
        if not place.exists():
            _fill(place, vectors)
        curves = gallery_curves(place, queries, answers)
        curves["hnswlib"] = hnswlib_curve(vectors, queries, answers, keep / f"hnswlib-of-{options.items}")
    curves["FAISS, exact"] = [exact_point(vectors, queries)]
    report: Report = {
        "provenance": provenance() | {"command": "python -m " + " ".join(["benchmarks.index_curves", *sys.argv[1:]])},
        "items": options.items,
        "dim": DIM,
        "top_k": _TOP_K,
        "curves": curves,
    }
    if options.milvus_lite:
        report["milvus_lite"] = milvus_lite(options.milvus_lite, vectors, queries, answers)
        curves["Milvus Lite, HNSW"] = best(report["milvus_lite"].pop("curve"))
    print(table(report))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1, default=float) + "\n")
    if options.svg:
        options.svg.write_text(draw(report), encoding="utf-8")
    return 0


def gallery_curves(place: Path, queries: np.ndarray, answers: np.ndarray) -> dict[str, list[Point]]:
    """The curves of a gallery and of FAISS over the gallery's lists."""
    with open_folder(place) as gallery:
        index = gallery._memory.index("image")
        assert isinstance(index, LargeIndex)
        tuned = index.fit
        own, bare = [], []
        for breadth, candidates in itertools.product(*index.candidates.efforts):
            index.refit(replace(tuned, effort=Effort(breadth=breadth, num_candidates=candidates)))
            label = f"{breadth} lists, {candidates} candidates"
            own.append(_point(label, _searched_by(gallery), queries, answers))
            bare.append(_point(label, _bare_rows(gallery), queries, answers))
        index.refit(tuned)
        at = f"{tuned.effort.breadth} lists, {tuned.effort.num_candidates} candidates"
        chosen = next(point for point in own if point["effort"] == at)
    return {
        f"Vernier's gallery ({gallery.info().index_kind})": best(own),
        "as the gallery tuned itself": [chosen],
        "FAISS over the same lists": best(bare),
    }


def hnswlib_curve(vectors: np.ndarray, queries: np.ndarray, answers: np.ndarray, place: Path) -> list[Point]:
    """The curve of hnswlib, M 16."""
    if not place.exists():
        _hnswlib(vectors, queries, place)
    index = hnswlib.Index("ip", DIM)
    index.load_index(str(place), max_elements=len(vectors))
    index.set_num_threads(1)

    def search(query: np.ndarray) -> np.ndarray:
        found: np.ndarray = index.knn_query(query, k=_TOP_K, num_threads=1)[0]
        return found

    points = []
    for ef in _EFS:
        index.set_ef(ef)
        points.append(_point(f"ef {ef}", search, queries, answers))
    return best(points)


def exact_point(vectors: np.ndarray, queries: np.ndarray) -> Point:
    """FAISS looking at every vector."""
    index = faiss.IndexFlatIP(DIM)
    index.add(np.ascontiguousarray(vectors))
    taken = _cpu_s(lambda: [index.search(query[None], _TOP_K) for query in queries[:32]])
    return {"effort": "all", "recall": 1.0, "queries_per_cpu_s": 32 / taken}


def milvus_lite(python: Path, vectors: np.ndarray, queries: np.ndarray, answers: np.ndarray) -> Report:
    """What Milvus Lite does in its own environment."""
    with tempfile.TemporaryDirectory() as folder:
        for name, array in (("vectors", vectors), ("queries", queries[:_NUM_TIMED]), ("answers", answers[:_NUM_TIMED])):
            np.save(Path(folder) / f"{name}.npy", array)
        ran = subprocess.run([python, _MILVUS_LITE, folder], stdout=subprocess.PIPE, text=True, check=True)
    found: Report = json.loads(ran.stdout.splitlines()[-1])
    return found


def best(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats in both ways, by recall."""
    front: list[Point] = []
    for point in sorted(points, key=lambda one: (-float(one["recall"]), -float(one["queries_per_cpu_s"]))):
        if not front or float(point["queries_per_cpu_s"]) > float(front[-1]["queries_per_cpu_s"]):
            front.append(point)
    return front[::-1]


def table(report: Mapping[str, Any]) -> str:
    """The curves as Markdown: the most queries per CPU-second at a recall, by its exact points alone."""
    asked = (0.90, 0.95, 0.97, 0.98, 0.99)
    lines = [
        f"| {report['items']:,} x {report['dim']} | {' | '.join(f'recall {recall:.2f}' for recall in asked)} |",
        "|---" * (1 + len(asked)) + "|",
    ]
    for name, points in report["curves"].items():
        most = [
            max((point["queries_per_cpu_s"] for point in points if point["recall"] >= recall), default=None)
            for recall in asked
        ]
        lines.append(f"| {name} | {' | '.join('' if one is None else f'{one:,.0f}' for one in most)} |")
    return "\n".join(lines)


def draw(report: Mapping[str, Any]) -> str:
    """The curves as an SVG."""
    from matplotlib.figure import Figure

    from evaluation.plots import CONTROL, INK, OWN, QUIET, WORSE, as_svg

    figure = Figure(figsize=(7.2, 4.2))
    axes = figure.add_subplot()
    colours = iter((OWN, INK, CONTROL, WORSE, QUIET))
    for name, points in report["curves"].items():
        across, up = [point["recall"] for point in points], [point["queries_per_cpu_s"] for point in points]
        if name.startswith("as the"):
            axes.plot(across, up, "o", color=OWN, markersize=9, markerfacecolor="none", label=name)
        else:
            axes.plot(across, up, "o-", color=next(colours), markersize=3, linewidth=1.4, label=name)
    axes.set_yscale("log")
    axes.set_xlim(0.7, 1.005)
    axes.set_xlabel("recall@10")
    axes.set_ylabel("queries per CPU-second")
    axes.set_title(f"{report['items']:,} x {report['dim']}, one query at a time", loc="left", fontsize=10)
    axes.legend(frameon=False, fontsize=8)
    axes.grid(visible=True, alpha=0.25)
    return as_svg(figure)


def _searched_by(gallery: LocalGallery) -> Callable[[np.ndarray], np.ndarray]:
    def search(query: np.ndarray) -> np.ndarray:
        (hits,) = gallery.search(query, top_k=_TOP_K)
        return np.array([[int(hit.id.removeprefix("folder/").removesuffix(".jpg")) for hit in hits]])

    return search


def _bare_rows(gallery: LocalGallery) -> Callable[[np.ndarray], np.ndarray]:
    bare: Any = _bare_search(gallery, implem=0)
    return lambda query: bare(query)[1]


def _point(label: str, search: Callable[[np.ndarray], np.ndarray], queries: np.ndarray, answers: np.ndarray) -> Point:
    found = [search(query[None])[0] for query in queries]
    hits = sum(len(set(mine.tolist()) & set(true.tolist())) for mine, true in zip(found, answers, strict=True))
    taken = _cpu_s(lambda: [search(query[None]) for query in queries[:_NUM_TIMED]])
    return {"effort": label, "recall": hits / answers.size, "queries_per_cpu_s": _NUM_TIMED / taken}


def _cpu_s(run: Callable[[], object]) -> float:
    """The least CPU seconds of a few turns."""
    least = float("inf")
    for _ in range(_TURNS):
        started = time.thread_time()
        run()
        least = min(least, time.thread_time() - started)
    return least


if __name__ == "__main__":
    raise SystemExit(main())
