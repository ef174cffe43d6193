"""Snapshots, damage, and many threads at once."""

import json
import logging
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from index import LocalGallery, parse_filter
from runtime.errors import GalleryError
from tests.unit.index.conftest import DIM, new_item, rounded, unit

Open = Callable[..., LocalGallery]


def fill(gallery: LocalGallery, rng: np.random.Generator, number: int = 60, name: str = "i") -> None:
    gallery.upsert(
        [
            new_item(
                f"{name}{at}", rng, metadata={"n": at}, text="t", text_embedding=unit(rng, DIM), picture=b"j" * 5000
            )
            for at in range(number)
        ]
    )


def answers(gallery: LocalGallery) -> list:
    queries = unit(np.random.default_rng(99), 4, DIM)
    odd = parse_filter({"n": {"in": list(range(1, 200, 2))}})
    return [
        rounded(gallery.search(queries, top_k=100, target=target, filter=filter))
        for target in ("image", "text")
        for filter in (None, odd)
    ]


def snapshot_files(gallery: LocalGallery) -> list[Path]:
    return sorted((gallery.folder / "snapshot").iterdir())


# Snapshots


def test_a_snapshot_and_what_came_after_it_make_the_same_gallery(open_here: Open, rng: np.random.Generator) -> None:
    gallery = open_here()
    fill(gallery, rng)
    gallery.snapshot()
    assert gallery.stats().changes_in_log == 0
    gallery.delete("i3")
    fill(gallery, rng, 5, "late")
    gallery.upsert([new_item("i7", rng, content_digest="replaced")])
    assert gallery.stats().changes_in_log == 7
    before, info = answers(gallery), gallery.info()
    gallery.close()
    again = open_here()
    assert again.stats().snapshot_version == 1
    assert answers(again) == before
    assert again.info() == info
    assert again.verify() == []


def test_a_new_snapshot_takes_the_place_of_the_old(gallery: LocalGallery, rng: np.random.Generator) -> None:
    fill(gallery, rng)
    gallery.snapshot()
    first = snapshot_files(gallery)
    fill(gallery, rng, 3, "late")
    gallery.snapshot()
    assert len(snapshot_files(gallery)) == len(first) == 6
    assert set(snapshot_files(gallery)) & set(first) == {gallery.folder / "snapshot" / "manifest.json"}


def test_a_snapshot_is_written_when_much_has_changed(open_here: Open, rng: np.random.Generator) -> None:
    gallery = open_here()
    fill(gallery, rng, 10)
    gallery.close()
    assert not (gallery.folder / "snapshot").exists()
    gallery = open_here()
    fill(gallery, rng, 1100)
    gallery.close()
    assert open_here().stats().snapshot_version == 2


@pytest.mark.parametrize("harm", ["flip", "truncate", "remove", "manifest", "not_json", "elsewhere"])
def test_a_damaged_snapshot_is_told_and_not_used(
    open_here: Open, rng: np.random.Generator, caplog: pytest.LogCaptureFixture, harm: str
) -> None:
    gallery = open_here()
    fill(gallery, rng)
    gallery.snapshot()
    before = answers(gallery)
    manifest = gallery.folder / "snapshot" / "manifest.json"
    victim = next(
        file for file in snapshot_files(gallery) if file.name.startswith("image") and file.suffix == ".vectors"
    )
    data = bytearray(victim.read_bytes())
    if harm == "flip":
        data[len(data) // 2] ^= 1
        victim.write_bytes(data)
    elif harm == "truncate":
        victim.write_bytes(data[:-100])
    elif harm == "remove":
        victim.unlink()
    elif harm == "not_json":
        manifest.write_text("{")
    else:
        content = json.loads(manifest.read_text())
        if harm == "manifest":
            content["version"] += 5
        else:
            content["targets"]["image"]["files"]["vectors"]["name"] = "../items.sqlite"
        manifest.write_text(json.dumps(content))
    assert any("snapshot" in problem for problem in gallery.verify())
    gallery.close()

    with caplog.at_level(logging.WARNING):
        again = open_here()
    assert "snapshot_rejected" in caplog.text
    assert answers(again) == before
    again.rebuild()
    assert again.verify() == []


def test_a_snapshot_of_another_history_is_not_used(open_here: Open, rng: np.random.Generator, tmp_path: Path) -> None:
    """The SQLite file put back from an older copy, beside a newer snapshot of the same name and version."""
    gallery = open_here()
    fill(gallery, rng, 20)
    gallery.close()
    old = (gallery.folder / "items.sqlite").read_bytes()
    gallery = open_here()
    gallery.upsert([new_item("lost", rng)])
    gallery.snapshot()
    gallery.close()
    (gallery.folder / "items.sqlite").write_bytes(old)
    gallery = open_here()
    gallery.upsert([new_item("other", rng)])  # the same version as "lost" had
    gallery.close()
    again = open_here()
    assert again.get("lost") is None
    assert again.verify() == ["snapshot: it belongs to another history of the gallery"]
    assert "lost" not in {hit.id for hit in again.search(unit(rng, 1, DIM), top_k=100)[0]}


def test_half_written_snapshots_are_swept_away(open_here: Open, rng: np.random.Generator) -> None:
    gallery = open_here()
    fill(gallery, rng)
    gallery.snapshot()
    gallery.close()
    whole = snapshot_files(gallery)
    for name in ("image.0123.vectors", "manifest.tmp"):
        (gallery.folder / "snapshot" / name).write_bytes(b"half")
    assert snapshot_files(open_here()) == whole


def test_compacting_gives_room_back_and_loses_nothing(gallery: LocalGallery, rng: np.random.Generator) -> None:
    fill(gallery, rng, 400)
    for at in range(0, 400, 2):
        gallery.delete(f"i{at}")
    before = answers(gallery)
    bytes_before, bytes_after = gallery.compact()
    assert bytes_after < 0.7 * bytes_before
    assert answers(gallery) == before
    assert gallery.verify() == []
    assert gallery.stats().changes_in_log == 0


# Damage


def test_a_file_that_is_no_database_is_refused(open_here: Open, rng: np.random.Generator) -> None:
    gallery = open_here()
    gallery.close()
    (gallery.folder / "items.sqlite").write_bytes(b"something else altogether" * 1000)
    with pytest.raises(GalleryError, match=r"items\.sqlite.*restore it") as refused:
        open_here()
    assert refused.value.code == "gallery_damaged"


def test_a_database_of_something_else_is_refused(open_here: Open) -> None:
    gallery = open_here()
    gallery.close()
    file = gallery.folder / "items.sqlite"
    file.unlink()
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE gallery_of_someone_else (x)")
    connection.close()
    with pytest.raises(GalleryError) as refused:
        open_here()
    assert refused.value.code == "gallery_damaged"


def test_a_newer_schema_is_refused(open_here: Open) -> None:
    gallery = open_here()
    gallery.close()
    with sqlite3.connect(gallery.folder / "items.sqlite") as connection:
        connection.execute("UPDATE gallery SET value = 99 WHERE key = 'schema_version'")
    connection.close()
    with pytest.raises(GalleryError, match="99") as refused:
        open_here()
    assert refused.value.code == "gallery_too_new"


def test_damaged_pages_are_found_or_refused_and_never_crash(open_here: Open, rng: np.random.Generator) -> None:
    gallery = open_here()
    fill(gallery, rng, 300)
    gallery.snapshot()
    gallery.close()
    file = gallery.folder / "items.sqlite"
    whole = file.read_bytes()
    page_bytes = int.from_bytes(whole[16:18], "big")
    refused = found = 0
    for page in range(1, len(whole) // page_bytes, 17):
        data = bytearray(whole)
        data[page * page_bytes : page * page_bytes + 200] = b"\xff" * 200
        file.write_bytes(data)
        try:
            with open_here() as again:
                found += bool(again.verify())
        except GalleryError as error:
            assert error.code == "gallery_damaged", error
            refused += 1
    assert refused + found == len(range(1, len(whole) // page_bytes, 17))
    assert found


@pytest.mark.parametrize(
    ("harm", "wanted"),
    [
        ("UPDATE image_vectors SET vector = zeroblob(64) WHERE row = 5", "is not the one in the file"),
        ("DELETE FROM image_vectors WHERE row = 5", "do not hold vectors of the same items"),
        ("DELETE FROM items WHERE row = 5", "belongs to no item"),
        ("DELETE FROM attributes WHERE row = 5", "what filters see"),
        ("UPDATE items SET metadata = '{' WHERE row = 5", "not JSON"),
        ("UPDATE items SET id = 'other' WHERE row = 5", "the same items"),
        ("UPDATE image_vectors SET vector = x'00' WHERE row = 5", "not 16 numbers long"),
        ("DELETE FROM image_vectors WHERE row = 5; DELETE FROM text_vectors WHERE row = 5", "has no vector"),
        ("UPDATE gallery SET value = 7 WHERE key = 'version'", "shows version"),
    ],
)
def test_verify_finds_what_differs(gallery: LocalGallery, rng: np.random.Generator, harm: str, wanted: str) -> None:
    fill(gallery, rng, 10)
    with sqlite3.connect(gallery.folder / "items.sqlite") as connection:
        connection.executescript(harm)
    connection.close()
    assert any(wanted in problem for problem in gallery.verify())


def test_rebuilding_mends_what_follows_from_the_items(gallery: LocalGallery, rng: np.random.Generator) -> None:
    fill(gallery, rng, 10)
    before = answers(gallery)
    with sqlite3.connect(gallery.folder / "items.sqlite") as connection:
        connection.execute("DELETE FROM attributes WHERE row IN (2, 5)")
    connection.close()
    assert len(gallery.verify()) == 2
    gallery.rebuild()
    assert gallery.verify() == []
    assert answers(gallery) == before


def test_a_full_disk_is_said_plainly_and_leaves_the_gallery_whole(
    gallery: LocalGallery, rng: np.random.Generator
) -> None:
    """SQLite's own limit of pages stands for the end of the disk: it fails in the same place with the same error."""
    fill(gallery, rng, 20)
    before = answers(gallery)
    with gallery._store.database.maintaining() as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + 4}")
    with pytest.raises(GalleryError, match="disk is full") as refused:
        fill(gallery, rng, 500, "more")
    assert refused.value.code == "gallery_full"
    assert answers(gallery) == before
    with gallery._store.database.maintaining() as connection:
        connection.execute("PRAGMA max_page_count = 1000000")
    fill(gallery, rng, 500, "more")
    assert gallery.verify() == []


def test_a_snapshot_that_cannot_be_written_leaves_everything_as_it_was(
    gallery: LocalGallery, rng: np.random.Generator
) -> None:
    fill(gallery, rng, 20)
    (gallery.folder / "snapshot").write_text("a file where the folder should be")
    with pytest.raises(GalleryError, match="the gallery itself is whole") as refused:
        gallery.snapshot()
    assert refused.value.code == "gallery_full"
    (gallery.folder / "snapshot").unlink()
    gallery.snapshot()
    assert gallery.verify() == []


# Threads


def test_readers_and_writers_together(gallery: LocalGallery, rng: np.random.Generator) -> None:
    """Items that stay are always found, those that go never come back, and no answer holds an item twice."""
    fill(gallery, rng, 50, "stays")
    stop = threading.Event()
    errors: list[BaseException] = []

    def guarded(work: Callable[[np.random.Generator], None], seed: int) -> threading.Thread:
        def run() -> None:
            own = np.random.default_rng(seed)
            try:
                while not stop.is_set():
                    work(own)
            except BaseException as error:
                errors.append(error)
                stop.set()

        return threading.Thread(target=run)

    def search(own: np.random.Generator) -> None:
        for hits in gallery.search(unit(own, int(own.integers(1, 6)), DIM), top_k=500):
            ids = [hit.id for hit in hits]
            assert len(ids) == len(set(ids))
            assert {f"stays{at}" for at in range(50)} <= set(ids)
        low = parse_filter({"n": {"lt": int(own.integers(1, 50))}})
        assert all(
            hit.id.startswith(("stays", "moves")) for hit in gallery.search(unit(own, 1, DIM), top_k=9, filter=low)[0]
        )

    def write(own: np.random.Generator) -> None:
        at = int(own.integers(30))
        item = new_item(f"moves{at}", own, metadata={"n": at}, content_digest=str(own.integers(2**60)))
        gallery.upsert([item])
        if own.random() < 0.5:
            gallery.delete(item.id)

    def page(own: np.random.Generator) -> None:
        shown = [item.id for item in gallery.page(limit=1000).items]
        assert len(shown) == len(set(shown))
        gallery.get("stays3")

    def upkeep(own: np.random.Generator) -> None:
        gallery.snapshot()
        assert gallery.verify() == []
        stop.wait(0.05)

    threads = [guarded(work, seed) for seed, work in enumerate([search, search, write, write, page, upkeep])]
    for thread in threads:
        thread.start()
    stop.wait(3)
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert gallery.verify() == []


def test_a_write_is_seen_by_the_next_search_of_any_thread(gallery: LocalGallery, rng: np.random.Generator) -> None:
    found: list[bool] = []
    for at in range(30):
        item = new_item(f"i{at}", rng)
        gallery.upsert([replace(item, metadata={"at": at})])
        queries = np.stack([item.image_embedding])
        only = parse_filter({"at": at})

        def look(queries: np.ndarray = queries, only: object = only, item_id: str = item.id) -> None:
            found.append(
                gallery.search(queries, top_k=1)[0][0].id == item_id
                and [hit.id for hit in gallery.search(queries, top_k=5, filter=only)[0]] == [item_id]  # type: ignore[arg-type]
            )

        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    assert found == [True] * 30
