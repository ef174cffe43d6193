"""Large galleries: candidates lead to nearly what exact search finds, whatever is written meanwhile."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from index import LocalGallery, NewItem, parse_filter
from index.candidates import Effort, Fit, Graph, Lists, num_codes
from index.codecs import Codec
from index.codes_file import CodesFile
from index.large_index import EXACT_UP_TO, LargeIndex
from index.vectors import RowSet
from tests.unit.index.conftest import DIM, new_item, unit

Open = Callable[..., LocalGallery]
Build = Callable[..., LargeIndex]

TOLERANCE = {"float32": 1e-5, "float16": 5e-4, "int8": 1e-2}


def clustered(rng: np.random.Generator, number: int, dim: int = 32, clusters: int = 60) -> np.ndarray:
    centres = unit(rng, clusters, dim)
    vectors = centres[rng.integers(clusters, size=number)] + 0.5 * unit(rng, number, dim)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(params=[(Lists, "float16"), (Lists, "int8"), (Lists, "float32"), (Graph, "float16")], ids=str)
def build(request: pytest.FixtureRequest, tmp_path: Path) -> Build:
    """Makes an index of a kind that keeps vectors in a way, and whose file holds all but the last of them."""
    kind, vectors_as = request.param

    def built(vectors: np.ndarray, *, breadth: int = 16, num_candidates: int = 100) -> LargeIndex:
        codec = Codec.fitted(vectors_as, vectors)
        candidates = Lists.trained(vectors, num_vectors=len(vectors)) if kind is Lists else Graph.empty(len(vectors[0]))
        effort = Effort(breadth=max(breadth, 64 if kind is Graph else 1), num_candidates=num_candidates)
        file = CodesFile(tmp_path / "codes", code_bytes=codec.num_bytes)
        file.append([codec.encode(vectors[:-100])])
        fit = Fit(effort=effort, recall=1, num_vectors=len(vectors))
        index = LargeIndex(codec, candidates, fit, file, exact_up_to=0)
        index.load(np.arange(len(vectors) - 100))
        index.put(np.arange(len(vectors) - 100, len(vectors)), vectors[-100:])
        return index

    return built


def exact(vectors: np.ndarray, queries: np.ndarray, k: int, is_allowed: np.ndarray) -> np.ndarray:
    scores = np.where(is_allowed, queries @ vectors.T, -np.inf)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.where(np.isfinite(np.take_along_axis(scores, order, 1)), order, -1)


def recall(found: np.ndarray, wanted: np.ndarray) -> float:
    pairs = list(zip(found.tolist(), wanted.tolist(), strict=True))
    hits = sum(len({row for row in a if row >= 0} & {row for row in b if row >= 0}) for a, b in pairs)
    return hits / max(1, int((wanted >= 0).sum()))


@pytest.mark.parametrize("k", [1, 10, 100, 300])
def test_candidates_find_what_exact_search_finds(build: Build, rng: np.random.Generator, k: int) -> None:
    vectors, queries = clustered(rng, 6000), clustered(rng, 50)
    queries = vectors[rng.integers(6000, size=50)] + 0.2 * unit(rng, 50, 32)
    index = build(vectors)
    scores, rows = index.search(queries.astype(np.float32), k)
    assert recall(rows, exact(vectors, queries, k, np.ones(6000, bool))) >= 0.95
    np.testing.assert_allclose(
        scores, np.einsum("qd,qkd->qk", queries, vectors[rows]), atol=TOLERANCE[index.codec.name]
    )
    assert (np.diff(scores, axis=1) <= 0).all()
    assert all(len(set(row)) == k for row in rows.tolist())


@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 0.5])
@pytest.mark.parametrize("goes_with_place", [False, True])
def test_filters_through_candidates(
    build: Build, rng: np.random.Generator, share: float, goes_with_place: bool
) -> None:
    """Also where a filter passes items of one region only, and the query lies in another."""
    vectors, queries = clustered(rng, 6000), clustered(rng, 30)
    key = vectors[:, 0] if goes_with_place else rng.random(6000)
    is_allowed = key <= np.quantile(key, share)
    _, rows = build(vectors).search(queries, 10, allowed=RowSet(np.flatnonzero(is_allowed)))
    assert is_allowed[rows[rows >= 0]].all()
    wanted = exact(vectors, queries, 10, is_allowed)
    np.testing.assert_array_equal((rows >= 0).sum(axis=1), (wanted >= 0).sum(axis=1))
    assert recall(rows, wanted) >= 0.95


def test_writes_after_building_are_seen_at_once(build: Build, rng: np.random.Generator) -> None:
    drawn = clustered(rng, 6000)
    vectors, new, later = drawn[:4000], drawn[4000:4500], drawn[4500:]
    index = build(vectors)
    index.remove(np.arange(0, 4000, 3))
    moved = np.arange(1, 4000, 3)
    vectors[moved] = later[: len(moved)]
    index.put(moved, vectors[moved])
    index.put(np.arange(4000, 4500), new)
    everything = np.concatenate([vectors, new])
    is_there = np.arange(4500) % 3 != 0
    is_there[4000:] = True
    queries = everything[is_there][:200]
    _, rows = index.search(np.ascontiguousarray(queries), 10)
    assert recall(rows, exact(everything, queries, 10, is_there)) >= 0.95
    assert is_there[rows].all()
    np.testing.assert_array_equal(rows[:, 0], np.flatnonzero(is_there)[:200])
    assert all(len(set(row)) == 10 for row in rows.tolist())


def test_an_item_replaced_many_times_does_not_hide_its_neighbours(build: Build, rng: np.random.Generator) -> None:
    vectors = clustered(rng, 3000)
    index = build(vectors)
    for _ in range(400):
        index.put(np.asarray([7]), vectors[[8]])
    vectors[7] = vectors[8]
    _, rows = index.search(vectors[[8]], 10)
    assert recall(rows, exact(vectors, vectors[[8]], 10, np.ones(3000, bool))) == 1


def test_when_nearly_everything_is_deleted_the_rest_is_found(build: Build, rng: np.random.Generator) -> None:
    vectors = clustered(rng, 3000)
    index = build(vectors, breadth=2)
    index.remove(np.arange(2995))
    _, rows = index.search(clustered(rng, 5), 10)
    assert {tuple(sorted(row)) for row in rows.tolist()} == {(-1, -1, -1, -1, -1, 2995, 2996, 2997, 2998, 2999)}
    index.remove(np.arange(3000))
    assert (index.search(clustered(rng, 5), 10)[1] == -1).all()


@pytest.mark.parametrize(("dim", "codes"), [(256, 128), (512, 256), (16, 8), (10, 5), (7, 1), (3, 1), (1, 1)])
def test_vectors_are_cut_into_equal_parts(dim: int, codes: int) -> None:
    assert num_codes(dim) == codes


def items_of(vectors: np.ndarray, start: int = 0) -> list[NewItem]:
    return [
        NewItem(id=f"i{at}", image_embedding=vector, content_digest=str(at), metadata={"tenth": at % 10})
        for at, vector in enumerate(vectors, start)
    ]


def test_a_gallery_is_tuned_and_stays_right(open_here: Open, rng: np.random.Generator) -> None:
    number = EXACT_UP_TO + 5000
    vectors = clustered(rng, number, DIM)
    gallery = open_here()
    gallery.upsert([new_item("a text", rng, image_embedding=None, text="t", text_embedding=unit(rng, DIM))])
    gallery.upsert(items_of(vectors))
    assert gallery.info().index_kind == "flat"

    stop = threading.Event()
    errors: list[BaseException] = []

    def write_meanwhile() -> None:
        own = np.random.default_rng(5)
        try:
            for step in range(10_000):
                if stop.is_set():
                    return
                at = int(own.integers(1000))
                gallery.delete(f"i{at}")
                gallery.upsert([new_item(f"i{at}", own, content_digest=f"again {step}"), new_item(f"n{step}", own)])
                if step % 3 == 0:
                    gallery.delete(f"n{step}")
        except BaseException as error:
            errors.append(error)

    writer = threading.Thread(target=write_meanwhile)
    writer.start()
    (tuning,) = gallery.tune()
    stop.set()
    writer.join()
    assert errors == []
    assert tuning.target == "image"
    assert tuning.kind == gallery.info().index_kind
    assert tuning.kind in ("ivf-pq", "hnsw")
    assert tuning.recall >= 0.95
    assert gallery.stats().image_recall == tuning.recall
    assert gallery.verify() == []

    for options in ({}, {"filter": parse_filter({"not": {"tenth": 3}})}):
        queries = vectors[2000:2100]
        through = gallery.search(queries, top_k=10, **options)
        everything = gallery.search(queries, top_k=300, **options)  # so many are searched for exactly
        shared = [
            len({hit.id for hit in a} & {hit.id for hit in b[:10]}) for a, b in zip(through, everything, strict=True)
        ]
        assert np.mean(shared) >= 9.5
        assert all(len(hits) == 10 for hits in through)

    before = gallery.search(vectors[:20], top_k=10)
    fresh = new_item("fresh", rng)
    gallery.upsert([fresh])
    assert gallery.search(fresh.image_embedding[None], top_k=1)[0][0].id == "fresh"
    gallery.delete("fresh")
    assert gallery.search(vectors[:20], top_k=10) == before
    gallery.upsert(items_of(clustered(rng, 50, DIM), number))
    before, info = gallery.search(vectors[:20], top_k=10), gallery.info()
    gallery.close()

    again = open_here()
    assert again.info() == info
    assert again.search(vectors[:20], top_k=10) == before
    assert again.verify() == []
