"""Search against brute force, with and without filters, and pages that stand still under writes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from index import LocalGallery, Match, parse_filter
from runtime.errors import GalleryError
from tests.unit.index.conftest import DIM, new_item, unit

Open = Callable[..., LocalGallery]


def brute_force(vectors: dict[str, np.ndarray], query: np.ndarray, top_k: int) -> list[tuple[str, float]]:
    scored = [(float(vector @ query), item_id) for item_id, vector in vectors.items()]
    scored.sort(key=lambda pair: (-pair[0], pair[1]))
    return [(item_id, score) for score, item_id in scored[:top_k]]


def assert_same(found: list[Match], wanted: list[tuple[str, float]]) -> None:
    assert [hit.id for hit in found] == [item_id for item_id, _ in wanted]
    np.testing.assert_allclose([hit.score for hit in found], [score for _, score in wanted], atol=1e-5)


@pytest.mark.parametrize("num_queries", [1, 3, 40])
@pytest.mark.parametrize("target", ["image", "text"])
def test_search_is_brute_force(gallery: LocalGallery, rng: np.random.Generator, num_queries: int, target: Any) -> None:
    vectors: dict[str, dict[str, np.ndarray]] = {"image": {}, "text": {}}
    items = []
    for number in range(300):
        parts = {
            which: unit(rng, DIM)
            for which, is_there in (("image", number % 3 != 0), ("text", number % 3 != 1))
            if is_there
        }
        for which, vector in parts.items():
            vectors[which][f"i{number}"] = vector
        items.append(
            new_item(f"i{number}", rng, image_embedding=parts.get("image"), text_embedding=parts.get("text"), text="t")
        )
    gallery.upsert(items)
    for number in range(0, 300, 7):
        gallery.delete(f"i{number}")
        for which in vectors.values():
            which.pop(f"i{number}", None)
    queries = unit(rng, num_queries, DIM)
    for top_k in (1, 10, 500):
        for query, found in zip(queries, gallery.search(queries, top_k=top_k, target=target), strict=True):
            assert_same(found, brute_force(vectors[target], query, top_k))


def test_any_order_of_writes_leaves_what_a_dictionary_holds(open_here: Open) -> None:
    rng = np.random.default_rng(3)
    gallery = open_here()
    held: dict[str, np.ndarray] = {}
    for step in range(400):
        item_id = f"i{rng.integers(40)}"
        if rng.random() < 0.35:
            assert gallery.delete(item_id) == (held.pop(item_id, None) is not None)
        else:
            batch = [
                new_item(f"i{rng.integers(40)}", rng, content_digest=f"{step} {number}")
                for number in range(rng.integers(1, 5))
            ]
            gallery.upsert(batch)
            held.update({item.id: item.image_embedding for item in batch})
        if step % 20 == 0:
            query = unit(rng, DIM)
            assert_same(gallery.search(query[None], top_k=50)[0], brute_force(held, query, 50))
    assert gallery.verify() == []


def test_equal_scores_come_by_id_however_they_were_stored(gallery: LocalGallery, rng: np.random.Generator) -> None:
    same, other = unit(rng, DIM), unit(rng, DIM)
    names = [f"{number:03d}" for number in rng.permutation(200)]
    gallery.upsert([new_item(name, rng, image_embedding=same) for name in names])
    gallery.upsert([new_item("far", rng, image_embedding=-same), new_item("near", rng, image_embedding=other)])
    gallery.delete("000")
    for top_k in (1, 3, 150):
        hits = gallery.search(same[None], top_k=top_k)[0]
        assert [hit.id for hit in hits] == [f"{number:03d}" for number in range(1, top_k + 1)]


def test_excluded_items_are_left_out_and_others_fill_their_place(
    gallery: LocalGallery, rng: np.random.Generator
) -> None:
    items = [new_item(f"i{number}", rng) for number in range(20)]
    gallery.upsert(items)
    query = unit(rng, 1, DIM)
    everything = gallery.search(query, top_k=20)[0]
    left_out = {everything[0].id, everything[2].id, "not there"}
    wanted = [hit for hit in everything if hit.id not in left_out][:5]
    assert gallery.search(query, top_k=5, exclude=left_out)[0] == wanted


@pytest.mark.parametrize("top_k", [0, -1, 10_001])
def test_top_k_is_checked(gallery: LocalGallery, rng: np.random.Generator, top_k: int) -> None:
    with pytest.raises(GalleryError):
        gallery.search(unit(rng, 1, DIM), top_k=top_k)


@pytest.mark.parametrize(
    "queries", [np.zeros(DIM), np.zeros((1, DIM + 1)), np.full((1, DIM), np.inf), np.zeros((1, 1, DIM))]
)
def test_queries_are_checked(gallery: LocalGallery, queries: np.ndarray) -> None:
    with pytest.raises(GalleryError) as refused:
        gallery.search(queries.astype(np.float32), top_k=1)
    assert refused.value.code == "vector_invalid"


def test_no_queries_no_answers_and_no_items_no_hits(gallery: LocalGallery, rng: np.random.Generator) -> None:
    assert gallery.search(np.empty((0, DIM), np.float32), top_k=3) == []
    assert gallery.search(unit(rng, 2, DIM), top_k=3, filter=parse_filter({"a": 1})) == [[], []]


# Filters against the same question asked of every item


def by_hand(obj: Any, metadata: dict[str, Any]) -> bool:
    """The meaning of a filter, written a second time and plainly."""
    results = []
    for name, value in obj.items():
        if name == "and":
            results.append(all(by_hand(part, metadata) for part in value))
        elif name == "or":
            results.append(any(by_hand(part, metadata) for part in value))
        elif name == "not":
            results.append(not by_hand(value, metadata))
        else:
            results.append(_field_by_hand(metadata, name, value))
    return all(results)


def _field_by_hand(metadata: dict[str, Any], name: str, condition: Any) -> bool:
    values = _values(metadata, name.split("."))
    if not isinstance(condition, dict):
        return any(_equal(value, condition) for value in values)
    is_there = bool(values)
    if "exists" in condition and condition["exists"] != is_there:
        return False
    rest = {key: bound for key, bound in condition.items() if key != "exists"}
    return not rest or any(all(_meets(value, key, bound) for key, bound in rest.items()) for value in values)


def _values(node: Any, path: list[str]) -> list[Any]:
    if isinstance(node, list):
        return [value for member in node for value in _values(member, path)]
    if path:
        return _values(node[path[0]], path[1:]) if isinstance(node, dict) and path[0] in node else []
    return [] if isinstance(node, dict) else [node]


def _equal(a: Any, b: Any) -> bool:
    return _same_kind(a, b) and a == b


def _same_kind(a: Any, b: Any) -> bool:
    def kind(value: Any) -> str:
        return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__

    return kind(a) == kind(b)


def _meets(value: Any, key: str, bound: Any) -> bool:
    if key == "in":
        return any(_equal(value, member) for member in bound)
    if not _same_kind(value, bound):
        return False
    return {"gt": value > bound, "gte": value >= bound, "lt": value < bound, "lte": value <= bound}[key]


NUMBERS = st.sampled_from([0, 1, 2, -1, 0.5, 1.0, -0.0, 2**53, 2**53 + 1, float(2**53), 2**63 - 1, 1e300])
TEXTS = st.sampled_from(["", "a", "A", "b", "1", "é", "\u0000", "ﬁ", "😀", "%", "'", '"', "a.b"])
SCALARS = st.one_of(NUMBERS, TEXTS, st.booleans(), st.none())
FIELDS = st.sampled_from(["a", "b", "c", "d'--", 'e"', "é"])
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=3), st.dictionaries(FIELDS, SCALARS, max_size=2))
METADATA = st.dictionaries(FIELDS, VALUES, max_size=4)
PATHS = st.one_of(FIELDS, st.tuples(FIELDS, FIELDS).map(".".join))
BOUNDS = st.dictionaries(st.sampled_from(["gt", "gte", "lt", "lte"]), st.one_of(NUMBERS, TEXTS), min_size=1)
CONDITIONS = st.one_of(
    SCALARS,
    BOUNDS,
    st.fixed_dictionaries({"in": st.lists(SCALARS, min_size=1, max_size=4)}),
    st.fixed_dictionaries({"in": st.lists(SCALARS, min_size=1, max_size=4), "gte": NUMBERS}),
    st.fixed_dictionaries({"exists": st.booleans()}),
    st.fixed_dictionaries({"exists": st.booleans(), "lt": TEXTS}),
)
FILTERS = st.recursive(
    st.dictionaries(PATHS, CONDITIONS, max_size=2),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"and": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"or": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"not": inner}),
    ),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(metadata=st.lists(METADATA, min_size=1, max_size=12), filters=st.lists(FILTERS, min_size=1, max_size=6))
def test_filters_say_what_they_mean(
    gallery: LocalGallery, metadata: list[dict[str, Any]], filters: list[dict[str, Any]]
) -> None:
    rng = np.random.default_rng(1)
    gallery.upsert([new_item(f"i{number}", rng, metadata=known) for number, known in enumerate(metadata)])
    for number in range(len(metadata), 12):
        gallery.delete(f"i{number}")
    query = unit(rng, 1, DIM)
    for obj in filters:
        parsed = parse_filter(obj)
        passing = {f"i{number}" for number, known in enumerate(metadata) if parsed.matches(known)}
        assert {hit.id for hit in gallery.search(query, top_k=20, filter=parsed)[0]} == passing
        assert {item.id for item in gallery.page(filter=parsed).items} == passing
        for number, known in enumerate(metadata):
            if not any(isinstance(value, dict) for value in known.values()):
                assert (f"i{number}" in passing) == by_hand(obj, known), (obj, known)


@settings(max_examples=100, deadline=None)
@given(metadata=METADATA, obj=FILTERS)
def test_filters_mean_the_same_read_plainly(metadata: dict[str, Any], obj: dict[str, Any]) -> None:
    if "exists" not in repr(obj):
        assert parse_filter(obj).matches(metadata) == by_hand(obj, metadata)


def test_exists_on_an_object_asks_for_anything_in_it(gallery: LocalGallery, rng: np.random.Generator) -> None:
    known = {"full": {"a": {"b": 1}}, "null": {"a": None}, "empty": {"a": {}}, "none": {}, "list": {"a": []}}
    gallery.upsert([new_item(name, rng, metadata=metadata) for name, metadata in known.items()])
    found = gallery.page(filter=parse_filter({"a": {"exists": True}})).items
    assert {item.id for item in found} == {"full", "null"}


@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 0.5, 1.0])
def test_filtered_search_is_exact_at_every_selectivity(
    gallery: LocalGallery, rng: np.random.Generator, share: float
) -> None:
    number = 3000
    vectors = unit(rng, number, DIM)
    ranks = rng.permutation(number)
    gallery.upsert(
        [
            new_item(f"i{at}", rng, image_embedding=vectors[at], metadata={"rank": int(ranks[at])})
            for at in range(number)
        ]
    )
    limit = int(number * share)
    passing = {f"i{at}": vectors[at] for at in range(number) if ranks[at] < limit}
    for queries in (unit(rng, 1, DIM), unit(rng, 30, DIM)):
        found = gallery.search(queries, top_k=10, filter=parse_filter({"rank": {"lt": limit}}))
        for query, hits in zip(queries, found, strict=True):
            assert_same(hits, brute_force(passing, query, 10))


def test_a_filter_follows_writes(gallery: LocalGallery, rng: np.random.Generator) -> None:
    red = parse_filter({"colour": "red"})
    gallery.upsert([new_item("a", rng, metadata={"colour": "red"})])
    query = unit(rng, 1, DIM)
    assert [hit.id for hit in gallery.search(query, top_k=5, filter=red)[0]] == ["a"]
    gallery.upsert([new_item("b", rng, metadata={"colour": "red"}), new_item("a", rng, metadata={"colour": "blue"})])
    assert [hit.id for hit in gallery.search(query, top_k=5, filter=red)[0]] == ["b"]
    gallery.delete("b")
    assert gallery.search(query, top_k=5, filter=red) == [[]]


def test_what_is_known_of_a_filter_follows_every_write(gallery: LocalGallery) -> None:
    """Brought up to date from the write itself, it is what SQLite says of the whole gallery."""
    rng = np.random.default_rng(5)
    filters = [parse_filter(obj) for obj in ({"n": {"lt": 5}}, {"not": {"n": 3}}, {"tags": "a"}, {"gone": 1})]
    for step in range(120):
        if rng.random() < 0.3:
            gallery.delete(f"i{rng.integers(30)}")
        else:
            ids = rng.choice(30, rng.integers(1, 6))
            gallery.upsert(
                [
                    new_item(
                        f"i{at}", rng, metadata={"n": int(rng.integers(10)), "tags": ["a", "b"][: rng.integers(3)]}
                    )
                    for at in ids
                ]
            )
        for filter in filters:
            if step:  # asked for the first time below, and kept from then on
                assert gallery._filtered[filter][0] == gallery.info().version
            version, wanted = gallery._store.matching_rows(filter)
            np.testing.assert_array_equal(gallery._rows_passing(filter).rows, wanted)
            assert version == gallery.info().version


# Pages


def all_pages(gallery: LocalGallery, *, limit: int, between: Callable[[], None] = lambda: None, **options: Any) -> list:
    ids, cursor = [], None
    while True:
        page = gallery.page(cursor=cursor, limit=limit, **options)
        ids += [item.id for item in page.items]
        if page.next_cursor is None:
            return ids
        cursor = page.next_cursor
        between()


@pytest.mark.parametrize("limit", [1, 3, 10, 1000])
def test_pages_show_every_item_once_in_order(gallery: LocalGallery, rng: np.random.Generator, limit: int) -> None:
    gallery.upsert([new_item(f"i{number}", rng, metadata={"odd": number % 2 == 1}) for number in range(20)])
    assert all_pages(gallery, limit=limit) == [f"i{number}" for number in range(20)]
    odd = parse_filter({"odd": True})
    assert all_pages(gallery, limit=limit, filter=odd) == [f"i{number}" for number in range(1, 20, 2)]


def test_pages_stand_still_under_writes(gallery: LocalGallery, rng: np.random.Generator) -> None:
    gallery.upsert([new_item(f"i{number}", rng) for number in range(30)])
    deleted: set[str] = set()

    def write() -> None:
        step = len(deleted)
        if step == 8:
            return  # so that the end can be reached
        deleted.add(f"i{3 * step}")
        gallery.delete(f"i{3 * step}")
        gallery.upsert([new_item(f"i{29 - step}", rng, content_digest="again"), new_item(f"new{step}", rng)])

    seen = all_pages(gallery, limit=4, between=write)
    always_there = [f"i{number}" for number in range(30) if f"i{number}" not in deleted]
    assert [item_id for item_id in seen if item_id in always_there] == always_there
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize("cursor", ["", "x", "-1", "1.5", "9" * 30, "١"])
def test_cursors_are_checked(gallery: LocalGallery, cursor: str) -> None:
    with pytest.raises(GalleryError) as refused:
        gallery.page(cursor=cursor)
    assert refused.value.code == "cursor_invalid"


@pytest.mark.parametrize("limit", [0, 1001])
def test_page_sizes_are_checked(gallery: LocalGallery, limit: int) -> None:
    with pytest.raises(GalleryError):
        gallery.page(limit=limit)
