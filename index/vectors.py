"""Vectors in memory and their exact search by FAISS. Knows rows (numbers of items), not items.

Not thread-safe: `local.py` lets in many searches or one change at a time.
"""

import threading
from pathlib import Path
from typing import Any, TypeVar

import faiss
import numpy as np
from numpy.typing import NDArray

from index.records import Floats
from runtime.errors import GalleryError

Rows = NDArray[np.int64]
Number = TypeVar("Number", np.int32, np.int64)

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


class FlatVectors:
    """One target's vectors of all items, searched exactly.

    A row is an item's number in the gallery; a position is where its vector lies here. Removing a vector moves the last
    one into its place, so that every operation but loading costs only what it touches.
    """

    kind = "flat"

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self._index: Any = faiss.IndexFlatIP(dim)
        self._row_at = np.empty(0, np.int64)  # position -> row; longer than needed
        self._position_of = np.full(0, -1, np.int32)  # row -> position, -1 for none; longer than needed
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
        positions = self.positions(np.unique(rows))
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

    def search(self, queries: Floats, k: int, *, allowed: Rows | None = None) -> tuple[Floats, Rows]:
        """Return the k best scores and rows for each query, best first; row -1 where there are fewer than k.

        Args:
            queries: [n, dim], contiguous.
            k: how many are wanted.
            allowed: when given, only these rows are looked at.
        """
        use_one_thread()
        selected = None if allowed is None else self.positions(allowed)
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

    def positions(self, rows: Rows) -> Rows:
        """Return where the vectors of these rows lie, leaving out rows without one."""
        known = rows[rows < len(self._position_of)]
        positions = self._position_of[known]
        return positions[positions >= 0].astype(np.int64)

    def clone(self) -> "FlatVectors":
        """Return a copy that stays as it is."""
        twin = FlatVectors(self.dim)
        twin.put(self._row_at[: len(self)].copy(), self._view())
        return twin

    def write(self, index_file: Path, rows_file: Path) -> None:
        """Write the FAISS index and the row of each of its positions; neither is made durable here."""
        faiss.write_index(self._index, str(index_file))
        np.save(rows_file, self._row_at[: len(self)], allow_pickle=False)

    @classmethod
    def read(cls, index_file: Path, rows_file: Path, *, dim: int) -> "FlatVectors":
        """Read what `write` wrote. The files' checksums must have been compared before.

        Raises:
            ValueError: the files hold something else.
        """
        vectors = cls(dim)
        index = faiss.read_index(str(index_file))
        rows = np.load(rows_file, allow_pickle=False)
        is_sound = isinstance(index, faiss.IndexFlatIP) and index.d == dim and rows.dtype == np.int64
        if not is_sound or rows.shape != (index.ntotal,):
            raise ValueError(f"{index_file.name} is not an exact index of {dim} dimensions with its rows")
        vectors._index, vectors._row_at = index, rows
        if len(rows):
            vectors._make_room_for(int(rows.max()))
            vectors._position_of[rows] = np.arange(len(rows))
        return vectors

    def copy(self) -> tuple[Rows, Floats]:
        """Return a copy of all rows [n] and their vectors [n, dim]."""
        return self._row_at[: len(self)].copy(), self._view().copy()

    def _append(self, rows: Rows, vectors: Floats) -> None:
        start, end = len(self), len(self) + len(rows)
        if end > len(self._row_at):
            self._row_at = _grown(self._row_at, end, fill=-1)
        self._index.add(np.ascontiguousarray(vectors))
        self._row_at[start:end] = rows
        self._position_of[rows] = np.arange(start, end)

    def _make_room_for(self, row: int) -> None:
        if row >= len(self._position_of):
            self._position_of = _grown(self._position_of, row + 1, fill=-1)

    def _view(self) -> Floats:
        """Return FAISS's own memory as an array; no longer valid once vectors are added."""
        if not len(self):
            return np.empty((0, self.dim), np.float32)
        flat: Floats = faiss.rev_swig_ptr(self._index.get_xb(), len(self) * self.dim)
        return flat.reshape(len(self), self.dim)


def prove_filters_are_obeyed() -> None:
    """Ask this FAISS build for filtered hits where the unfiltered answer differs.

    Some builds and index kinds take a selector and pass over it without a word; such a one must not serve filters.

    Raises:
        GalleryError: `filters_not_obeyed`.
    """
    vectors = FlatVectors(8)
    number = 256
    angles = np.linspace(0, np.pi / 2, number, dtype=np.float32)
    points = np.zeros((number, 8), np.float32)
    points[:, 0], points[:, 1] = np.cos(angles), np.sin(angles)
    vectors.put(np.arange(number), points)
    for allowed in (np.asarray([200, 250]), np.arange(100, 256)):
        for queries in (points[:1], points[:32]):
            _, rows = vectors.search(queries, 2, allowed=allowed)
            if not (rows == allowed[:2]).all():
                raise GalleryError(
                    f"this build of FAISS ({faiss.__version__}) does not obey filters; install faiss-cpu 1.15.",
                    code="filters_not_obeyed",
                )


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


def _grown(array: NDArray[Number], least: int, *, fill: int) -> NDArray[Number]:
    grown = np.full(max(least, 2 * len(array), 64), fill, array.dtype)
    grown[: len(array)] = array
    return grown
