"""Searches one target's vectors: exactly, or through candidates whose true scores decide.

Not thread-safe: `memory.py` lets in many searches or one change at a time.
"""

import math

import numpy as np

from index.candidates import Candidates, Effort
from index.records import Floats
from index.vectors import FlatVectors, Rows, RowSet

EXACT_UP_TO = 20_000  # so many vectors are searched exactly within about two milliseconds
_MOST_HITS = 200  # for more hits, candidates save nothing
_TUNED_HITS = 10
_MOST_STALE = 4  # entries for each row that is still there; with more, everything is looked at instead


class TargetIndex:
    """All vectors of one target in full, and, for a large gallery, an index of candidates beside them.

    A search is exact when there are no candidates, when few vectors come into question, or when many hits are wanted.
    """

    def __init__(
        self, vectors: FlatVectors, candidates: Candidates | None = None, *, exact_up_to: int = EXACT_UP_TO
    ) -> None:
        self.vectors = vectors
        self.candidates = candidates
        self._exact_up_to = exact_up_to

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def kind(self) -> str:
        """How large searches are done: `flat` is exact."""
        return self.vectors.kind if self.candidates is None else self.candidates.kind

    def put(self, rows: Rows, vectors: Floats) -> None:
        """Add vectors, or replace those of rows that are there; they are found at once."""
        self.vectors.put(rows, vectors)
        if self.candidates is not None:
            self.candidates.add(rows, vectors)

    def remove(self, rows: Rows) -> None:
        """Remove the vectors of these rows; they are found no more."""
        self.vectors.remove(rows)

    def search(self, queries: Floats, k: int, *, allowed: RowSet | None = None) -> tuple[Floats, Rows]:
        """Return the k best scores and rows for each query, best first; row -1 where there are fewer than k.

        Args:
            queries: [n, dim], contiguous.
            k: how many are wanted.
            allowed: when given, only these rows are looked at.
        """
        in_question = len(self) if allowed is None else len(allowed)
        if self.candidates is None or in_question <= self._exact_up_to or k > _MOST_HITS:
            return self.vectors.search(queries, k, allowed=None if allowed is None else allowed.rows)
        return self._search_candidates(self.candidates, queries, k, allowed)

    def _search_candidates(
        self, candidates: Candidates, queries: Floats, k: int, allowed: RowSet | None
    ) -> tuple[Floats, Rows]:
        effort = self._effort(candidates, k, allowed)
        rows = candidates.search(
            queries, num_candidates=effort.num_candidates, num_probes=effort.num_probes, allowed=allowed
        )
        num_found = (rows >= 0).sum(axis=1)
        if allowed is not None:
            rows[~allowed.holds(rows)] = -1
        are_clean = allowed is None and len(candidates) == len(self)
        scores, rows, num_there = self.vectors.best_of(queries, rows, k, are_clean=are_clean)
        enough = np.maximum(k if allowed is None else effort.num_candidates // 2, num_found // _MOST_STALE)
        is_thin = num_there < np.minimum(enough, len(self))
        if is_thin.any():  # a filter that goes with where vectors lie, or very much is stale: look at everything
            wanted = None if allowed is None else allowed.rows
            scores[is_thin], rows[is_thin] = self.vectors.search(queries[is_thin], k, allowed=wanted)
        return scores, rows

    def _effort(self, candidates: Candidates, k: int, allowed: RowSet | None) -> Effort:
        """Return the effort that was tuned for ten hits of everything, for k hits of what is allowed and not stale."""
        times = max(1, round(k / _TUNED_HITS))
        share = 1.0 if allowed is None else min(1.0, len(allowed) / max(1, len(self)))
        stale = min(_MOST_STALE, max(1.0, len(candidates) / max(1, len(self))))
        tuned = candidates.fit.effort
        return Effort(
            num_probes=math.ceil(tuned.num_probes * times / share),
            num_candidates=math.ceil(tuned.num_candidates * times * stale),
        )
