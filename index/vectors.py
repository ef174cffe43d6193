"""Vectors in memory and their exact search by FAISS, for all but large galleries. Knows rows (numbers of items).

Not thread-safe: `local.py` lets in many searches or one change at a time.
"""

import threading
from io import RawIOBase
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from index.records import Floats

Rows = NDArray[np.int64]

_SPARSE_SHARE = 0.05  # below this share of the vectors, a list of positions is faster than a bitmap of them
_BLAS_FROM_QUERIES = 4  # from this many queries at once, a matrix product is faster than one pass for each

_thread = threading.local()


def use_one_thread() -> None:
    """Make FAISS searches of the calling thread run on that thread alone.

    OpenMP keeps the setting for each thread, so it must be made in every thread that searches. A server already
    searches on many threads; more within one search only make them wait for each other.
    """
    if not getattr(_thread, "is_set", False):
        faiss.omp_set_num_threads(1)
        _thread.is_set = True


class RowSet:
    """Rows that pass a filter, sorted, each once.

    Attributes:
        derived: what indexes make of them for their own use, by the index.
    """

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.derived: dict[int, Any] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def changed(self, touched: Rows, passing: Rows) -> "RowSet":
        """Return the rows after some were touched, of which those that pass now are given; both sorted."""
        at = np.searchsorted(self.rows, touched)
        at = at[at < len(self.rows)]
        kept = np.delete(self.rows, at[np.isin(self.rows[at], touched)])
        return RowSet(np.insert(kept, np.searchsorted(kept, passing), passing))


class FlatVectors:
    """One target's vectors of all items, searched exactly.

    A row is an item's number in the gallery; a position is where its vector lies here. Removing a vector moves the last
    one into its place, so that every operation but loading costs only what it touches.
    """

    kind = "flat"

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._index: Any = faiss.IndexFlatIP(dim)
        # both are longer than needed, and their last place always holds -1: it answers for -1
        self._row_at = np.full(1, -1, np.int64)  # position -> row
        self._position_of = np.full(1, -1, np.int64)  # row -> position, -1 for none
        # FAISS compares queries x dim with this; its own default is ten times too high on CPUs with AVX-512
        faiss.cvar.distance_compute_blas_threshold = _BLAS_FROM_QUERIES * dim

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def put(self, rows: Rows, vectors: Floats) -> None:
        """Add vectors, or replace those of rows that are there.

        Args:
            rows: [n], each at most once.
            vectors: [n, dim], unit length.
        """
        if not len(rows):
            return
        self._make_room_for(int(rows.max()))
        positions = self._position_of[rows]
        is_known = positions >= 0
        if is_known.any():
            self._view()[positions[is_known]] = vectors[is_known]
        if not is_known.all():
            self._append(rows[~is_known], vectors[~is_known])

    def remove(self, rows: Rows) -> None:
        """Remove the vectors of these rows; rows without one are passed over."""
        positions = self._positions(np.unique(rows))
        if not len(positions):
            return
        kept = len(self) - len(positions)
        self._position_of[self._row_at[positions]] = -1
        holes = positions[positions < kept]
        tail = np.arange(kept, len(self))
        movers = tail[~np.isin(tail, positions)]
        view = self._view()
        view[holes] = view[movers]
        self._row_at[holes] = self._row_at[movers]
        self._position_of[self._row_at[holes]] = holes
        self._index.codes.resize(kept * self._index.code_size)
        self._index.ntotal = kept

    def search(self, queries: Floats, k: int, *, allowed: RowSet | None = None) -> tuple[Floats, Rows]:
        """Return the k best scores and rows for each query, best first; row -1 where there are fewer than k.

        Args:
            queries: [n, dim], contiguous.
            k: how many are wanted.
            allowed: when given, only these rows are looked at.
        """
        use_one_thread()
        selected = None if allowed is None else self._positions(allowed.rows)
        candidates = len(self) if selected is None else len(selected)
        k_found = min(k, candidates)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        rows = np.full((len(queries), k), -1, np.int64)
        if k_found and len(queries):
            parameters, _alive = _selection(selected, len(self))
            found_scores, found = self._index.search(queries, k_found, params=parameters)
            scores[:, :k_found] = found_scores
            rows[:, :k_found] = self._row_at[found]
        return scores, rows

    def gather(self, start: int, end: int) -> tuple[Rows, Floats]:
        """Return a copy of the vectors of rows from `start` to before `end`: those rows that have one, and theirs."""
        positions = self._position_of[start:end]
        there = np.flatnonzero(positions >= 0)
        return there + start, self._view()[positions[there]]

    def rows(self) -> Rows:
        """Return the rows that have a vector, sorted."""
        return np.sort(self._row_at[: len(self)])

    def differs(self, rows: Rows, vectors: Floats) -> NDArray[np.bool_]:
        """Say for which of these rows, which have vectors, another vector is kept than this one: [n]."""
        is_other: NDArray[np.bool_] = (self._view()[self._position_of[rows]] != vectors).any(axis=1)
        return is_other

    @property
    def end_row(self) -> int:
        """A row beyond every row that has a vector."""
        return int(self._row_at[: len(self)].max()) + 1 if len(self) else 0

    @classmethod
    def read(cls, vectors_file: Path, rows: Rows, *, dim: int) -> "FlatVectors":
        """Read raw float32 numbers straight into FAISS's memory.

        Raises:
            ValueError: the file is not as long as these rows want.
        """
        vectors = cls(dim)
        vectors._index.codes.resize(len(rows) * vectors._index.code_size)
        vectors._index.ntotal = len(rows)
        if len(rows):
            with vectors_file.open("rb", buffering=0) as stream:
                _read_all(stream, vectors._view().reshape(-1).view(np.uint8).data)
            vectors._row_at = np.append(rows, -1)
            vectors._make_room_for(int(rows.max()))
            vectors._position_of[rows] = np.arange(len(rows))
        return vectors

    def _positions(self, rows: Rows) -> Rows:
        """Return where the vectors of these rows lie, leaving out rows without one."""
        positions = self._position_of[rows[rows < len(self._position_of)]]
        found: Rows = positions[positions >= 0]
        return found

    def _append(self, rows: Rows, vectors: Floats) -> None:
        start, end = len(self), len(self) + len(rows)
        if end >= len(self._row_at):
            self._row_at = grown(self._row_at, end + 1)
        self._index.add(np.ascontiguousarray(vectors))
        self._row_at[start:end] = rows
        self._position_of[rows] = np.arange(start, end)

    def _make_room_for(self, row: int) -> None:
        if row + 1 >= len(self._position_of):
            self._position_of = grown(self._position_of, row + 2)

    def _view(self) -> Floats:
        """Return FAISS's own memory as an array; no longer valid once vectors are added."""
        if not len(self):
            return np.empty((0, self.dim), np.float32)
        flat: Floats = faiss.rev_swig_ptr(self._index.get_xb(), len(self) * self.dim)
        return flat.reshape(len(self), self.dim)


def _selection(positions: Rows | None, total: int) -> tuple[Any, list[object]]:
    """Return FAISS search parameters for a selection, and what must stay alive while they are used."""
    if positions is None:
        return None, []
    make: Any = faiss.SearchParameters
    if len(positions) < total * _SPARSE_SHARE:
        selector: Any = faiss.IDSelectorArray(len(positions), faiss.swig_ptr(positions))
        return make(sel=selector), [positions, selector]
    is_selected = np.zeros(total, bool)
    is_selected[positions] = True
    bitmap = np.packbits(is_selected, bitorder="little")
    selector = faiss.IDSelectorBitmap(len(bitmap), faiss.swig_ptr(bitmap))
    return make(sel=selector), [bitmap, selector]


def _read_all(stream: RawIOBase, into: memoryview) -> None:
    done = 0
    while done < len(into):
        count = stream.readinto(into[done:])
        if not count:
            raise ValueError(f"the file ends after {done} bytes where {len(into)} are wanted")
        done += count
    if stream.read(1):
        raise ValueError(f"the file is longer than {len(into)} bytes")


def grown(array: Rows, least: int) -> Rows:
    """Return the array made longer, at least so long, with -1 in the new places."""
    grown = np.full(max(least, 2 * len(array), 64), -1, np.int64)
    grown[: len(array)] = array
    return grown
