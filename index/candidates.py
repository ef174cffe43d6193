"""Guesses which rows are near a query, from vectors shrunk to a few bits a dimension; made for large galleries.

An inverted file over product-quantised vectors (FAISS IVF, PQ with 4 bits, fast scan). It is only asked for candidates:
their true scores come from the full vectors, and a row that is gone is dropped then. So nothing is ever removed here; a
replaced row stands here twice. Rows are added one by one as they are written, and the whole is made anew when too much
of it is stale.

Not thread-safe: `memory.py` lets in many searches or one change at a time.
"""

import math
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np

from index.records import Floats
from index.vectors import Rows, RowSet, use_one_thread

_BITS = 4
_DIMS_PER_CODE = 4
_SAMPLES_PER_LIST = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How hard a search looks, for ten hits.

    Attributes:
        num_probes: lists that are read.
        num_candidates: rows whose true score is worked out.
    """

    num_probes: int
    num_candidates: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What an index of candidates was tuned to, and what it was tuned on.

    Attributes:
        recall: share of the ten best that a search through it finds, measured when it was made.
        num_vectors: how many vectors there were then.
    """

    effort: Effort
    recall: float
    num_vectors: int


class Candidates:
    """Rows near a query, of all rows that were ever added."""

    kind = "ivf-pq"

    def __init__(self, index: Any, fit: Fit) -> None:  # noqa: ANN401  a FAISS index
        self._index = index
        self.fit = fit

    @classmethod
    def trained(cls, sample: Floats, *, num_vectors: int) -> "Candidates":
        """Return an empty index for about so many vectors, fitted to a sample of them [n, dim]."""
        use_one_thread()
        dim = sample.shape[1]
        quantizer = faiss.IndexFlatIP(dim)
        index = faiss.IndexIVFPQFastScan(
            quantizer, dim, num_lists(num_vectors), num_codes(dim), _BITS, faiss.METRIC_INNER_PRODUCT
        )
        index.by_residual = True  # costs nothing for inner products, and is much nearer
        index.cp.min_points_per_centroid = 1  # how large the sample is was decided before
        index.pq.cp.min_points_per_centroid = 1
        index.train(np.ascontiguousarray(sample))
        return cls(index, Fit(effort=Effort(num_probes=1, num_candidates=50), recall=0.0, num_vectors=0))

    def with_fit(self, fit: Fit) -> "Candidates":
        """Return the same entries, to be searched with another effort."""
        return Candidates(self._index, fit)

    def __len__(self) -> int:
        """Return how many entries there are, stale ones included."""
        return int(self._index.ntotal)

    @property
    def num_lists(self) -> int:
        """How many lists the rows are spread over."""
        return int(self._index.nlist)

    def add(self, rows: Rows, vectors: Floats) -> None:
        """Add rows [n] with their vectors [n, dim]."""
        use_one_thread()
        if len(rows):
            self._index.add_with_ids(np.ascontiguousarray(vectors), np.ascontiguousarray(rows))

    def search(self, queries: Floats, *, num_candidates: int, num_probes: int, allowed: RowSet | None = None) -> Rows:
        """Return rows that may be near each query, in no order, -1 where there are no more: [n, num_candidates]."""
        use_one_thread()
        selector: Any = None
        if allowed is not None:
            selector = faiss.IDSelectorBitmap(len(allowed.bitmap), faiss.swig_ptr(allowed.bitmap))
        make: Any = faiss.SearchParametersIVF
        parameters = make(nprobe=min(num_probes, self.num_lists), sel=selector)
        _, rows = self._index.search(queries, num_candidates, params=parameters)
        found: Rows = rows
        return found

    def rows(self) -> Rows:
        """Return the row of every entry."""
        lists = self._index.invlists
        parts = [
            faiss.rev_swig_ptr(lists.get_ids(number), lists.list_size(number)).copy()
            for number in range(self.num_lists)
            if lists.list_size(number)
        ]
        return np.concatenate(parts).astype(np.int64) if parts else np.empty(0, np.int64)

    def serialised(self) -> bytes:
        """Return the entries as bytes."""
        data: bytes = faiss.serialize_index(self._index).tobytes()
        return data

    @classmethod
    def from_serialised(cls, data: bytes, fit: Fit, *, dim: int) -> "Candidates":
        """Read what `serialised` gave. The checksum must have been compared before.

        Raises:
            ValueError: it is something else.
        """
        index = faiss.deserialize_index(np.frombuffer(data, np.uint8))
        if not isinstance(index, faiss.IndexIVFPQFastScan) or index.d != dim:
            raise ValueError(f"it is not an index of candidates of {dim} dimensions")
        return cls(index, fit)


def num_lists(num_vectors: int) -> int:
    """Return over how many lists so many vectors are spread."""
    return max(1, min(65_536, round(2 * math.sqrt(num_vectors))))


def num_codes(dim: int) -> int:
    """Return into how many parts a vector is cut; it divides the number of dimensions."""
    return max(codes for codes in range(1, max(1, dim // _DIMS_PER_CODE) + 1) if dim % codes == 0)


def sample_size(num_vectors: int) -> int:
    """Return how many vectors are enough to fit an index for so many."""
    return min(num_vectors, num_lists(num_vectors) * _SAMPLES_PER_LIST)
