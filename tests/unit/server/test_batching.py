import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.encoder import Encoder
from runtime.engines.fake import fake_encoder
from runtime.errors import EngineError, VernierError
from runtime.grounding import ground
from runtime.proofread import proofread
from server.batching import Batcher, Lane, Ticket
from server.graphs import Graphs
from server.latency_fit import LatencyFit
from server.metrics import Metrics
from server.work import INGEST_LATENESS_S, Work, doing
from tests.unit.server.drawing import square

WORDS = Lane("words", 8)


class Machine:
    """Doubles numbers, notes its batches, and can be held; some rows are poison to it."""

    def __init__(self) -> None:
        self.batches: list[tuple[Lane, list[object]]] = []
        self.may_run = threading.Event()
        self.may_run.set()
        self.has_begun = threading.Event()

    def __call__(self, lane: Lane, rows: Sequence[object]) -> list[object]:
        self.batches.append((lane, list(rows)))
        self.has_begun.set()
        assert self.may_run.wait(10)
        if "poison" in rows:
            raise ValueError("poison")
        if "death" in rows:
            raise SystemExit
        return [EngineError("bad") if row == "bad" else row * 2 for row in rows]


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def batcher(machine: Machine, metrics: Metrics) -> Iterator[Batcher]:
    made = Batcher("test", machine, num_loops=1, max_rows=lambda _: 4, max_batch_s=1, watcher=metrics)
    yield made
    machine.may_run.set()
    made.close()


def submit(batcher: Batcher, *rows: object, lane: Lane = WORDS, work: Work | None = None) -> Ticket:
    if work is None:
        return batcher.submit([(lane, row) for row in rows])
    with doing(work):
        ticket = batcher.submit([(lane, row) for row in rows])
    work.is_abandoned = False
    return ticket


def hold(batcher: Batcher, machine: Machine) -> Ticket:
    """Let a first batch begin and not end, so that what follows queues up."""
    machine.may_run.clear()
    machine.has_begun.clear()
    first = submit(batcher, 0)
    assert machine.has_begun.wait(10)
    machine.batches.clear()
    return first


def rows_of(machine: Machine) -> list[list[object]]:
    return [rows for _, rows in machine.batches]


def test_an_idle_loop_runs_a_row_at_once_and_a_busy_one_lets_rows_gather(batcher: Batcher, machine: Machine) -> None:
    assert submit(batcher, 7).result(10) == [14]
    hold(batcher, machine)
    tickets = [submit(batcher, number) for number in (1, 2, 3)]
    assert machine.batches == []
    machine.may_run.set()
    assert [ticket.result(10) for ticket in tickets] == [[2], [4], [6]]
    assert rows_of(machine) == [[1, 2, 3]]


def test_rows_of_one_call_come_back_in_order_from_several_batches(batcher: Batcher, machine: Machine) -> None:
    hold(batcher, machine)
    ticket = submit(batcher, *range(10))
    machine.may_run.set()
    assert ticket.result(10) == [2 * number for number in range(10)]
    assert [len(rows) for rows in rows_of(machine)] == [4, 4, 2]
    assert submit(batcher).result(10) == []


@pytest.mark.parametrize(("row", "error"), [("poison", ValueError), ("bad", EngineError)])
def test_one_bad_row_fails_alone(batcher: Batcher, machine: Machine, row: str, error: type[Exception]) -> None:
    hold(batcher, machine)
    before, bad, after = submit(batcher, 1), submit(batcher, row), submit(batcher, 2)
    machine.may_run.set()
    assert before.result(10) == [2]
    assert after.result(10) == [4]
    with pytest.raises(error):
        bad.result(10)
    assert not batcher.has_failed


def test_lanes_do_not_mix_and_the_oldest_goes_first(batcher: Batcher, machine: Machine) -> None:
    hold(batcher, machine)
    long, short = Lane("words", 32), Lane("words", 8)
    tickets = [submit(batcher, at, lane=lane) for at, lane in enumerate((long, short, long, short))]
    machine.may_run.set()
    for ticket in tickets:
        ticket.result(10)
    assert machine.batches == [(long, [0, 2]), (short, [1, 3])]


def test_work_that_nobody_wants_never_runs(batcher: Batcher, machine: Machine, metrics: Metrics) -> None:
    hold(batcher, machine)
    left, late = Work(), Work(deadline=time.monotonic() + 0.05)
    abandoned, cancelled = submit(batcher, 1, work=left), submit(batcher, 2)
    overdue, wanted = submit(batcher, 3, work=late), submit(batcher, 4)
    left.is_abandoned = True
    cancelled.cancel()
    time.sleep(0.1)
    machine.may_run.set()
    assert wanted.result(10) == [8]
    with pytest.raises(VernierError, match="ran out") as error:
        overdue.result(10)
    assert error.value.code == "timed_out"
    with pytest.raises(CancelledError):
        abandoned.result(10)
    assert rows_of(machine) == [[4]]
    told = metrics.exposition().decode()
    assert 'vernier_rows_dropped_total{graph="words",reason="abandoned"} 2.0' in told
    assert 'vernier_rows_dropped_total{graph="words",reason="late"} 1.0' in told


def test_interactive_rows_go_before_ingest_but_not_for_ever(batcher: Batcher, machine: Machine) -> None:
    hold(batcher, machine)
    ingest = submit(batcher, "i", work=Work(is_ingest=True))
    interactive = submit(batcher, 1)
    old = submit(batcher, "o", lane=Lane("images"), work=Work(is_ingest=True))
    old.since -= INGEST_LATENESS_S + 1
    machine.may_run.set()
    for ticket in (ingest, interactive, old):
        ticket.result(10)
    assert rows_of(machine) == [["o"], [1], ["i"]]


def test_batches_stay_as_short_as_wanted(machine: Machine, metrics: Metrics) -> None:
    batcher = Batcher("test", machine, num_loops=1, max_rows=lambda _: 64, max_batch_s=0.1, watcher=metrics)
    for rows in (1, 2, 4, 1, 2, 4):
        batcher.fit(Lane("known")).learn(rows, 0.02 + 0.01 * rows)
    hold(batcher, machine)
    ticket = submit(batcher, *range(20), lane=Lane("known"))
    machine.may_run.set()
    ticket.result(10)
    batcher.close()
    assert len(rows_of(machine)[0]) in (7, 8)


def test_a_loop_that_dies_begins_anew_and_says_so(batcher: Batcher, machine: Machine, metrics: Metrics) -> None:
    with pytest.raises(EngineError, match="died"):
        submit(batcher, "death").result(10)
    assert batcher.has_failed
    assert submit(batcher, 3).result(10) == [6]
    assert not batcher.has_failed
    assert 'vernier_loop_restarts_total{loop="test"} 1.0' in metrics.exposition().decode()


def test_what_runs_well_does_not_hide_what_fails(batcher: Batcher, machine: Machine) -> None:
    with pytest.raises(EngineError):
        submit(batcher, "death").result(10)
    submit(batcher, 3, lane=Lane("images")).result(10)
    assert batcher.has_failed
    submit(batcher, 3).result(10)
    assert not batcher.has_failed


def test_closing_runs_what_is_queued_and_takes_nothing_more(machine: Machine, metrics: Metrics) -> None:
    batcher = Batcher("test", machine, num_loops=2, max_rows=lambda _: 4, max_batch_s=1, watcher=metrics)
    tickets = [submit(batcher, number) for number in range(20)]
    batcher.close()
    assert [ticket.result(0) for ticket in tickets] == [[2 * number] for number in range(20)]
    with pytest.raises(VernierError, match="ending"):
        submit(batcher, 1).result(0)


@given(
    fixed=st.floats(0, 0.1),
    each=st.floats(1e-5, 0.1),
    sizes=st.lists(st.integers(1, 64), min_size=4, max_size=40).filter(lambda sizes: len(set(sizes)) > 1),
)
def test_the_fit_finds_a_line(fixed: float, each: float, sizes: list[int]) -> None:
    fit = LatencyFit()
    for size in sizes:
        fit.learn(size, fixed + each * size)
    assert fit.seconds(10) == pytest.approx(fixed + each * 10, rel=0.05)
    within = fit.rows_within(0.2, most=64)
    assert 1 <= within <= 64
    if 1 < within < 64:
        assert fixed + each * within <= 0.2 * 1.05


def test_the_fit_forgets_and_shrugs_off_a_hiccup() -> None:
    fit = LatencyFit()
    assert fit.rows_within(0.1, most=32) == 32
    for _ in range(50):
        fit.learn(4, 0.01)
    fit.learn(4, 30.0)
    assert fit.seconds(4) < 0.02
    for _ in range(300):
        fit.learn(4, 0.05)
    assert fit.seconds(4) == pytest.approx(0.05, rel=0.1)


def test_a_hiccup_at_the_start_is_forgotten_at_once() -> None:
    fit = LatencyFit()
    fit.learn(1, 2.0)
    fit.learn(1, 0.001)
    fit.learn(4, 0.004)
    assert fit.rows_within(0.1, most=32) == 32


def test_a_long_batch_after_short_ones_is_no_hiccup() -> None:
    fit = LatencyFit()
    for _ in range(3):
        fit.learn(64, 0.0164)
    for _ in range(10):
        fit.learn(1, 0.0101)
    assert fit.seconds(1) == pytest.approx(0.0101, rel=0.01)


@pytest.fixture
def graphs(metrics: Metrics) -> Iterator[Graphs]:
    made = Graphs(fake_encoder(), num_loops=1, max_batch_s=1, watcher=metrics)
    yield made
    made.batcher.close()


TEXTS = ["red", "a small blue square above the big green circle", "yellow star", "a red square left of " + "red " * 30]


def test_batched_rows_are_what_the_encoder_gives_alone(graphs: Graphs) -> None:
    encoder = fake_encoder()
    rows, alone = [], []
    for text in TEXTS * 3:
        features = encoder.embed_texts([text])
        rows.append({"ids": features.batch.ids[0], "mask": features.batch.mask[0]})
        alone.append(features)
    for row, features in zip(graphs.submit("text_encoder", rows).result(10), alone, strict=True):
        np.testing.assert_allclose(row["text_embedding"], features.embedding[0], atol=1e-6)
        np.testing.assert_allclose(row["word_tokens"], features.word_tokens[0], atol=1e-6)


def in_threads(calls: Sequence[Callable[[], object]]) -> list[object]:
    results: list[object] = [None] * len(calls)

    def run(at: int) -> None:
        results[at] = calls[at]()

    threads = [threading.Thread(target=run, args=(at,)) for at in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.parametrize("with_fusion", [True, False])
def test_judging_in_many_threads_gives_what_it_gives_alone(metrics: Metrics, with_fusion: bool) -> None:
    encoder = fake_encoder(fusion=with_fusion)
    graphs = Graphs(encoder, num_loops=2, max_batch_s=1, watcher=metrics)
    shared = graphs.as_encoder()
    images = [encoder.embed_images([square(colour)]) for colour in ("red", "blue")]

    def judge(by: Encoder, at: int) -> object:
        image, text = images[at % 2], TEXTS[at % len(TEXTS)]
        return proofread(by, image, text), [found.boxes for found in ground(by, image, [text])]

    together = in_threads([lambda at=at: judge(shared, at) for at in range(8)])
    graphs.batcher.close()
    for at, (proof, boxes) in enumerate(together):
        expected_proof, expected_boxes = judge(encoder, at)
        assert proof.corrected_text == expected_proof.corrected_text
        assert [word.error_probability for word in proof.words] == pytest.approx(
            [word.error_probability for word in expected_proof.words], abs=1e-5
        )
        assert [box.box for found in boxes for box in found] == [box.box for found in expected_boxes for box in found]


def test_numbers_that_are_none_fail_alone(graphs: Graphs) -> None:
    good, bad = np.zeros((3, 32, 32), np.float32), np.full((3, 32, 32), np.nan, np.float32)
    tickets = [graphs.submit("image_encoder", [{"pixels": pixels}]) for pixels in (good, bad, good)]
    assert len(tickets[0].result(10)) == len(tickets[2].result(10)) == 1
    with pytest.raises(EngineError, match="numbers"):
        tickets[1].result(10)
