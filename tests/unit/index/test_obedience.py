"""The proof that FAISS obeys selectors can fail, and a kind that does not obey is not used."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index import obedience
from index.candidates import Effort, Fit, Graph, Lists
from index.codecs import Codec
from index.codes_file import CodesFile
from index.large_index import LargeIndex
from index.vectors import RowSet
from runtime.errors import GalleryError
from tests.unit.index.conftest import unit


@pytest.fixture(autouse=True)
def ask_again() -> Any:
    for proof in (obedience.obeys_selectors, obedience.prove_filters_are_obeyed):
        proof.cache_clear()
    yield
    for proof in (obedience.obeys_selectors, obedience.prove_filters_are_obeyed):
        proof.cache_clear()


@pytest.mark.parametrize("kind", [Lists, Graph])
def test_this_build_obeys(kind: Any) -> None:
    obedience.prove_filters_are_obeyed()
    assert obedience.obeys_selectors(kind)


@pytest.mark.parametrize("kind", [Lists, Graph])
def test_a_kind_that_passes_over_selectors_is_not_used(
    kind: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    rng: np.random.Generator,
    tmp_path: Path,
) -> None:
    """As FAISS's own GPU kinds do: the selector is taken, and not looked at."""
    honest = kind.parameters
    monkeypatch.setattr(kind, "parameters", lambda self, breadth, selector: honest(self, breadth, None))
    vectors = unit(rng, 600, 16)
    codec = Codec.fitted("float32", vectors)
    candidates = Lists.trained(vectors, num_vectors=600) if kind is Lists else Graph.empty(16)
    file = CodesFile(tmp_path / "codes", code_bytes=codec.num_bytes)
    fit = Fit(effort=Effort(breadth=16, num_candidates=100), recall=1, num_vectors=600)
    with caplog.at_level(logging.WARNING):
        index = LargeIndex(codec, candidates, fit, file, exact_up_to=0)
    assert "filters_not_obeyed" in caplog.text
    index.put(np.arange(600), vectors)
    index.remove(np.arange(0, 600, 2))
    queries = vectors[:40]
    allowed = np.arange(1, 600, 2)
    scores = queries @ vectors[allowed].T
    wanted = allowed[np.argsort(-scores, axis=1)[:, :5]]
    np.testing.assert_array_equal(index.search(queries, 5)[1], wanted)
    np.testing.assert_array_equal(index.search(queries, 5, allowed=RowSet(np.arange(600)))[1], wanted)


def test_no_gallery_is_served_when_exact_search_passes_over_selectors(monkeypatch: pytest.MonkeyPatch) -> None:
    def disobedient(index: Any, queries: np.ndarray, _: object) -> np.ndarray:
        rows: np.ndarray = index.search(queries, 2)[1]
        return rows

    monkeypatch.setattr(obedience, "_nearest_two", disobedient)
    with pytest.raises(GalleryError, match="does not obey filters") as refused:
        obedience.prove_filters_are_obeyed()
    assert refused.value.code == "filters_not_obeyed"
