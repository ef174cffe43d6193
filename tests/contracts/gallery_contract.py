"""What every gallery promises, whatever stands behind it. Subclasses say how one is opened."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from index import Gallery, Match, NewItem, parse_filter
from runtime.errors import GalleryError
from tests.unit.index.conftest import DIM, SPACE, new_item, unit

ODD_NAMES = [
    'say "hi"',
    "back\\slash",
    "it's",
    "ü—日本語",
    "😀",
    "a b/c.jpg",
    "%_%",
    "{x}",
    "a#i",
    "a",
    "a#i#i",
    "x\\n",
    "$f",
]
METADATA: list[dict[str, Any]] = [
    {},
    {"n": 1},
    {"n": 1.0, "t": "1"},
    {"n": True},
    {"n": None},
    {"n": "1"},
    {"n": [1, 5, "five"]},
    {"n": []},
    {"n": {"m": 2}},
    {"n.m": 2},
    {"n": 2**53 + 1},
    {"n": float(2**53)},
    {"n": -(2**63)},
    {"n": -1e308},
    {"n": 5e-324},
    {"t": ""},
    {"t": "a"},
    {"t": "b" * 60},
    {"t": "b" * 60 + "c"},
    {"t": ["é", "z", 'quo"te\\']},
    {"t": "\u0000nul"},
    {'od"d\\ field': "x", "and.more": [{"deep": [1, {"er": False}]}]},
]
FILTERS: list[dict[str, Any]] = [
    {"n": 1},
    {"n": True},
    {"n": None},
    {"n": "1"},
    {"n": {"in": [1, "1", None]}},
    {"n": {"gte": 1}},
    {"n": {"gt": 1, "lt": 5}},
    {"n": {"gte": 2, "lte": 4}},
    {"n": {"lt": 0}},
    {"n": {"gt": 2**53}},
    {"n": {"gte": float(2**53)}},
    {"n": {"gt": 0, "lt": 1e-300}},
    {"n": {"gte": "1"}},
    {"n": {"gte": 1, "lt": "z"}},
    {"n": {"in": [1, 5], "gt": 2}},
    {"n": {"exists": True}},
    {"n": {"exists": False}},
    {"n.m": 2},
    {"n.m": {"exists": True}},
    {"t": "b" * 60},
    {"t": {"gt": "b" * 60}},
    {"t": {"gte": "b" * 60}},
    {"t": {"lt": "b" * 60}},
    {"t": {"lte": "b" * 60 + "b"}},
    {"t": {"gt": "b", "lt": "zz"}},
    {"t": 'quo"te\\'},
    {"t": ""},
    {"t": "\u0000nul"},
    {"t": {"gte": ""}},
    {'od"d\\ field': "x"},
    {"and.more.deep.er": False},
    {"and.more": {"exists": True}},
    {"not": {"n": {"gt": 1, "lt": 5}}},
    {"not": {"t": {"gt": "b" * 60}}},
    {"not": {"not": {"t": {"gt": "b" * 60}}}},
    {"or": [{"n": 1}, {"t": "a"}]},
    {"and": [{"n": {"exists": True}}, {"not": {"n": {"gte": 1}}}]},
    {"n": {"exists": True}, "t": {"exists": False}},
    {},
]


def brute_force(vectors: dict[str, np.ndarray], query: np.ndarray, top_k: int) -> list[tuple[str, float]]:
    scored = sorted((-float(vector @ query), item_id) for item_id, vector in vectors.items())
    return [(item_id, -score) for score, item_id in scored[:top_k]]


def assert_found(found: list[Match], wanted: list[tuple[str, float]]) -> None:
    assert [hit.id for hit in found] == [item_id for item_id, _ in wanted]
    np.testing.assert_allclose([hit.score for hit in found], [score for _, score in wanted], atol=1e-5)


def pages(gallery: Gallery, limit: int, **options: Any) -> Iterator[list[str]]:
    cursor: str | None = None
    while True:
        page = gallery.page(cursor=cursor, limit=limit, **options)
        yield [item.id for item in page.items]
        cursor = page.next_cursor
        if cursor is None:
            return


class GalleryContract:
    """Tests that are run against each kind of gallery; `open_it` gives an empty one, or the same one again."""

    @pytest.fixture
    def gallery(self, open_it: Callable[..., Gallery]) -> Gallery:
        return open_it()

    def test_an_item_comes_back_as_it_was_stored(self, gallery: Gallery, rng: np.random.Generator) -> None:
        image, text = unit(rng, DIM), unit(rng, DIM)
        metadata = {"year": 1999, "tags": ["a", "ü"], "size": {"w": 1.5, "ok": True}, "none": None}
        item = NewItem(
            id="it", image_embedding=image, text_embedding=text, text="zwei Wörter\n\"quoted\" \\ '", metadata=metadata,
            picture=b"\xff\xd8 picture", content_digest="d" * 64,
        )  # fmt: skip
        assert gallery.upsert([item]) == ["created"]
        stored = gallery.get("it")
        assert stored is not None
        assert (stored.id, stored.text, stored.metadata, stored.content_digest) == ("it", item.text, metadata, "d" * 64)
        assert set(stored.targets) == {"image", "text"}
        assert stored.has_picture
        assert gallery.picture("it") == item.picture
        np.testing.assert_allclose(gallery.vector("it", target="image"), image, atol=1e-6)
        np.testing.assert_allclose(gallery.vector("it", target="text"), text, atol=1e-6)
        assert gallery.get("no") is gallery.picture("no") is gallery.vector("no") is None
        assert gallery.verify() == []

    def test_outcomes_and_replacing_as_a_whole(self, gallery: Gallery, rng: np.random.Generator) -> None:
        first = new_item("a", rng, text="t", text_embedding=unit(rng, DIM), picture=b"one", metadata={"n": 1})
        assert gallery.upsert([first]) == ["created"]
        before = gallery.info()
        assert gallery.upsert([first]) == ["unchanged"]
        created = gallery.get("a")
        second = new_item("a", rng, content_digest="other", metadata={"m": 2})
        assert gallery.upsert([second]) == ["replaced"]
        stored = gallery.get("a")
        assert created is not None
        assert stored is not None
        assert stored.created_s == created.created_s
        assert (stored.text, stored.metadata, stored.has_picture, set(stored.targets)) == (
            None,
            {"m": 2},
            False,
            {"image"},
        )
        assert gallery.search(unit(rng, 1, DIM), top_k=5, target="text") == [[]]
        assert gallery.vector("a", target="text") is None
        assert gallery.info().items == 1
        assert gallery.info().version > before.version
        twice = [new_item("b", rng, metadata={"at": at}, content_digest=str(at)) for at in range(2)]
        assert gallery.upsert(twice) == ["created", "replaced"]
        assert gallery.get_many(["b", "a", "no"])["b"].metadata == {"at": 1}
        assert gallery.upsert([]) == []
        assert gallery.verify() == []

    def test_a_write_is_found_at_once_and_a_deleted_item_never_again(
        self, gallery: Gallery, rng: np.random.Generator
    ) -> None:
        for number in range(4):
            vector = unit(rng, DIM)
            gallery.upsert([new_item(f"i{number}", rng, image_embedding=vector)])
            assert gallery.search(vector[None], top_k=1)[0][0].id == f"i{number}"
            assert gallery.delete(f"i{number}") is True
            assert all(hit.id != f"i{number}" for hit in gallery.search(vector[None], top_k=10)[0])
            assert gallery.delete(f"i{number}") is False
        assert gallery.info().items == 0

    def test_search_is_brute_force(self, gallery: Gallery, rng: np.random.Generator) -> None:
        vectors: dict[str, dict[str, np.ndarray]] = {"image": {}, "text": {}}
        items = []
        for number in range(120):
            parts = {
                target: unit(rng, DIM)
                for target, is_there in (("image", number % 3 != 0), ("text", number % 3 != 1))
                if is_there
            }
            for target, vector in parts.items():
                vectors[target][f"i{number}"] = vector
            items.append(
                new_item(
                    f"i{number}", rng, image_embedding=parts.get("image"), text_embedding=parts.get("text"), text="t"
                )
            )
        gallery.upsert(items)
        assert gallery.info().items == 120
        queries = unit(rng, 3, DIM)
        for target in ("image", "text"):
            for top_k in (1, 10, 500):
                for query, found in zip(queries, gallery.search(queries, top_k=top_k, target=target), strict=True):  # type: ignore[arg-type]
                    assert_found(found, brute_force(vectors[target], query, top_k))
        out = {"i1", "i2", "i4"}
        kept = {name: vector for name, vector in vectors["image"].items() if name not in out}
        assert_found(gallery.search(queries[:1], top_k=7, exclude=out)[0], brute_force(kept, queries[0], 7))
        assert gallery.search(queries[:0], top_k=3) == []

    def test_equal_scores_come_by_id(self, gallery: Gallery, rng: np.random.Generator) -> None:
        same = unit(rng, DIM)
        names = [f"{number:03d}" for number in rng.permutation(60)]
        gallery.upsert([new_item(name, rng, image_embedding=same) for name in names])
        found = gallery.search(same[None], top_k=10)[0]
        assert [hit.id for hit in found] == sorted(names)[:10]

    def test_every_filter_means_what_the_filter_language_says(self, gallery: Gallery, rng: np.random.Generator) -> None:
        vectors = {f"i{at}": unit(rng, DIM) for at in range(len(METADATA))}
        gallery.upsert(
            [
                new_item(f"i{at}", rng, image_embedding=vectors[f"i{at}"], metadata=metadata)
                for at, metadata in enumerate(METADATA)
            ]
        )
        query = unit(rng, DIM)
        for condition in FILTERS:
            filter = parse_filter(condition)
            passing = {f"i{at}" for at, metadata in enumerate(METADATA) if filter.matches(metadata)}
            wanted = brute_force({name: vectors[name] for name in passing}, query, 5)
            assert_found(gallery.search(query[None], top_k=5, filter=filter)[0], wanted)
            assert {name for page in pages(gallery, 4, filter=filter) for name in page} == passing, condition
        assert gallery.verify() == []

    def test_pages_show_every_item_once_whatever_is_written(self, gallery: Gallery, rng: np.random.Generator) -> None:
        stay = [*ODD_NAMES, *(f"s{number}" for number in range(40))]
        gallery.upsert([new_item(name, rng) for name in [*stay, *(f"go{number}" for number in range(10))]])
        seen: list[str] = []
        for turn, page in enumerate(pages(gallery, 7)):
            seen += page
            gallery.delete(f"go{turn}")
            changed = new_item(stay[turn], rng, text="now", text_embedding=unit(rng, DIM), image_embedding=None)
            gallery.upsert([changed, new_item(f"late{turn}", rng)])
        assert len(seen) == len(set(seen))
        assert set(stay) <= set(seen)
        assert {item.id for item in gallery.page(limit=1000).items} >= set(stay)

    def test_odd_names_are_names(self, gallery: Gallery, rng: np.random.Generator) -> None:
        vectors = {name: unit(rng, DIM) for name in ODD_NAMES}
        gallery.upsert([new_item(name, rng, image_embedding=vector) for name, vector in vectors.items()])
        for name, vector in vectors.items():
            assert gallery.get_many([name])[name].id == name
            assert gallery.search(vector[None], top_k=1)[0][0].id == name
            np.testing.assert_allclose(gallery.vector(name), vector, atol=1e-6)
        assert sum(gallery.delete(name) for name in ODD_NAMES) == len(ODD_NAMES)
        assert gallery.info().items == 0

    def test_what_cannot_be_stored_is_refused_and_nothing_of_its_batch_is_kept(
        self, gallery: Gallery, rng: np.random.Generator
    ) -> None:
        good = new_item("good", rng)
        bad: list[tuple[NewItem, str]] = [
            (new_item("", rng), "item_id_invalid"),
            (new_item("a\x01b", rng), "item_id_invalid"),
            (new_item("m", rng, metadata={"and": 1}), "metadata_invalid"),
            (new_item("v", rng, image_embedding=unit(rng, DIM + 1)), "vector_invalid"),
            (new_item("v", rng, image_embedding=None), "vector_invalid"),
            (new_item("t", rng, text=" "), "text_invalid"),
        ]
        for item, code in bad:
            with pytest.raises(GalleryError) as caught:
                gallery.upsert([good, item])
            assert caught.value.code == code
        assert gallery.info().items == 0
        for wrong, code in (({"top_k": 0}, "top_k_invalid"), ({"top_k": 10**6}, "top_k_invalid")):
            with pytest.raises(GalleryError) as caught:
                gallery.search(unit(rng, 1, DIM), **wrong)
            assert caught.value.code == code
        for page, code in (({"cursor": "?!"}, "cursor_invalid"), ({"limit": 0}, "limit_invalid")):
            with pytest.raises(GalleryError) as caught:
                gallery.page(**page)
            assert caught.value.code == code

    def test_opened_again_it_is_the_same_and_another_space_is_refused(
        self, open_it: Callable[..., Gallery], rng: np.random.Generator
    ) -> None:
        first = open_it()
        first.upsert([new_item(f"i{at}", rng, picture=b"p", metadata={"at": at}) for at in range(5)])
        query = unit(rng, 1, DIM)
        before, items = first.search(query, top_k=5), first.page().items
        first.close()
        first.close()
        with pytest.raises(GalleryError, match="closed"):
            first.search(query, top_k=1)
        for wrong in ({"space": "another"}, {"dim": DIM + 1}):
            with pytest.raises(GalleryError) as caught:
                open_it(**wrong)
            assert caught.value.code == "space_mismatch"
        again = open_it(create=False)
        assert [(hit.id, pytest.approx(hit.score, abs=1e-5)) for hit in again.search(query, top_k=5)[0]] == before[0]
        assert again.page().items == items
        assert again.space == SPACE
        reader = open_it(create=False, read_only=True)
        assert reader.info().items == 5
        for write in (lambda: reader.upsert([new_item("x", rng)]), lambda: reader.delete("i0")):
            with pytest.raises(GalleryError) as caught:
                write()
            assert caught.value.code == "gallery_read_only"
