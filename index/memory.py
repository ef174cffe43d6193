"""What searches read: every item's id and vectors in memory, as of one version of the gallery."""

import functools
import time
from collections.abc import Collection, Iterator
from itertools import zip_longest

import numpy as np

from index.cards import Placed
from index.large_index import Frozen, LargeIndex
from index.locks import ReadWriteLock
from index.names import Names
from index.records import TARGETS, Floats, Match, Target
from index.state import Change, State
from index.vectors import FlatVectors, Rows, RowSet

TargetIndex = FlatVectors | LargeIndex

_match = functools.partial(tuple.__new__, Match)  # nearly twice as fast as Match(...), and made by the thousand
_BETWEEN_S = 0.0001  # for searches that wait for a change to come before the next
_CHUNK = 4096  # rows copied at a time while others wait
_MOST_TIES = 4096  # so many hits of one score are put in the order of their ids; beyond, FAISS picks among them


class Memory:
    """Ids and vectors of a gallery. Searches run together; a change waits for them and runs alone."""

    def __init__(self, dim: int) -> None:
        self.version = 0
        self.dim = dim
        self._lock = ReadWriteLock()
        self._names = Names()
        self._indexes: dict[Target, TargetIndex] = {target: FlatVectors(dim) for target in TARGETS}

    @classmethod
    def from_state(cls, state: State, dim: int) -> "Memory":
        """Read everything from the gallery's file."""
        memory = cls(dim)
        memory.version = state.version
        for row, name in state.names():
            memory._names.put(row, name)
        for target, index in memory._indexes.items():
            for rows, chunk in state.vectors(target):
                index.put(rows, chunk)
        return memory

    @classmethod
    def from_snapshot(cls, names: Names, indexes: dict[Target, TargetIndex], version: int, dim: int) -> "Memory":
        """Take everything as of an older version; `apply` brings it up to date."""
        memory = cls(dim)
        memory.version = version
        memory._names = names
        memory._indexes = indexes
        return memory

    def __len__(self) -> int:
        return len(self._names)

    def num_vectors(self, target: Target) -> int:
        """Return how many items have this vector."""
        return len(self._indexes[target])

    def index(self, target: Target) -> TargetIndex:
        """Return what a target is searched by, to be asked of its size and fit."""
        return self._indexes[target]

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
            for row in sorted(change.names):
                self._names.put(row, change.names[row])
            for row in change.gone:
                self._names.remove(row)
            self.version = change.version
        for index in self._indexes.values():
            self._add_fresh(index)

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
        with self._lock.reading:
            scores, rows = _search_past_ties(self._indexes[target], queries, wanted, allowed)
            names = list(map(self._names.of, rows))
        results = []
        for some_names, some_scores in zip(names, scores, strict=True):
            matches = list(map(_match, zip(some_names, some_scores, strict=True)))
            if len(set(some_scores)) < len(some_scores):
                matches.sort(key=lambda match: (-match.score, match.id))
            if excluded:
                matches = [match for match in matches if match.id not in excluded]
            results.append(matches[:top_k] if len(matches) > top_k else matches)
        return results

    def stream(self, target: Target) -> Iterator[tuple[Rows, Floats]]:
        """Yield copies of the vectors by row, in chunks, while searches and changes go on.

        What changes meanwhile may be seen or not; every row that does not change is seen once.
        """
        with self._lock.reading:
            end_row = self._indexes[target].end_row
        for start in range(0, end_row, _CHUNK):
            with self._lock.reading:
                rows, vectors = self._indexes[target].gather(start, min(start + _CHUNK, end_row))
            if len(rows):
                yield rows, vectors

    def packed_names(self) -> tuple[bytes, Rows, np.ndarray]:
        """Return a copy of all ids; see `Names.packed`."""
        with self._lock.reading:
            return self._names.packed()

    def freeze(self, index: LargeIndex) -> Frozen:
        """Return an index as of now; until `thaw` its candidates stay as they are."""
        with self._lock.writing():
            return index.freeze()

    def thaw(self, index: LargeIndex) -> None:
        """Let new vectors go among the candidates again, a few at a time."""
        with self._lock.writing():
            index.thaw()
        self._add_fresh(index)

    def lay(self, index: LargeIndex) -> None:
        """Let an index read the codes that its file holds from there; searches go on."""
        with self._lock.reading:
            index.lay()

    def row_at(self, index: LargeIndex) -> Rows:
        """Return a copy of the row of each position of an index."""
        with self._lock.reading:
            return index.row_at()

    def place(self, index: LargeIndex, placed: Placed | None, *, count: int | None = None) -> None:
        """Let a card find an index's candidates from now on; see `LargeIndex.place`."""
        with self._lock.writing():
            index.place(placed, count=count)

    def search_placed(self, index: LargeIndex, placed: Placed, queries: Floats, k: int) -> Rows | None:
        """Return the rows that a search through a card finds, [n, k], to measure it; None when it does not answer."""
        with self._lock.reading:
            found = index.search_placed(placed, queries, k)
        return None if found is None else found[1]

    def adopt(self, target: Target, index: TargetIndex) -> None:
        """Search this index from now on; it holds every row as of now."""
        old = self._indexes[target]
        with self._lock.writing():
            self._indexes[target] = index
        del old  # giving its memory back takes a while, and nobody waits for it

    def _add_fresh(self, index: TargetIndex) -> None:
        """Put new vectors among an index's candidates, a few at a time, with searches in between."""
        while isinstance(index, LargeIndex):
            with self._lock.writing():
                if not index.add_some_fresh():
                    return
            time.sleep(_BETWEEN_S)

    def names_differ(self, state: State) -> bool:
        """Say whether the items are others than those of the gallery's file. No change may come meanwhile."""
        return any(own != other for own, other in zip_longest(self._names, state.names()))


def _search_past_ties(
    index: TargetIndex, queries: Floats, k: int, allowed: RowSet | None
) -> tuple[list[list[float]], list[list[int]]]:
    """Search for k hits, and for more where the k-th shares its score with the next: ids decide which of them stay.

    Returns:
        Scores and rows of each query. Lists, because for a few hits numpy's calls take longer than the work.
    """
    wanted = k
    while True:
        found = index.search(queries, wanted + 1, allowed=allowed)
        scores, rows = found[0].tolist(), found[1].tolist()
        is_cut_in_tie = any(
            some_rows[wanted] >= 0 and some_scores[wanted] == some_scores[k - 1]
            for some_scores, some_rows in zip(scores, rows, strict=True)
        )
        if wanted >= k + _MOST_TIES or not is_cut_in_tie:
            break
        wanted = min(4 * wanted + 60, k + _MOST_TIES)
    for some_scores, some_rows in zip(scores, rows, strict=True):
        number = some_rows.index(-1) if some_rows[-1] < 0 else wanted
        del some_scores[min(number, wanted) :], some_rows[min(number, wanted) :]
    return scores, rows
