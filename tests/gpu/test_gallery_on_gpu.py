"""On a real GPU: a gallery's search through each kind of index on the card, while it is written to."""

import threading
from pathlib import Path

import numpy as np
import pytest

from index import NewItem, open_folder, parse_filter
from index.card_kinds import CARD_KINDS, CardKind, GpuBuild
from index.cards import Cards
from tests.unit.index.conftest import SPACE, unit
from tests.unit.index.test_candidates import clustered, exact, recall

pytestmark = pytest.mark.gpu

DIM = 64
NUMBER = 60_000


@pytest.mark.parametrize("kind", CARD_KINDS)
def test_a_gallery_on_the_card(tmp_path: Path, kind: CardKind) -> None:
    build = GpuBuild()
    if not build.num_cards():
        pytest.skip(build.why_none())
    cards = Cards(kind)
    if cards.fallback is not None and "no CAGRA" in cards.fallback:
        pytest.skip(cards.fallback)
    assert cards.fallback is None
    rng = np.random.default_rng(1)
    vectors = clustered(rng, NUMBER, DIM, clusters=300)
    queries = (vectors[rng.integers(NUMBER, size=200)] + 0.2 * unit(rng, 200, DIM)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    with open_folder(tmp_path / "gallery", space=SPACE, dim=DIM, create=True) as gallery:
        for start in range(0, NUMBER, 1000):
            part = enumerate(vectors[start : start + 1000], start)
            gallery.upsert(
                [
                    NewItem(id=str(at), image_embedding=vector, content_digest="", metadata={"half": at % 2})
                    for at, vector in part
                ]
            )
        gallery.tune(kind="ivf-pq")
        gallery.bring_to_cards(cards)
        assert cards.fallback is None
        assert gallery.info().index_kind == f"gpu-{kind}"
        best = exact(vectors, queries, 10, np.ones(NUMBER, bool))
        found = gallery.search(queries, top_k=10)
        assert recall(np.asarray([[int(hit.id) for hit in hits] for hits in found]), best) >= 0.95
        odd = gallery.search(queries, top_k=10, filter=parse_filter({"half": 1}))
        assert all(int(hit.id) % 2 for hits in odd for hit in hits)

        def many() -> None:
            for query in queries:
                assert len(gallery.search(query[None], top_k=10)[0]) == 10

        searching = [threading.Thread(target=many) for _ in range(8)]
        for thread in searching:
            thread.start()
        for number, vector in enumerate(unit(rng, 3000, DIM)):
            gallery.upsert([NewItem(id="new", image_embedding=vector, content_digest=str(number))])
            if number % 100 == 0:
                assert gallery.search(vector[None], top_k=1)[0][0].id == "new"
        for thread in searching:
            thread.join()
        gallery.bring_to_cards(cards)
        assert cards.fallback is None
        assert gallery.search(vector[None], top_k=1)[0][0].id == "new"
        assert gallery.verify() == []
    cards.close()
