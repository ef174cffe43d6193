"""Makes an index of candidates and tunes it, on the gallery's own vectors, to find what exact search finds.

Recall@10 is measured: for a sample of queries, the share of the ten best items of exact search that the search through
candidates finds too. Queries are vectors of the gallery, moved a little so that they are new to the index, each without
itself among its hits; where items have both a picture and a text, half of them are vectors of the other target, since
that is how searches across the two come. An effort is taken when the lower bound of its recall (one-sided, 95 %) is
what is wanted.

Searches and writes go on meanwhile.
"""

import math
import time
from dataclasses import dataclass

import numpy as np

from index.candidates import Candidates, Effort, Fit, sample_size
from index.memory import Memory
from index.records import TARGETS, Floats, Target
from index.vectors import FlatVectors, Rows

RECALL_WANTED = 0.95

_NUM_QUERIES = 500
_QUERIES_AT_ONCE = 8
_OWN_SHARE = 0.8  # of a query in the vector it comes from; the rest is another vector
_STANDARD_ERRORS = 1.645
_TOP_K = 10
_NUM_CANDIDATES = (50, 100, 150, 200, 300, 400)
_NUM_PROBES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_SEED = 11


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """What was chosen for one target, and what it does.

    Attributes:
        kind: `flat` when candidates found too little or saved too little, so that every search stays exact.
        effort: of the search through candidates; None when exact.
        recall: recall@10 of the sample.
        queries_per_cpu_s: searches for ten hits, eight at once, that a core does in a second.
        exact_queries_per_cpu_s: the same of exact search.
    """

    target: Target
    kind: str
    num_vectors: int
    effort: Effort | None
    recall: float
    queries_per_cpu_s: float
    exact_queries_per_cpu_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sample:
    """Vectors to train on, and queries.

    Attributes:
        queries: [n, dim].
        own_rows: [n], the row that a query is itself; -1 for none.
    """

    training: Floats
    queries: Floats
    own_rows: Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial:
    fit: Fit
    recall_at_least: float
    cpu_s_per_query: float


def make_candidates(memory: Memory, target: Target) -> tuple[Candidates | None, Tuning]:
    """Return an index of candidates of all vectors as of now and what it does, or None when exact search is better."""
    num_vectors = memory.num_vectors(target)
    sample = _draw(memory, target, num_vectors)
    candidates = Candidates.trained(sample.training, num_vectors=num_vectors)
    answers = _fill(candidates, memory, target, sample)
    exact_s = _exact_cpu_s(memory, target, sample)
    best = _cheapest(candidates, memory, target, sample, answers)
    is_worth_it = best is not None and best.cpu_s_per_query < exact_s
    if best is None or not is_worth_it:
        tuning = Tuning(
            target=target,
            kind=FlatVectors.kind,
            num_vectors=num_vectors,
            effort=None,
            recall=1.0,
            queries_per_cpu_s=1 / exact_s,
            exact_queries_per_cpu_s=1 / exact_s,
        )
        return None, tuning
    tuning = Tuning(
        target=target,
        kind=Candidates.kind,
        num_vectors=num_vectors,
        effort=best.fit.effort,
        recall=best.fit.recall,
        queries_per_cpu_s=1 / best.cpu_s_per_query,
        exact_queries_per_cpu_s=1 / exact_s,
    )
    return candidates.with_fit(best.fit), tuning


def _draw(memory: Memory, target: Target, num_vectors: int) -> _Sample:
    rng = np.random.default_rng(_SEED)
    share = sample_size(num_vectors) / num_vectors
    training = [vectors[rng.random(len(rows)) < share] for rows, vectors in memory.stream(target)]
    other = TARGETS[1 - TARGETS.index(target)]
    own_rows, own = _some(memory, target, _NUM_QUERIES, rng)
    _, across = _some(memory, other, _NUM_QUERIES, rng)
    if len(across):
        half = _NUM_QUERIES // 2
        own_rows, own, across = own_rows[:half], own[:half], across[: _NUM_QUERIES - half]
    own = _OWN_SHARE * own + (1 - _OWN_SHARE) * own[rng.permutation(len(own))]
    own /= np.linalg.norm(own, axis=1, keepdims=True)
    return _Sample(
        training=np.concatenate(training),
        queries=np.ascontiguousarray(np.concatenate([own, across])),
        own_rows=np.concatenate([own_rows, np.full(len(across), -1)]),
    )


def _some(memory: Memory, target: Target, number: int, rng: np.random.Generator) -> tuple[Rows, Floats]:
    """Return about `number` vectors and their rows, drawn from all."""
    share = min(1.0, 1.2 * number / max(1, memory.num_vectors(target)))
    drawn = []
    for rows, vectors in memory.stream(target):
        is_drawn = rng.random(len(rows)) < share
        drawn.append((rows[is_drawn], vectors[is_drawn]))
    if not drawn:
        return np.empty(0, np.int64), np.empty((0, memory.dim), np.float32)
    rows, vectors = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
    order = rng.permutation(len(rows))[:number]
    return rows[order], vectors[order]


def _fill(candidates: Candidates, memory: Memory, target: Target, sample: _Sample) -> Rows:
    """Add all vectors to the candidates; return the exact answers of the queries, worked out on the way."""
    number = len(sample.queries)
    scores, found = np.full((number, _TOP_K), -np.inf, np.float32), np.full((number, _TOP_K), -1, np.int64)
    for rows, vectors in memory.stream(target):
        candidates.add(rows, vectors)
        new = sample.queries @ vectors.T
        new[sample.own_rows[:, None] == rows] = -np.inf
        all_scores = np.concatenate([scores, new], axis=1)
        all_rows = np.concatenate([found, np.broadcast_to(rows, new.shape)], axis=1)
        kept = np.argpartition(-all_scores, _TOP_K - 1, axis=1)[:, :_TOP_K]
        scores, found = np.take_along_axis(all_scores, kept, 1), np.take_along_axis(all_rows, kept, 1)
    return found


def _cheapest(candidates: Candidates, memory: Memory, target: Target, sample: _Sample, answers: Rows) -> _Trial | None:
    """Try efforts until each number of candidates finds enough, or cannot; return the cheapest that does."""
    best: _Trial | None = None
    for num_candidates in _NUM_CANDIDATES:
        for num_probes in _NUM_PROBES:
            if num_probes > candidates.num_lists:
                break
            effort = Effort(num_probes=num_probes, num_candidates=num_candidates)
            trial = _try(candidates, effort, memory, target, sample, answers)
            if trial.recall_at_least >= RECALL_WANTED:
                if best is None or trial.cpu_s_per_query < best.cpu_s_per_query:
                    best = trial
                break
    return best


def _try(
    candidates: Candidates, effort: Effort, memory: Memory, target: Target, sample: _Sample, answers: Rows
) -> _Trial:
    trial = candidates.with_fit(Fit(effort=effort, recall=0.0, num_vectors=0))
    batches = range(0, len(sample.queries), _QUERIES_AT_ONCE)
    started = time.thread_time()
    found = [memory.try_out(target, trial, sample.queries[at : at + _QUERIES_AT_ONCE], _TOP_K + 1) for at in batches]
    cpu_s = time.thread_time() - started
    recalls = [
        _share_found(rows, own_row, best)
        for rows, own_row, best in zip(np.concatenate(found), sample.own_rows, answers, strict=True)
    ]
    recall = float(np.mean(recalls))
    return _Trial(
        fit=Fit(effort=effort, recall=recall, num_vectors=memory.num_vectors(target)),
        recall_at_least=recall - _STANDARD_ERRORS * float(np.std(recalls)) / math.sqrt(len(recalls)),
        cpu_s_per_query=cpu_s / len(sample.queries),
    )


def _share_found(rows: Rows, own_row: int, best: Rows) -> float:
    others = [row for row in rows.tolist() if row not in (own_row, -1)][:_TOP_K]
    wanted = {row for row in best.tolist() if row >= 0}
    return len(wanted.intersection(others)) / max(1, len(wanted))


def _exact_cpu_s(memory: Memory, target: Target, sample: _Sample) -> float:
    queries = sample.queries[:_QUERIES_AT_ONCE]
    started = time.thread_time()
    memory.try_out(target, None, queries, _TOP_K)
    return max(time.thread_time() - started, 1e-9) / len(queries)
