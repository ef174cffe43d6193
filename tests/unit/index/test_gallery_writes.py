"""What is written is there, afterwards and after opening again; what cannot be stored is refused."""

import os
import stat
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from index import LocalGallery, NewItem, check_gallery_name, open_gallery
from runtime.errors import GalleryError
from tests.unit.index.conftest import DIM, SPACE, new_item, rounded, unit

Open = Callable[..., LocalGallery]


def test_an_item_comes_back_as_it_was_stored(gallery: LocalGallery, rng: np.random.Generator) -> None:
    item = new_item(
        "animals/köter 1.jpg",
        rng,
        metadata={"tags": ["dog", "red"], "size": {"w": 3}, "good": True, "n": None},
        text="a red dog",
        text_embedding=unit(rng, DIM),
        picture=b"jpeg bytes",
    )
    assert gallery.upsert([item]) == ["created"]

    stored = gallery.get(item.id)
    assert stored is not None
    assert (stored.id, stored.text, stored.metadata) == (item.id, item.text, item.metadata)
    assert stored.content_digest == item.content_digest
    assert set(stored.targets) == {"image", "text"}
    assert stored.has_picture
    assert gallery.picture(item.id) == b"jpeg bytes"
    np.testing.assert_array_equal(gallery.vector(item.id, target="text"), item.text_embedding)
    assert gallery.get_many([item.id, "no such"]).keys() == {item.id}
    assert gallery.get("no such") is None
    assert gallery.picture("no such") is None
    assert gallery.vector("no such") is None


def test_outcomes_and_version_say_what_happened(gallery: LocalGallery, rng: np.random.Generator) -> None:
    first, second = new_item("a", rng), new_item("b", rng)
    assert gallery.upsert([first, second]) == ["created", "created"]
    assert gallery.info().version == 1
    assert gallery.upsert([first]) == ["unchanged"]
    assert gallery.info().version == 1
    assert gallery.upsert([first, replace(second, metadata={"n": 1})]) == ["unchanged", "replaced"]
    assert gallery.delete("a")
    assert not gallery.delete("a")
    assert gallery.info().version == 3
    assert gallery.info().items == 1
    assert gallery.upsert([]) == []


def test_true_is_not_one_when_items_are_compared(gallery: LocalGallery, rng: np.random.Generator) -> None:
    item = new_item("a", rng, metadata={"n": 1})
    gallery.upsert([item])
    assert gallery.upsert([replace(item, metadata={"n": True})]) == ["replaced"]


def test_the_later_of_two_items_with_one_id_stays(gallery: LocalGallery, rng: np.random.Generator) -> None:
    early, late = new_item("a", rng, content_digest="1"), new_item("a", rng, content_digest="2")
    assert gallery.upsert([early, late]) == ["created", "replaced"]
    hits = gallery.search(np.stack([late.image_embedding]), top_k=5)[0]
    assert [hit.id for hit in hits] == ["a"]
    assert hits[0].score == pytest.approx(1.0, abs=1e-5)


def test_a_replaced_item_loses_what_the_new_one_lacks(gallery: LocalGallery, rng: np.random.Generator) -> None:
    full = new_item("a", rng, text="x", text_embedding=unit(rng, DIM), picture=b"jpeg", metadata={"n": 1})
    gallery.upsert([full])
    gallery.upsert([new_item("a", rng, image_embedding=None, text="y", text_embedding=unit(rng, DIM))])
    assert gallery.picture("a") is None
    assert gallery.vector("a", target="image") is None
    assert gallery.search(unit(rng, 1, DIM), top_k=5, target="image") == [[]]
    assert [hit.id for hit in gallery.search(unit(rng, 1, DIM), top_k=5, target="text")[0]] == ["a"]
    assert gallery.verify() == []


def test_everything_is_there_after_opening_again(open_here: Open, rng: np.random.Generator) -> None:
    gallery = open_here()
    items = [new_item(f"item {number}", rng, metadata={"n": number}) for number in range(50)]
    gallery.upsert(items)
    gallery.delete("item 7")
    gallery.upsert([replace(items[3], image_embedding=unit(rng, DIM), content_digest="new")])
    queries = unit(rng, 5, DIM)
    before, info = rounded(gallery.search(queries, top_k=50)), gallery.info()
    gallery.close()

    again = open_here(create=False)
    assert rounded(again.search(queries, top_k=50)) == before
    assert again.info() == info
    assert again.verify() == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"id": ""}, "item_id_invalid"),
        ({"id": "x" * 257}, "item_id_invalid"),
        ({"id": "line\nbreak"}, "item_id_invalid"),
        ({"id": "half \ud800"}, "item_id_invalid"),
        ({"metadata": {"and": 1}}, "metadata_invalid"),
        ({"metadata": {"": 1}}, "metadata_invalid"),
        ({"metadata": {"x": float("nan")}}, "metadata_invalid"),
        ({"metadata": {"x": 2**64}}, "metadata_invalid"),
        ({"metadata": {"x": "half \ud800"}}, "metadata_invalid"),
        ({"metadata": {"x": object()}}, "metadata_invalid"),
        ({"metadata": {"x": "y" * 70_000}}, "metadata_invalid"),
        ({"metadata": {"a" * 300: 1}}, "metadata_invalid"),
        ({"metadata": {"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": {"i": 1}}}}}}}}}}, "metadata_invalid"),
        ({"metadata": [1]}, "metadata_invalid"),
        ({"text": "  "}, "text_invalid"),
        ({"image_embedding": None}, "vector_invalid"),
        ({"image_embedding": np.ones(DIM + 1, np.float32)}, "vector_invalid"),
        ({"image_embedding": np.ones(DIM, np.float32)}, "vector_invalid"),
        ({"image_embedding": np.full(DIM, np.nan, np.float32)}, "vector_invalid"),
    ],
)
def test_what_cannot_be_stored_is_refused_and_nothing_is_written(
    gallery: LocalGallery, rng: np.random.Generator, change: dict[str, object], code: str
) -> None:
    good, bad = new_item("good", rng), replace(new_item("bad", rng), **change)
    with pytest.raises(GalleryError) as refused:
        gallery.upsert([good, bad])
    assert refused.value.code == code
    assert gallery.info().items == 0
    assert gallery.info().version == 0


def test_a_vector_of_nearly_unit_length_is_made_exact(gallery: LocalGallery, rng: np.random.Generator) -> None:
    gallery.upsert([new_item("a", rng, image_embedding=unit(rng, DIM) * np.float32(1.004))])
    assert np.linalg.norm(gallery.vector("a")) == pytest.approx(1, abs=1e-6)


def test_a_bundle_of_another_space_is_refused_naming_both(open_here: Open) -> None:
    open_here().close()
    with pytest.raises(GalleryError, match=r"(?s)space-of-the-tests.*other-space") as refused:
        open_here(space="other-space")
    assert refused.value.code == "space_mismatch"
    with pytest.raises(GalleryError) as refused:
        open_here(dim=DIM + 1)
    assert refused.value.code == "space_mismatch"
    assert open_here(space=None, dim=None, create=False).info().space == SPACE


def test_a_gallery_that_is_not_there_is_made_only_when_asked(tmp_path: Path) -> None:
    with pytest.raises(GalleryError) as refused:
        open_gallery(tmp_path / "none", space=SPACE, dim=DIM)
    assert refused.value.code == "unknown_gallery"
    assert not (tmp_path / "none").exists()
    with pytest.raises(GalleryError) as refused:
        open_gallery("s3://somewhere", space=SPACE, dim=DIM, create=True)
    assert refused.value.code == "gallery_uri_invalid"


@pytest.mark.parametrize("name", ["", "Upper", "-dash", "dot.dot", "a" * 65, "../up", "naïve", "a\n"])
def test_names_of_galleries_are_checked(name: str) -> None:
    with pytest.raises(GalleryError) as refused:
        check_gallery_name(name)
    assert refused.value.code == "gallery_name_invalid"


def test_a_second_writer_is_refused_and_readers_are_not(open_here: Open, rng: np.random.Generator) -> None:
    writer = open_here()
    with pytest.raises(GalleryError, match=str(os.getpid())) as refused:
        open_here()
    assert refused.value.code == "gallery_locked"

    reader = open_here(create=False, read_only=True)
    item = new_item("seen at once", rng)
    writer.upsert([item])
    assert [hit.id for hit in reader.search(np.stack([item.image_embedding]), top_k=1)[0]] == [item.id]
    writer.snapshot()
    writer.delete(item.id)
    assert reader.search(np.stack([item.image_embedding]), top_k=1) == [[]]
    assert reader.info() == writer.info()
    for write in (lambda: reader.upsert([item]), lambda: reader.delete(item.id), reader.snapshot):
        with pytest.raises(GalleryError) as refused:
            write()
        assert refused.value.code == "gallery_read_only"
    writer.close()
    open_here().upsert([item])


def test_a_closed_gallery_says_so(gallery: LocalGallery, rng: np.random.Generator) -> None:
    gallery.close()
    gallery.close()
    for use in (
        lambda: gallery.upsert([new_item("a", rng)]),
        lambda: gallery.search(unit(rng, 1, DIM), top_k=1),
        lambda: gallery.get("a"),
        gallery.verify,
    ):
        with pytest.raises(GalleryError) as refused:
            use()
        assert refused.value.code == "gallery_closed"


@pytest.mark.skipif(os.name != "posix", reason="file permissions")
def test_a_folder_that_cannot_be_written(rng: np.random.Generator) -> None:
    """As a user without rights: root may write everywhere, so a child process gives its rights up."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "gallery"
        with open_gallery(place, space=SPACE, dim=DIM, create=True) as gallery:
            gallery.upsert([new_item("a", rng)])
        for path in (place, *place.iterdir()):
            path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
        Path(folder).chmod(0o755)
        child = os.fork()
        if child == 0:
            os._exit(_try_without_rights(place))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        place.chmod(0o755)


def _try_without_rights(place: Path) -> int:
    try:
        if os.getuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        with open_gallery(place, read_only=True) as gallery:
            if gallery.search(unit(np.random.default_rng(0), 1, DIM), top_k=5)[0][0].id != "a":
                return 1
        try:
            open_gallery(place)
        except GalleryError as error:
            return 0 if error.code == "gallery_read_only" else 2
        return 3
    except BaseException:
        return 4


def test_new_items_need_a_digest() -> None:
    with pytest.raises(TypeError):
        NewItem(id="a")  # type: ignore[call-arg]
