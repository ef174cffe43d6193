"""Searching through a card: the same hits, whatever is written meanwhile; and without one, loudly on the CPU."""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from index import LocalGallery, NewItem, open_gallery, parse_filter, placing
from index.card_kinds import CARD_KINDS, CardKind, GpuBuild, num_card_codes, prove
from index.cards import Card, Cards
from index.large_index import EXACT_UP_TO
from tests.unit.index.conftest import SPACE, unit
from tests.unit.index.cpu_cards import CpuBuild, effort
from tests.unit.index.test_candidates import clustered, exact, recall

DIM = 32
NUMBER = EXACT_UP_TO + 1_000


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return clustered(np.random.default_rng(3), NUMBER)


@pytest.fixture(scope="module")
def filled(vectors: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalGallery]:
    """A large gallery, tuned; tests leave in it what was in it."""
    with open_gallery(tmp_path_factory.mktemp("cards") / "large", space=SPACE, dim=DIM, create=True) as gallery:
        gallery.upsert([item(number, vector) for number, vector in enumerate(vectors)])
        gallery.tune(kind="ivf-pq")
        assert gallery.info().index_kind == "ivf-pq"
        yield gallery


@pytest.fixture
def large(filled: LocalGallery) -> Iterator[LocalGallery]:
    yield filled
    filled._memory.place(filled._memory.index("image"), None)
    filled._unplaceable.clear()


@pytest.fixture
def cards_of() -> Iterator[Callable[..., Cards]]:
    made: list[Cards] = []

    def make(wanted: str = "auto", build: CpuBuild | None = None) -> Cards:
        made.append(Cards(wanted, build=build or CpuBuild()))
        return made[-1]

    yield make
    for cards in made:
        cards.close()


def item(number: int, vector: np.ndarray, item_id: str | None = None) -> NewItem:
    return NewItem(
        id=item_id or f"{number:06d}",
        image_embedding=vector,
        metadata={"half": number % 2, "rare": number % 500 == 0},
        content_digest=f"{number} {vector[0]}",
    )


def ids(gallery: LocalGallery, queries: np.ndarray, **options: object) -> list[list[str]]:
    return [[hit.id for hit in hits] for hits in gallery.search(queries, **{"top_k": 10, **options})]


def finds_the_first(queries: np.ndarray, k: int, params: object = None) -> tuple[None, np.ndarray]:
    return None, np.zeros((len(queries), k), np.int64)


def queries_near(vectors: np.ndarray, rng: np.random.Generator, number: int = 40) -> np.ndarray:
    near = vectors[rng.integers(len(vectors), size=number)] + 0.2 * unit(rng, number, vectors.shape[1])
    return (near / np.linalg.norm(near, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("kind", CARD_KINDS)
def test_a_card_finds_what_exact_search_finds(
    large: LocalGallery, vectors: np.ndarray, rng: np.random.Generator, cards_of: Callable[..., Cards], kind: CardKind
) -> None:
    build = CpuBuild()
    cards = cards_of(kind, build)
    build.threads.clear()
    large.bring_to_cards(cards)
    assert cards.fallback is None
    assert large.info().index_kind == f"gpu-{kind}"
    assert build.threads == {"card-0"}
    queries = queries_near(vectors, rng)
    best = exact(vectors, queries, 10, np.ones(NUMBER, bool))
    found = large.search(queries, top_k=10)
    assert recall(np.asarray([[int(hit.id) for hit in hits] for hits in found]), best) >= 0.95
    for query, hits in zip(queries, found, strict=True):
        true = vectors[[int(hit.id) for hit in hits]] @ query
        np.testing.assert_allclose([hit.score for hit in hits], true, atol=5e-4)
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


@pytest.mark.parametrize("kind", CARD_KINDS)
def test_what_is_written_is_found_and_what_is_gone_is_not(
    large: LocalGallery,
    vectors: np.ndarray,
    rng: np.random.Generator,
    cards_of: Callable[..., Cards],
    monkeypatch: pytest.MonkeyPatch,
    kind: CardKind,
) -> None:
    monkeypatch.setattr(placing, "MOST_FRESH", 20)
    monkeypatch.setattr(placing, "REBUILT_FROM", 20)
    cards = cards_of(kind)
    large.bring_to_cards(cards)
    index = large._memory.index("image")
    held = index.placed.count
    new = unit(rng, 30, DIM)
    for number, vector in enumerate(new[:15]):
        large.upsert([item(number, vector, f"new {number}")])
        assert ids(large, vector[None])[0][0] == f"new {number}"
    large.upsert([item(7, new[20], "000007")])  # now somewhere else
    assert ids(large, new[20][None])[0][0] == "000007"
    assert "000007" not in ids(large, vectors[7][None])[0]
    assert large.delete("000008")
    assert "000008" not in ids(large, vectors[8][None])[0]
    large.bring_to_cards(cards)
    assert index.placed.count == held  # so few are the CPU's
    large.upsert([item(number, new[number], f"new {number}") for number in range(15, 30)])
    large.bring_to_cards(cards)
    assert index.placed.count == index.num_positions == held + 31
    assert index.kind == f"gpu-{kind}"
    missed = [number for number, hits in enumerate(ids(large, new)) if f"new {number}" not in hits]
    assert len(missed) <= (1 if kind == "cagra" else 0)  # of items unlike all others a graph finds 99 in 100
    assert "000008" not in ids(large, vectors[8][None])[0]
    for number in range(30):
        large.delete(f"new {number}")
    assert not any(hit.startswith("new") for hits in ids(large, new) for hit in hits)
    large.upsert([item(7, vectors[7]), item(8, vectors[8])])
    assert large.verify() == []


def test_filters_and_many_hits_are_the_cpu_s(
    large: LocalGallery, vectors: np.ndarray, rng: np.random.Generator, cards_of: Callable[..., Cards]
) -> None:
    cards = cards_of("flat")
    large.bring_to_cards(cards)
    queries = queries_near(vectors, rng, 8)
    before = cards._cards[0].num_batches
    for field, value, passing in (
        ("half", 1, np.arange(NUMBER) % 2 == 1),
        ("rare", True, np.arange(NUMBER) % 500 == 0),
    ):
        found = ids(large, queries, filter=parse_filter({field: value}))
        got = np.asarray([[int(hit) for hit in hits] for hits in found])
        assert passing[got].all()
        assert recall(got, exact(vectors, queries, 10, passing)) >= 0.95
    assert len(ids(large, queries[:1], top_k=500)[0]) == 500
    assert cards._cards[0].num_batches == before
    ids(large, queries)
    assert cards._cards[0].num_batches == before + 1


def test_searches_that_wait_are_answered_in_one_call(vectors: np.ndarray, rng: np.random.Generator) -> None:
    build = CpuBuild()
    card = Card(0, build)
    placed = card.place("flat", vectors[:100], [vectors], count=len(vectors))
    index = build.made[0].index
    gate, searched = threading.Event(), []
    search = index.search

    def slow(queries: np.ndarray, k: int, params: object = None) -> object:
        searched.append(len(queries))
        gate.wait(10)
        return search(queries, k, params=params)

    index.search = slow
    queries = queries_near(vectors, rng, 21)
    answers: dict[int, np.ndarray] = {}
    threads = [
        threading.Thread(target=lambda n=n: answers.update({n: placed.search(queries[n : n + 1], 12)}))
        for n in range(21)
    ]
    threads[0].start()
    while not searched:
        time.sleep(0.001)
    for thread in threads[1:]:
        thread.start()
    while len(card._searches) < 20:
        time.sleep(0.001)
    gate.set()
    for thread in threads:
        thread.join()
    card.close()
    assert searched == [1, 20]
    for number, found in answers.items():
        assert (found[0] == search(queries[number : number + 1], 12)[1][0]).all()


def test_while_a_card_takes_a_copy_the_cpu_answers(vectors: np.ndarray, rng: np.random.Generator) -> None:
    card = Card(0, CpuBuild())
    placed = card.place("flat", vectors[:100], [vectors], count=len(vectors))
    at_work, go_on = threading.Event(), threading.Event()

    def chunks() -> Iterator[np.ndarray]:
        at_work.set()
        go_on.wait(10)
        yield vectors

    other = threading.Thread(target=lambda: card.place("flat", vectors[:100], chunks(), count=len(vectors)))
    other.start()
    at_work.wait(10)
    assert placed.search(vectors[:1], 12) is None
    go_on.set()
    other.join()
    while (found := placed.search(vectors[:1], 12)) is None:
        time.sleep(0.001)
    assert found[0][0] == 0
    card.close()
    assert placed.search(vectors[:1], 12) is None


def test_a_card_that_fails_is_passed_over_and_told_of(
    large: LocalGallery,
    vectors: np.ndarray,
    cards_of: Callable[..., Cards],
    caplog: pytest.LogCaptureFixture,
) -> None:
    build = CpuBuild()
    cards = cards_of("flat", build)
    large.bring_to_cards(cards)
    before = ids(large, vectors[:5])

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA error 719 unspecified launch failure")

    build.made[-1].index.search = broken
    with caplog.at_level(logging.WARNING):
        assert ids(large, vectors[:5]) == before
    assert "event=card_failed card=0 reason=CUDA error 719" in caplog.text
    assert cards.fallback == "CUDA error 719 unspecified launch failure"
    assert large.info().index_kind == "ivf-pq"
    large.bring_to_cards(cards)
    assert ids(large, vectors[:5]) == before


def test_a_card_that_gives_no_answer(vectors: np.ndarray) -> None:
    build = CpuBuild()
    card = Card(0, build, answer_s=0.05)
    placed = card.place("flat", vectors[:100], [vectors], count=len(vectors))
    go_on = threading.Event()
    build.made[0].index.search = lambda *_, **__: go_on.wait(10)
    assert placed.search(vectors[:1], 12) is None
    assert not placed.is_usable
    assert card.failure == "card 0 gave no answer in 0.05 seconds"
    go_on.set()
    card.close()


@pytest.mark.parametrize("wanted", ["flat", "auto"])
def test_a_card_without_room_or_that_finds_too_little(
    large: LocalGallery,
    vectors: np.ndarray,
    cards_of: Callable[..., Cards],
    caplog: pytest.LogCaptureFixture,
    wanted: str,
) -> None:
    build = CpuBuild()
    cards = cards_of(wanted, build)
    build.most_vectors = NUMBER - 1
    large.bring_to_cards(cards)
    assert cards.fallback == "out of memory"
    assert "event=gpu_search_fallback" in caplog.text
    assert large.info().index_kind == "ivf-pq"
    build.most_vectors = 10**9
    made = build.make

    def poor(*arguments: object, **options: object) -> object:
        index = made(*arguments, **options)
        index.index.search = finds_the_first
        return index

    build.make = poor
    large._unplaceable.clear()
    large.bring_to_cards(cards)
    assert "finds less than 95%" in cards.fallback
    assert large.info().index_kind == "ivf-pq"


def test_what_is_no_longer_used_is_dropped(vectors: np.ndarray) -> None:
    card = Card(0, CpuBuild())
    first = card.place("flat", vectors[:100], [vectors], count=len(vectors))
    second = card.place("flat", vectors[:100], [vectors[:50]], count=50)
    assert card.num_vectors == len(vectors) + 50
    del first
    assert second.search(vectors[:1], 12) is not None  # the thread has been round once more when this is back
    assert card.num_vectors == 50
    card.close()


def test_the_choice_is_proved_by_running(caplog: pytest.LogCaptureFixture, cards_of: Callable[..., Cards]) -> None:
    assert len(cards_of("off")) == 0
    none = cards_of("auto", CpuBuild(num_cards=0))
    assert len(none) == 0
    assert none.fallback is None  # nothing was asked for, and nothing is there
    asked = cards_of("flat", CpuBuild(num_cards=0))
    assert asked.fallback == "there is no card"
    lists_one_that_does_not_work = cards_of("auto", CpuBuild(works=()))
    assert len(lists_one_that_does_not_work) == 0
    assert lists_one_that_does_not_work.fallback == "no flat here"
    assert caplog.text.count("event=gpu_search_fallback") == 2
    assert len(cards_of("ivf-pq", CpuBuild(num_cards=2))) == 2


def test_auto_takes_a_graph_where_vectors_are_many_and_the_build_has_one() -> None:
    for works, kind in ((CARD_KINDS, "cagra"), (("flat", "ivf-pq"), "ivf-pq")):
        cards = Cards("auto", build=CpuBuild(works=works))
        assert cards._kind_for(cards._cards[0], 10**8) == "flat"
        assert cards._kind_for(cards._cards[0], 10**10) == kind
        cards.close()


def test_the_proof_sees_what_is_wrong() -> None:
    build = CpuBuild()

    def shuffled(kind: CardKind, device: int, **options: int) -> object:
        made = build.make(kind, device, **options)
        made.index.search = finds_the_first
        return made

    for kind in CARD_KINDS:
        prove(build.make, kind, 0)
        with pytest.raises(RuntimeError, match="it does not work here"):
            prove(shuffled, kind, 0)


def test_the_real_build_says_why_it_has_no_card() -> None:
    build = GpuBuild()
    if build.num_cards():
        pytest.skip("there is a card here; tests/gpu uses it")
    for kind in CARD_KINDS:
        assert "GPU" in build.why_not(kind, 0)
    cards = Cards("cagra")
    assert len(cards) == 0
    assert cards.fallback == build.why_none()


def test_the_trial_is_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """FAISS ends a process whose CUDA fails; whoever asked goes on."""
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho 'Faiss assertion failed: CUDA error 802' >&2\nkill -ABRT $$\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    assert GpuBuild().why_not("flat", 0) == "Faiss assertion failed: CUDA error 802"


@pytest.mark.parametrize(("dim", "codes"), [(256, 64), (96, 24), (384, 96), (768, 96), (32, 8), (7, 1), (2, 2)])
def test_codes_that_the_card_s_kernels_know(dim: int, codes: int) -> None:
    assert num_card_codes(dim) == codes


def test_effort_of_a_copy_is_kept_for_ten_hits(vectors: np.ndarray) -> None:
    card = Card(0, CpuBuild())
    placed = card.place("flat", vectors[:100], [vectors], count=len(vectors))
    assert card.search(placed._key, vectors[:2], effort(1, 24)).shape == (2, 24)
    assert placed.search(vectors[:2], 2_000) is None  # more than a card is asked for
    card.close()
