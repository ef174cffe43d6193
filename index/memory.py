"""What searches read: every item's id and vectors in memory, as of one version of the gallery."""

import functools
from collections.abc import Collection, Iterator

import numpy as np

from index.candidates import Candidates, Fit
from index.locks import ReadWriteLock
from index.records import TARGETS, Floats, Match, Target
from index.state import Change, State
from index.target_index import TargetIndex
from index.vectors import FlatVectors, Rows, RowSet

_CHUNK = 4096  # rows copied at a time while others wait
_match = functools.partial(tuple.__new__, Match)  # several times as fast as Match(...), and made by the thousand
_MOST_TIES = 4096  # so many hits of one score are put in the order of their ids; beyond, FAISS picks among them


class Memory:
    """Ids and vectors of a gallery. Searches run together; a change waits for them and runs alone."""

    def __init__(self, dim: int) -> None:
        self.version = 0
        self.dim = dim
        self._lock = ReadWriteLock()
        self._names: list[str | None] = []
        self._num_items = 0
        self._indexes: dict[Target, TargetIndex] = {target: TargetIndex(FlatVectors(dim)) for target in TARGETS}

    @classmethod
    def from_state(cls, state: State, dim: int) -> "Memory":
        """Read everything from the gallery's file."""
        memory = cls(dim)
        memory.version = state.version
        memory._learn_names(state)
        for target, index in memory._indexes.items():
            for rows, chunk in state.vectors(target):
                index.put(rows, chunk)
        return memory

    @classmethod
    def from_snapshot(cls, indexes: dict[Target, TargetIndex], version: int, state: State, dim: int) -> "Memory":
        """Take vectors as of an older version and the ids as of now; `apply` brings the vectors up to date."""
        memory = cls(dim)
        memory.version = version
        memory._indexes = indexes
        memory._learn_names(state)
        return memory

    def __len__(self) -> int:
        return self._num_items

    def num_vectors(self, target: Target) -> int:
        """Return how many items have this vector."""
        return len(self._indexes[target])

    def candidates(self, target: Target) -> Candidates | None:
        """Return the index of candidates that is in use, to be asked of its size and fit."""
        return self._indexes[target].candidates

    def try_out(self, target: Target, candidates: Candidates | None, queries: Floats, k: int) -> Rows:
        """Return the rows that a search finds through other candidates, or exactly when None: [n, k]."""
        with self._lock.reading():
            index = TargetIndex(self._indexes[target].vectors, candidates, exact_up_to=0)
            return index.search(queries, k)[1]

    @property
    def index_kind(self) -> str:
        """How vectors are searched: `flat` when both targets are searched exactly."""
        kinds = {self._indexes[target].kind for target in TARGETS} - {FlatVectors.kind}
        return kinds.pop() if kinds else FlatVectors.kind

    def apply(self, change: Change) -> None:
        """Take in what a transaction changed; searches that start afterwards see it."""
        touched = np.asarray(sorted({*change.names, *change.gone}), np.int64)
        with self._lock.writing():
            for target, index in self._indexes.items():
                new = change.vectors[target]
                lost = np.asarray([row for row in touched.tolist() if row not in new], np.int64)
                index.remove(lost)
                if new:
                    index.put(np.fromiter(new, np.int64), np.stack(list(new.values())))
            for row, name in change.names.items():
                self._set_name(row, name)
            for row in change.gone:
                self._set_name(row, None)
            self.version = change.version

    def search(
        self,
        queries: Floats,
        *,
        top_k: int,
        target: Target,
        allowed: RowSet | None,
        exclude: Collection[str],
    ) -> list[list[Match]]:
        """Return, for each query [n, dim], its `top_k` best items by score, equal scores by id."""
        excluded = frozenset(exclude)
        wanted = top_k + len(excluded)
        with self._lock.reading():
            scores, rows = _search_past_ties(self._indexes[target], queries, wanted, allowed)
            num_found = (rows >= 0).sum(axis=1).tolist()
            results = [
                list(map(_match, zip(map(self._names.__getitem__, found[:number]), values[:number], strict=True)))
                for found, values, number in zip(rows.tolist(), scores.tolist(), num_found, strict=True)
            ]
        has_ties = (scores[:, 1:] == scores[:, :-1]).any(axis=1)
        for number in np.flatnonzero(has_ties).tolist():
            results[number].sort(key=lambda match: (-match.score, match.id))
        if excluded:
            results = [[match for match in matches if match.id not in excluded] for matches in results]
        return [matches[:top_k] for matches in results]

    def stream(self, target: Target) -> Iterator[tuple[Rows, Floats]]:
        """Yield copies of the vectors by row, in chunks, while searches and changes go on.

        What changes meanwhile may be seen or not; every row that does not change is seen once.
        """
        with self._lock.reading():
            end_row = self._indexes[target].vectors.end_row
        for start in range(0, end_row, _CHUNK):
            with self._lock.reading():
                rows, vectors = self._indexes[target].vectors.gather(start, min(start + _CHUNK, end_row))
            if len(rows):
                yield rows, vectors

    def serialised_candidates(self, target: Target) -> tuple[bytes, Fit] | None:
        """Return the index of candidates as bytes, when there is one."""
        with self._lock.reading():
            candidates = self._indexes[target].candidates
            return None if candidates is None else (candidates.serialised(), candidates.fit)

    def adopt(self, target: Target, candidates: Candidates | None) -> None:
        """Search through these candidates from now on; they hold every row as of now."""
        with self._lock.writing():
            self._indexes[target].candidates = candidates

    def contents(self) -> tuple[dict[int, str], dict[Target, tuple[Rows, Floats]]]:
        """Return a copy of all ids by row and all vectors, for comparison with the gallery's file."""
        with self._lock.reading():
            names = {row: name for row, name in enumerate(self._names) if name is not None}
            return names, {target: index.vectors.copy() for target, index in self._indexes.items()}

    def rows_without_candidate(self, target: Target) -> Rows:
        """Return rows that have a vector but stand not among the candidates, which would be wrong."""
        with self._lock.reading():
            index = self._indexes[target]
            if index.candidates is None:
                return np.empty(0, np.int64)
            return np.setdiff1d(index.vectors.copy()[0], index.candidates.rows())

    def _learn_names(self, state: State) -> None:
        for row, name in state.names():
            self._set_name(row, name)

    def _set_name(self, row: int, name: str | None) -> None:
        if row >= len(self._names):
            if name is None:
                return
            self._names.extend([None] * (row + 1 - len(self._names)))
        self._num_items += (name is not None) - (self._names[row] is not None)
        self._names[row] = name


def _search_past_ties(index: TargetIndex, queries: Floats, k: int, allowed: RowSet | None) -> tuple[Floats, Rows]:
    """Search for k hits, and for more where the k-th shares its score with the next: ids decide which of them stay."""
    wanted = k
    while True:
        scores, rows = index.search(queries, wanted + 1, allowed=allowed)
        is_cut_in_tie = (rows[:, wanted] >= 0) & (scores[:, wanted] == scores[:, k - 1])
        if wanted >= k + _MOST_TIES or not is_cut_in_tie.any():
            return scores[:, :wanted], rows[:, :wanted]
        wanted = min(4 * wanted + 60, k + _MOST_TIES)
