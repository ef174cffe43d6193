"""Guesses which vectors are near a query, made for large galleries; true scores come from the vectors themselves.

Two kinds, of which tuning takes the quicker one: an inverted file over product-quantised vectors (FAISS IVF, PQ with 4
bits, fast scan), which is small and quick to add to, and a graph (FAISS HNSW over float16), which answers more
queries a second while a gallery is not very large, and costs many times the memory and the time of adding.

Vectors are numbered by their position in the order in which they were added. Nothing is ever removed: a search is told
which positions count, and the whole is made anew when too much of it is stale.

Not thread-safe: `memory.py` lets in many searches or one change at a time.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import faiss
import numpy as np

from index.records import Floats
from index.vectors import use_one_thread

_BITS = 4
_DIMS_PER_CODE = 2  # with 4, a million vectors find too little however many candidates are taken
_EACH_QUERY_ALONE = 11  # FAISS sorts queries by list otherwise: 15 % slower for one at once, 5 % for 64
_SAMPLES_PER_LIST = 64
_LINKS = 32
_BUILD_EFFORT = 100
_NUM_STRANGERS = 500
_STRANGERS_FOUND = 0.99
_SEED = 17

KindName = Literal["ivf-pq", "hnsw"]

Efforts = tuple[tuple[int, ...], tuple[int, ...]]
"""Breadths and numbers of candidates that are tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How hard a search looks, for ten hits.

    Attributes:
        breadth: of an inverted file, how many lists are read; of a graph, how many nodes are kept in view.
        num_candidates: vectors whose true score is worked out.
    """

    breadth: int
    num_candidates: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What candidates were tuned to, and what they were tuned on.

    Attributes:
        recall: share of the ten best that a search through them finds, measured when they were made.
        num_vectors: how many vectors there were then.
    """

    effort: Effort
    recall: float
    num_vectors: int


class Candidates(Protocol):
    """Positions near a query.

    Attributes:
        kind: what it is called where a gallery says how it is searched.
        index: what FAISS searches.
        efforts: breadths worth trying, and numbers of candidates, both from small to large.
        least_share: a filter that passes less than this share of everything is answered by looking at all it passes.
    """

    kind: KindName
    index: Any
    efforts: Efforts
    least_share: float

    def add(self, vectors: Floats) -> None:
        """Add vectors [n, dim] at the next positions."""
        ...

    def parameters(self, breadth: int, selector: Any) -> Any:  # noqa: ANN401  FAISS objects
        """Return what FAISS is told for a search of this breadth among the selected positions (None: all)."""
        ...

    def least_breadth(self) -> int:
        """Return the least breadth at which an item unlike all others is found by its own vector once it is added."""
        ...


class Lists:
    """An inverted file: vectors in lists by nearness, each shrunk to four bits for two numbers."""

    kind: KindName = "ivf-pq"
    least_share = 0.0

    def __init__(self, index: Any) -> None:  # noqa: ANN401  a FAISS index
        self.index = index
        index.implem = _EACH_QUERY_ALONE
        breadths = [breadth for breadth in (1, 2, 4, 8, 16, 32, 64, 128, 256) if breadth <= index.nlist]
        self.efforts: Efforts = (tuple(breadths), (30, 50, 80, 120, 180, 270, 400, 600))

    @classmethod
    def trained(cls, sample: Floats, *, num_vectors: int) -> "Lists":
        """Return empty lists for about so many vectors, fitted to a sample of them [n, dim]."""
        use_one_thread()
        dim = sample.shape[1]
        quantizer = faiss.IndexFlatIP(dim)
        index: Any = faiss.IndexIVFPQFastScan(
            quantizer, dim, num_lists(num_vectors), num_codes(dim), _BITS, faiss.METRIC_INNER_PRODUCT
        )
        index.by_residual = True  # costs nothing for inner products, and is much nearer
        index.cp.min_points_per_centroid = 1  # how large the sample is was decided before
        index.pq.cp.min_points_per_centroid = 1
        index.train(np.ascontiguousarray(sample))
        return cls(index)

    def add(self, vectors: Floats) -> None:
        """Add vectors [n, dim] at the next positions."""
        use_one_thread()
        self.index.add(np.ascontiguousarray(vectors))

    def parameters(self, breadth: int, selector: Any) -> Any:  # noqa: ANN401  FAISS objects
        """Return FAISS's parameters; `breadth` is how many lists are read."""
        make: Any = faiss.SearchParametersIVF
        return make(nprobe=min(breadth, int(self.index.nlist)), sel=selector)

    def least_breadth(self) -> int:
        """Return 1: a vector stands in the list that is nearest to it, which is the first that a search reads."""
        return 1


class Graph:
    """A graph of near neighbours (HNSW). It keeps the vectors once more, as float16, in memory."""

    kind: KindName = "hnsw"
    efforts: Efforts = ((12, 16, 24, 32, 48, 64, 96, 128, 192, 256), (12,))
    least_share = 0.2

    def __init__(self, index: Any) -> None:  # noqa: ANN401  a FAISS index
        self.index = index

    @classmethod
    def empty(cls, dim: int) -> "Graph":
        """Return a graph without nodes."""
        make: Any = faiss.IndexHNSWSQ
        index: Any = make(dim, faiss.ScalarQuantizer.QT_fp16, _LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = _BUILD_EFFORT
        index.is_trained = True  # float16 needs no fitting
        return cls(index)

    def add(self, vectors: Floats) -> None:
        """Add vectors [n, dim] at the next positions."""
        use_one_thread()
        self.index.add(np.ascontiguousarray(vectors))

    def parameters(self, breadth: int, selector: Any) -> Any:  # noqa: ANN401  FAISS objects
        """Return FAISS's parameters; `breadth` is how many nodes are kept in view."""
        make: Any = faiss.SearchParametersHNSW  # type: ignore[attr-defined]
        return make(efSearch=breadth, sel=selector)

    def least_breadth(self) -> int:
        """Try it out: a narrow search of a graph goes astray among the many, and does not see who stands apart."""
        use_one_thread()
        tried: Any = faiss.clone_index(self.index)
        strangers = np.random.default_rng(_SEED).standard_normal((_NUM_STRANGERS, tried.d), dtype=np.float32)
        strangers /= np.linalg.norm(strangers, axis=1, keepdims=True)
        own = np.arange(tried.ntotal, tried.ntotal + _NUM_STRANGERS)
        tried.add(strangers)
        breadths, _ = self.efforts
        for breadth in breadths:
            found = tried.search(strangers, 1, params=self.parameters(breadth, None))[1][:, 0]
            if (found == own).mean() >= _STRANGERS_FOUND:
                return breadth
        return breadths[-1]


def write_candidates(candidates: Candidates, file: Path) -> None:
    """Write candidates to a file; whoever calls makes it durable.

    Raises:
        OSError: it cannot be written.
    """
    try:
        faiss.write_index(candidates.index, str(file))
    except RuntimeError as error:  # FAISS does not say which error the system gave
        raise OSError(str(error)) from error


def read_candidates(file: Path, *, dim: int) -> Candidates:
    """Read what `write_candidates` wrote. The checksum must have been compared before.

    Raises:
        ValueError: it is something else.
    """
    index: Any = faiss.read_index(str(file))
    if index.d == dim and isinstance(index, faiss.IndexIVFPQFastScan):
        return Lists(index)
    if index.d == dim and isinstance(index, faiss.IndexHNSWSQ):
        return Graph(index)
    raise ValueError(f"it holds no candidates of {dim} dimensions")


def num_lists(num_vectors: int) -> int:
    """Return over how many lists so many vectors are spread."""
    return max(1, min(65_536, round(2 * math.sqrt(num_vectors))))


def num_codes(dim: int) -> int:
    """Return into how many parts a vector is cut; it divides the number of dimensions."""
    return max(codes for codes in range(1, max(1, dim // _DIMS_PER_CODE) + 1) if dim % codes == 0)


def sample_size(num_vectors: int) -> int:
    """Return how many vectors are enough to fit lists for so many."""
    return min(num_vectors, num_lists(num_vectors) * _SAMPLES_PER_LIST)
