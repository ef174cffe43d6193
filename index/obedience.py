"""Proves that this build of FAISS obeys selectors: some builds and kinds take one and pass over it without a word.

Filters and deletions rest on selectors. Exact search must obey them, or no gallery is served. Candidates of a kind that
does not are not used: everything is searched exactly then, and a warning says so.
"""

import functools
import logging
from typing import Any

import faiss
import numpy as np

from index.candidates import Candidates, Graph, Lists
from index.codecs import CODECS, Codec
from index.records import Floats
from index.vectors import Rows
from runtime.errors import GalleryError

_NUM_POINTS = 512
_DIM = 8

_log = logging.getLogger(__name__)


@functools.cache
def prove_filters_are_obeyed() -> None:
    """Ask exact search for selected hits where the answer without a selector differs; once in a process.

    Raises:
        GalleryError: `filters_not_obeyed`.
    """
    points = _points()
    for name in CODECS:
        codec = Codec.fitted(name, points)
        codes = codec.encode(points)
        index = codec.index_over(codes.reshape(-1))
        index.ntotal = len(points)
        if not _obeys(functools.partial(_nearest_two, index), points):
            raise GalleryError(
                f"this build of FAISS ({faiss.__version__}) does not obey filters; install faiss-cpu 1.15.",
                code="filters_not_obeyed",
            )


@functools.cache
def obeys_selectors(kind: type[Candidates]) -> bool:
    """Say whether this build of FAISS obeys selectors in candidates of this kind; a warning tells when not."""
    points = _points()
    candidates: Candidates = Lists.trained(points, num_vectors=len(points)) if kind is Lists else Graph.empty(_DIM)
    candidates.add(points)

    def search(queries: Floats, selector: Any) -> Rows:  # noqa: ANN401  a FAISS selector
        rows: Rows = candidates.index.search(queries, 100, params=candidates.parameters(10_000, selector))[1]
        return rows

    is_obedient = _obeys(search, points)
    if not is_obedient:
        _log.warning("event=filters_not_obeyed kind=%s faiss=%s action=search_exactly", kind.kind, faiss.__version__)
    return is_obedient


def _nearest_two(index: Any, queries: Floats, selector: Any) -> Rows:  # noqa: ANN401  FAISS objects
    make: Any = faiss.SearchParameters
    rows: Rows = index.search(queries, 2, params=make(sel=selector))[1]
    return rows


def _points() -> Floats:
    angles = np.linspace(0, np.pi / 2, _NUM_POINTS, dtype=np.float32)
    points = np.zeros((_NUM_POINTS, _DIM), np.float32)
    points[:, 0], points[:, 1] = np.cos(angles), np.sin(angles)
    return points


def _obeys(search: Any, points: Floats) -> bool:  # noqa: ANN401  takes queries and a selector, gives rows
    """Ask for the neighbours of the first points among others only, as few and as many queries."""
    for allowed in (np.asarray([400, 500]), np.arange(200, _NUM_POINTS)):
        is_in = np.zeros(_NUM_POINTS, bool)
        is_in[allowed] = True
        bitmap = np.packbits(is_in, bitorder="little")
        selector: Any = faiss.IDSelectorBitmap(len(bitmap), faiss.swig_ptr(bitmap))
        for queries in (points[:1], points[:32]):
            found = search(np.ascontiguousarray(queries), selector)
            if not np.isin(found[found >= 0], allowed).all() or not (found[:, 0] >= 0).all():
                return False
    return True
