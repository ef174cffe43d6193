"""Searches one target's vectors in a large gallery: candidates first, whose true scores come from the vectors.

Vectors are kept as codes in the order in which they came, a position each; a replaced or deleted one is only marked.
The beginning of the codes lies in a file that is mapped, so that what no search touches takes no memory.

Not thread-safe: `memory.py` lets in many searches or one change at a time.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from index.candidates import Candidates, Effort, Fit
from index.cards import Placed
from index.codecs import Codec
from index.codes_file import CodesFile
from index.obedience import obeys_selectors
from index.records import Floats
from index.region import Bytes, Region
from index.vectors import Rows, RowSet, grown, use_one_thread

EXACT_UP_TO = 20_000  # so many vectors are searched exactly within about two milliseconds
_MOST_HITS = 200  # for more hits, candidates save nothing
_TUNED_HITS = 10
_ROOM = 1.25
_LEAST_ROOM = 16_384
_ADDED_AT_ONCE = 16  # searches wait meanwhile, a few tenths of a millisecond
_MOST_BEHIND = 16_384  # so many vectors that a card lacks are looked at one by one; with more it is not asked
_RESCORED_AT_ONCE = 64  # queries

_serials = itertools.count()


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """What a snapshot keeps: the index as of one moment, while it goes on changing.

    Attributes:
        row_at: [n], the row of each position, -1 where there is none any more.
        candidates: not added to before `LargeIndex.thaw`.
    """

    row_at: Rows
    candidates: Candidates


@dataclass(frozen=True, slots=True)
class _Selection:
    """Positions that a filter passes, in no order.

    Attributes:
        vectors: those at the positions [n, dim], when they are few; kept for the next search with this filter.
    """

    positions: Rows
    bitmap: NDArray[np.uint8]
    selector: Any
    vectors: Floats | None


class LargeIndex:
    """All vectors of one target as codes, and candidates beside them."""

    def __init__(
        self, codec: Codec, candidates: Candidates, fit: Fit, file: CodesFile, *, exact_up_to: int = EXACT_UP_TO
    ) -> None:
        """Make an empty index; `load` fills it with what the file holds."""
        self.codec = codec
        self.candidates = candidates
        self.fit = fit
        self.file = file
        self.dim = codec.dim
        self._exact_up_to = exact_up_to
        self._is_obedient = obeys_selectors(type(candidates))
        self._serial = next(_serials)
        self._num_changes = 0
        self._count = 0
        self._num_alive = 0
        self._is_frozen = False
        self._num_laid = 0
        self.placed: Placed | None = None
        self._num_stale_placed = 0
        self._behind: tuple[int, Floats] = (0, np.empty((0, self.dim), np.float32))
        self._position_of = np.full(1, -1, np.int64)  # row -> position; its last place always holds -1
        self._row_at: Rows = np.empty(0, np.int64)
        self._alive: Bytes = np.empty(0, np.uint8)
        self._codes: Bytes = np.empty((0, codec.num_bytes), np.uint8)
        self._make_room(0)

    @property
    def kind(self) -> str:
        """How large searches are done."""
        placed = self.placed
        return self.candidates.kind if placed is None or not placed.is_usable else f"gpu-{placed.kind}"

    def __len__(self) -> int:
        return self._num_alive

    @property
    def num_positions(self) -> int:
        """How many vectors are kept, those that are replaced or gone included."""
        return self._count

    @property
    def end_row(self) -> int:
        """A row beyond every row that has a vector."""
        return int(self._row_at[: self._count].max(initial=-1)) + 1

    # Changing

    def put(self, rows: Rows, vectors: Floats) -> None:
        """Add vectors, or replace those of rows that are there; they are found at once.

        They are looked at one by one until `add_some_fresh` has put them among the candidates.

        Args:
            rows: [n], each at most once.
            vectors: [n, dim], unit length.
        """
        if not len(rows):
            return
        if int(rows.max()) + 1 >= len(self._position_of):
            self._position_of = grown(self._position_of, int(rows.max()) + 2)
        codes = self.codec.encode(vectors)
        known = self._position_of[rows]
        is_same = known >= 0
        is_same[is_same] = (codes[is_same] == self._codes[known[is_same]]).all(axis=1)
        self._kill(known[(known >= 0) & ~is_same])
        self._append(rows[~is_same], codes[~is_same])

    def remove(self, rows: Rows) -> None:
        """Remove the vectors of these rows; they are found no more. Rows without one are passed over."""
        self._kill(self._positions(np.unique(rows)))

    def load(self, row_at: Rows) -> None:
        """Take over the codes in the file, into this index which is empty.

        Args:
            row_at: [n], the row of each position, -1 where there is none.

        Raises:
            OSError: the file cannot be read.
            ValueError: a row is there twice, or file, rows and candidates are not of one size.
        """
        count = len(row_at)
        is_alive = row_at >= 0
        rows = row_at[is_alive]
        position_of = np.full(int(rows.max(initial=0)) + 2, -1, np.int64)
        position_of[rows] = np.flatnonzero(is_alive)
        is_once = np.count_nonzero(position_of >= 0) == len(rows)  # np.unique holds the interpreter for half a second
        if count != self.file.count or self._num_indexed > count or not is_once:
            raise ValueError("its parts do not belong together")
        self._make_room(count)
        self._row_at[:count] = row_at
        self._position_of = position_of
        self._alive[: -(-count // 8)] = np.packbits(is_alive, bitorder="little")
        self._count, self._num_alive = count, len(rows)
        self.lay()
        self._store.ntotal = count
        while self.add_some_fresh():
            pass

    def lay(self) -> None:
        """Read the codes that the file holds from there from now on; others may search meanwhile."""
        self._region.lay(
            self.file.path, self.file.count * self.codec.num_bytes, start=self._num_laid * self.codec.num_bytes
        )
        self._num_laid = self.file.count

    def refit(self, fit: Fit) -> None:
        """Search with another effort from now on."""
        self.fit = fit
        self._known_parameters.clear()

    def place(self, placed: Placed | None, *, count: int | None = None) -> None:
        """Let a card find candidates from now on, among as many positions as it holds or as are told."""
        if placed is not None:
            placed.count = placed.count if count is None else count
            self._num_stale_placed = int(np.count_nonzero(self._row_at[: placed.count] < 0))
        self.placed = placed

    def freeze(self) -> Frozen:
        """Return the index as of now; until `thaw` its candidates stay, and fresh vectors are looked at one by one."""
        self._is_frozen = True
        return Frozen(row_at=self._row_at[: self._count].copy(), candidates=self.candidates)

    def thaw(self) -> None:
        """Let new vectors go among the candidates again; call `add_some_fresh` until it says that it is done."""
        self._is_frozen = False

    def add_some_fresh(self) -> bool:
        """Add some of the vectors that are not among the candidates yet; say whether there are more."""
        start, end = self._num_indexed, min(self._num_indexed + _ADDED_AT_ONCE, self._count)
        if not self._is_frozen and start < end:
            self.candidates.add(self.codec.decode(self._codes[start:end]))
            self._refined.ntotal = self._num_indexed
        return not self._is_frozen and end < self._count

    # Reading

    def search(self, queries: Floats, k: int, *, allowed: RowSet | None = None) -> tuple[Floats, Rows]:
        """Return the k best scores and rows for each query, best first; row -1 where there are fewer than k.

        Args:
            queries: [n, dim], contiguous.
            k: how many are wanted.
            allowed: when given, only these rows are looked at.
        """
        use_one_thread()
        if allowed is not None:
            scores, positions = self._search_selected(queries, k, self._selection(allowed))
        elif k > _MOST_HITS or self._num_alive <= self._exact_up_to or not self._is_obedient:
            scores, positions = self._exact(queries, k)
        else:
            found = None if self.placed is None else self._through_card(self.placed, queries, k)
            scores, positions = found or self._through_candidates(queries, k)
        return scores, self._row_at.take(positions)  # position -1 takes the last, which is always -1

    def search_placed(self, placed: Placed, queries: Floats, k: int) -> tuple[Floats, Rows] | None:
        """Search through a copy on a card, in use or not; None when it does not answer, or knows fewer than k."""
        found = self._through_card(placed, queries, k)
        return None if found is None else (found[0], self._row_at.take(found[1]))

    def gather(self, start: int, end: int) -> tuple[Rows, Floats]:
        """Return the vectors of rows from `start` to before `end`: those rows that have one, and theirs."""
        positions = self._position_of[start : min(end, len(self._position_of) - 1)]
        there = np.flatnonzero(positions >= 0)
        return there + start, self.codec.decode(self._codes[positions[there]])

    def rows(self) -> Rows:
        """Return the rows that have a vector, sorted."""
        return np.sort(self._row_at[: self._count][self._row_at[: self._count] >= 0])

    def differs(self, rows: Rows, vectors: Floats) -> NDArray[np.bool_]:
        """Say for which of these rows, which have vectors, another vector is kept than this one: [n]."""
        kept = self._codes[self._position_of[rows]]
        is_other: NDArray[np.bool_] = (kept != self.codec.encode(vectors)).any(axis=1)
        return is_other

    def codes(self, start: int, end: int) -> Bytes:
        """Return the codes at these positions, which never change: [end - start, num_bytes]."""
        return self._codes[start:end]

    def vectors(self, start: int, end: int) -> Floats:
        """Return what the codes at these positions stand for: [end - start, dim]."""
        return self.codec.decode(self._codes[start:end])

    def row_at(self) -> Rows:
        """Return a copy of the row of each position, -1 where there is none any more."""
        return self._row_at[: self._count].copy()

    # Within

    @property
    def _num_indexed(self) -> int:
        return int(self.candidates.index.ntotal)

    def _positions(self, rows: Rows) -> Rows:
        positions = self._position_of[rows[rows < len(self._position_of)]]
        found: Rows = positions[positions >= 0]
        return found

    def _kill(self, positions: Rows) -> None:
        self._num_changes += 1
        self._position_of[self._row_at[positions]] = -1
        self._row_at[positions] = -1
        np.bitwise_and.at(self._alive, positions >> 3, ~(1 << (positions & 7)).astype(np.uint8))
        self._num_alive -= len(positions)
        if self.placed is not None:
            self._num_stale_placed += int(np.count_nonzero(positions < self.placed.count))

    def _append(self, rows: Rows, codes: Bytes) -> None:
        start, end = self._count, self._count + len(rows)
        if end >= len(self._row_at):
            self._make_room(end)
        positions = np.arange(start, end)
        self._num_changes += 1
        self._codes[start:end] = codes
        self._row_at[start:end] = rows
        self._position_of[rows] = positions
        np.bitwise_or.at(self._alive, positions >> 3, (1 << (positions & 7)).astype(np.uint8))
        self._num_alive += len(rows)
        self._count = end
        self._store.ntotal = end

    def _make_room(self, count: int) -> None:
        """Make room for more than so many positions; what is there stays."""
        room = -(-max(int(_ROOM * count), count + _LEAST_ROOM) // 8) * 8
        region = Region(room * self.codec.num_bytes)
        codes = region.bytes.reshape(room, self.codec.num_bytes)
        if self._count:
            kept = self._num_laid
            region.lay(self.file.path, kept * self.codec.num_bytes)
            codes[kept : self._count] = self._codes[kept : self._count]
        self._region, self._codes = region, codes
        self._row_at = np.append(self._row_at[: self._count], np.full(room - self._count, -1, np.int64))
        alive = np.zeros(room // 8, np.uint8)
        alive[: len(self._alive)] = self._alive
        self._alive = alive
        self._store = self.codec.index_over(region.bytes)
        self._store.ntotal = self._num_indexed  # FAISS wants the two to be of one size here, though nowhere else
        self._refined: Any = faiss.IndexRefine(self.candidates.index, self._store)
        self._store.ntotal = self._count
        self._alive_selector: Any = faiss.IDSelectorBitmap(len(alive), faiss.swig_ptr(alive))
        self._known_parameters: dict[tuple[int, bool], Any] = {}

    def _through_candidates(self, queries: Floats, k: int) -> tuple[Floats, Rows]:
        scores, positions = self._refine(queries, k, self._parameters(k))
        if self._num_indexed < self._count:
            scores, positions = self._with_fresh(queries, scores, positions, None)
        if min(positions[:, k - 1].tolist(), default=0) < 0:
            is_thin = positions[:, k - 1] < 0
            scores[is_thin], positions[is_thin] = self._exact(np.ascontiguousarray(queries[is_thin]), k)
        return scores, positions

    def _through_card(self, placed: Placed, queries: Floats, k: int) -> tuple[Floats, Rows] | None:
        """Return hits among a card's candidates and what it does not hold; None when the CPU is to find them all.

        The card knows neither what was deleted since nor what is new: it is asked for more, and the rest is done here.
        """
        if self._count - placed.count > _MOST_BEHIND or self._num_stale_placed * 2 > placed.count:
            return None
        alive_share = 1 - self._num_stale_placed / max(1, placed.count)
        wanted = placed.fit.effort.num_candidates * max(1, round(k / _TUNED_HITS)) / alive_share
        found = placed.search(queries, -(-math.ceil(wanted) // 4) * 4)
        if found is None:
            return None
        found = np.where(found < placed.count, found, -1)
        found[self._row_at[found] < 0] = -1
        if ((found >= 0).sum(axis=1) < min(k, self._num_alive)).any():
            return None
        scores = np.concatenate(
            [
                self._rescored(queries[at : at + _RESCORED_AT_ONCE], found[at : at + _RESCORED_AT_ONCE])
                for at in range(0, len(queries), _RESCORED_AT_ONCE)
            ]
        )
        if placed.count < self._count:
            is_there = self._row_at[placed.count : self._count] >= 0
            behind = np.arange(placed.count, self._count)[is_there]
            scores = np.concatenate([scores, queries @ self._vectors_behind(placed.count)[is_there].T], axis=1)
            found = np.concatenate([found, np.broadcast_to(behind, (len(queries), len(behind)))], axis=1)
        best, at = _best(scores, k)
        return best, np.take_along_axis(found, at, axis=1)

    def _rescored(self, queries: Floats, positions: Rows) -> Floats:
        """Return the true scores of positions [n, m] for queries [n, dim], -inf at -1."""
        vectors = self.codec.decode(self._codes[positions.reshape(-1)]).reshape(*positions.shape, self.dim)
        scores: Floats = np.einsum("qd,qkd->qk", queries, vectors)
        scores[positions < 0] = -np.inf
        return scores

    def _vectors_behind(self, start: int) -> Floats:
        """Return the vectors at all positions from `start` on; what was decoded once is kept for the next search."""
        first, kept = self._behind
        if first != start:
            kept = np.empty((0, self.dim), np.float32)
        if len(kept) < self._count - start:
            kept = np.concatenate([kept, self.vectors(start + len(kept), self._count)])
            self._behind = (start, kept)
        return kept

    def _refine(self, queries: Floats, k: int, parameters: Any) -> tuple[Floats, Rows]:  # noqa: ANN401
        """Call FAISS without the checks of its Python layer, which would cost a tenth of a search."""
        scores, positions = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
        at = faiss.swig_ptr
        self._refined.search_c(len(queries), at(queries), k, at(scores), at(positions), parameters)
        return scores, positions

    def _parameters(self, k: int) -> Any:  # noqa: ANN401  FAISS objects
        """Return what FAISS is told for k hits of everything that is there."""
        is_whole = self._num_alive == self._count
        known = self._known_parameters.get((k, is_whole))
        if known is None:
            effort = self._effort(k, 1.0)
            base = self.candidates.parameters(effort.breadth, None if is_whole else self._alive_selector)
            known = _refining(effort.num_candidates / k, base)
            self._known_parameters[k, is_whole] = known
        return known

    def _effort(self, k: int, share: float) -> Effort:
        """Return the effort that was tuned for ten hits of everything, for k hits of a share of it."""
        times = max(1, round(k / _TUNED_HITS))
        tuned = self.fit.effort
        return Effort(
            breadth=math.ceil(tuned.breadth * times / share), num_candidates=max(k, tuned.num_candidates * times)
        )

    def _selection(self, allowed: RowSet) -> _Selection:
        known = allowed.derived.get(self._serial)
        if known is not None and known[0] == self._num_changes:
            found: _Selection = known[1]
            return found
        positions = self._positions(allowed.rows)
        is_in = np.zeros(len(self._row_at), bool)
        is_in[positions] = True
        bitmap = np.packbits(is_in, bitorder="little")
        selector: Any = faiss.IDSelectorBitmap(len(bitmap), faiss.swig_ptr(bitmap))
        vectors = self.codec.decode(self._codes[positions]) if 0 < len(positions) <= EXACT_UP_TO else None
        selection = _Selection(positions, bitmap, selector, vectors)
        allowed.derived[self._serial] = (self._num_changes, selection)
        return selection

    def _search_selected(self, queries: Floats, k: int, selection: _Selection) -> tuple[Floats, Rows]:
        number = len(selection.positions)
        share = number / max(1, self._num_alive)
        is_few = number <= self._exact_up_to or share < self.candidates.least_share
        if is_few or k > _MOST_HITS or not self._is_obedient:
            return self._exact(queries, k, selection)
        effort = self._effort(k, share)
        base = self.candidates.parameters(effort.breadth, selection.selector)
        scores, positions = self._refine(queries, effort.num_candidates, _refining(1.0, base))
        # a filter that goes with where vectors lie leaves few in the lists that are read: look at all it passes
        is_thin = (positions >= 0).sum(axis=1) < max(k, effort.num_candidates // 2)
        scores, positions = np.ascontiguousarray(scores[:, :k]), np.ascontiguousarray(positions[:, :k])
        if self._num_indexed < self._count:
            scores, positions = self._with_fresh(queries, scores, positions, selection)
        if is_thin.any():
            few = np.ascontiguousarray(queries[is_thin])
            scores[is_thin], positions[is_thin] = self._exact(few, k, selection)
        return scores, positions

    def _exact(self, queries: Floats, k: int, selection: _Selection | None = None) -> tuple[Floats, Rows]:
        """Return the k best scores and positions of all that count."""
        scores = np.full((len(queries), k), -np.inf, np.float32)
        positions = np.full((len(queries), k), -1, np.int64)
        number = self._num_alive if selection is None else len(selection.positions)
        found = min(k, number)
        if not found:
            return scores, positions
        if selection is not None and selection.vectors is not None:
            scores[:, :found], at = _best(queries @ selection.vectors.T, found)
            positions[:, :found] = selection.positions[at]
        else:
            make: Any = faiss.SearchParameters
            parameters = make(sel=self._alive_selector if selection is None else selection.selector)
            scores[:, :found], positions[:, :found] = self._store.search(queries, found, params=parameters)
        return scores, positions

    def _with_fresh(
        self, queries: Floats, scores: Floats, positions: Rows, selection: _Selection | None
    ) -> tuple[Floats, Rows]:
        """Put vectors that are not among the candidates yet in their place among the hits."""
        fresh = np.arange(self._num_indexed, self._count)
        fresh = fresh[self._row_at[fresh] >= 0] if selection is None else np.intersect1d(fresh, selection.positions)
        if not len(fresh):
            return scores, positions
        of_fresh = queries @ self.codec.decode(self._codes[fresh]).T
        known = np.where(positions >= 0, scores, -np.inf)
        kept, at = _best(np.concatenate([known, of_fresh], axis=1), positions.shape[1])
        everything = np.concatenate([positions, np.broadcast_to(fresh, of_fresh.shape)], axis=1)
        return kept, np.take_along_axis(everything, at, axis=1)


def _best(scores: Floats, k: int) -> tuple[Floats, Rows]:
    """Return the k best scores of each line, best first, and where they stand."""
    at = np.argpartition(-scores, k - 1, axis=1)[:, :k] if k < scores.shape[1] else np.argsort(-scores, axis=1)
    best = np.take_along_axis(scores, at, axis=1)
    order = np.argsort(-best, axis=1, kind="stable")
    return np.take_along_axis(best, order, axis=1), np.take_along_axis(at, order, axis=1)


def _refining(times: float, base: Any) -> Any:  # noqa: ANN401  FAISS objects
    make: Any = faiss.IndexRefineSearchParameters
    return make(k_factor=times, base_index_params=base)
