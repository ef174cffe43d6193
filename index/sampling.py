"""Draws queries that a gallery's own vectors stand for, and counts how many of their nearest a search finds.

Queries are vectors of the gallery, moved a little so that they are new to the index, each without itself among its
hits; where items have both a picture and a text, half of them are vectors of the other target, since that is how
searches across the two come.
"""

import math
from dataclasses import dataclass

import faiss
import numpy as np

from index.candidates import sample_size
from index.memory import Memory
from index.records import TARGETS, Floats, Target
from index.vectors import Rows

TOP_K = 10

_NUM_QUERIES = 500
_OWN_SHARE = 0.8  # of a query in the vector it comes from; the rest is another vector
_STANDARD_ERRORS = 1.645
_SEED = 11


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Vectors to train on, and queries.

    Attributes:
        queries: [n, dim].
        own_rows: [n], the row that a query is itself; -1 for none.
    """

    training: Floats
    queries: Floats
    own_rows: Rows


def draw(memory: Memory, target: Target, num_vectors: int) -> Sample:
    """Draw what lists of so many vectors are fitted to, and queries, while searches and writes go on."""
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
    return Sample(
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


def no_answers(sample: Sample) -> tuple[Floats, Rows]:
    """Return scores and rows to begin `merged` with."""
    number = len(sample.queries)
    return np.full((number, TOP_K), -np.inf, np.float32), np.full((number, TOP_K), -1, np.int64)


def merged(scores: Floats, found: Rows, rows: Rows, vectors: Floats, sample: Sample) -> tuple[Floats, Rows]:
    """Return the best of what was found and of these vectors, without a query's own row."""
    new_scores, at = faiss.knn(sample.queries, vectors, min(TOP_K + 1, len(vectors)), metric=faiss.METRIC_INNER_PRODUCT)
    new_rows = rows[at]
    new_scores[new_rows == sample.own_rows[:, None]] = -np.inf
    all_scores, all_rows = np.concatenate([scores, new_scores], axis=1), np.concatenate([found, new_rows], axis=1)
    kept = np.argpartition(-all_scores, TOP_K - 1, axis=1)[:, :TOP_K]
    return np.take_along_axis(all_scores, kept, 1), np.take_along_axis(all_rows, kept, 1)


def recall_of(found: Rows, sample: Sample, answers: Rows) -> tuple[float, float]:
    """Return the mean recall@10 of what was found, and its lower bound (one-sided, 95 %).

    Args:
        found: [n, 11], rows, best first: ten, and one more for a query's own.
        sample: what was asked.
        answers: [n, 10], the rows that exact search finds.
    """
    recalls = [
        _share_found(rows, own_row, best) for rows, own_row, best in zip(found, sample.own_rows, answers, strict=True)
    ]
    mean = float(np.mean(recalls))
    return mean, mean - _STANDARD_ERRORS * float(np.std(recalls)) / math.sqrt(len(recalls))


def _share_found(rows: Rows, own_row: int, best: Rows) -> float:
    others = [row for row in rows.tolist() if row not in (own_row, -1)][:TOP_K]
    wanted = {row for row in best.tolist() if row >= 0}
    return len(wanted.intersection(others)) / max(1, len(wanted))
