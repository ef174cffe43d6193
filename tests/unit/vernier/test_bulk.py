"""Bulk writes that go on where they were interrupted, and hold no more than one request's items."""

import os
import subprocess
import sys
import tracemalloc
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.errors import UsageError
from tests.unit.vernier.conftest import Running, picture
from vernier import AsyncClient, Client, NewItem

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def client(server: Running) -> Iterator[Client]:
    with Client(server.url) as opened:
        yield opened


@pytest.fixture
def gallery(client: Client) -> Iterator[str]:
    name = f"b{uuid.uuid4().hex[:12]}"
    client.create_gallery(name)
    yield name
    client.delete_gallery(name)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Six picture files of different sizes."""
    made = [tmp_path / f"{n}.png" for n in range(6)]
    for n, file in enumerate(made):
        picture("orange", size=(40 + n, 40)).save(file)
    return made


def items_of(files: list[Path]) -> list[NewItem]:
    return [NewItem(id=file.name, image=file) for file in files]


def test_a_second_run_sends_only_what_is_new_or_changed(
    client: Client, gallery: str, files: list[Path], tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    run = {"gallery": gallery, "max_items": 2, "journal": journal}
    first = client.add_many([*items_of(files[:4]), NewItem(id="bad", image=b"no picture")], **run)  # type: ignore[arg-type]
    assert [outcome.outcome for outcome in first] == ["created"] * 4 + [None]
    picture("red", size=(90, 90)).save(files[1])
    client.delete(files[0].name, gallery=gallery)  # the journal says what was brought in, not what is there
    items = [*items_of(files), NewItem(id="bad", image=b"no picture"), NewItem(id=files[2].name, text="red")]
    second = [outcome.outcome for outcome in client.add_many(items, **run)]  # type: ignore[arg-type]
    assert second == ["skipped", "replaced", "skipped", "skipped", "created", "created", None, "replaced"]


def test_a_run_that_is_killed_goes_on(server: Running, client: Client, gallery: str, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    program = f"""
import os, sys
from vernier import Client, NewItem
items = [NewItem(id=f"n{{n}}", text=f"a red picture {{n}}") for n in range(10)]
with Client({server.url!r}) as client:
    for done, outcome in enumerate(client.add_many(items, gallery={gallery!r}, max_items=2, journal={str(journal)!r})):
        if done == 5:
            os.kill(os.getpid(), 9)
"""
    killed = subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=60)
    assert killed.returncode == -9
    assert client.gallery(gallery).items == 6
    items = [NewItem(id=f"n{n}", text=f"a red picture {n}") for n in range(10)]
    outcomes = [o.outcome for o in client.add_many(items, gallery=gallery, max_items=2, journal=journal)]
    assert outcomes == ["skipped"] * 6 + ["created"] * 4


def test_a_journal_is_of_one_gallery(client: Client, gallery: str, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    assert list(client.add_many([], gallery=gallery, journal=journal)) == []
    with pytest.raises(UsageError, match=f"journal of gallery '{gallery}'"):
        next(client.add_many([NewItem(id="x", text="red")], gallery="other", journal=journal))
    journal.write_bytes(b"something else, long enough to be told from a database file" * 20)
    with pytest.raises(UsageError, match="cannot be used as a journal"):
        next(client.add_many([NewItem(id="x", text="red")], gallery=gallery, journal=journal))


async def test_the_async_client_keeps_a_journal_as_well(
    server: Running, gallery: str, files: list[Path], tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    async with AsyncClient(server.url) as client:
        for wanted in ("created", "skipped"):
            done = client.add_many(items_of(files), gallery=gallery, journal=journal)
            assert [outcome.outcome async for outcome in done] == [wanted] * 6


def test_a_progress_bar_needs_no_more_than_true(
    client: Client, gallery: str, files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert all(outcome.ok for outcome in client.add_many(items_of(files), gallery=gallery, progress=True))
    assert capsys.readouterr().err == "Adding: 6/6\n"
    told: list[tuple[int, int]] = []
    list(client.add_many(items_of(files), gallery=gallery, max_items=4, progress=lambda *done: told.append(done)))
    list(client.add_many(iter(items_of(files)), gallery=gallery, progress=lambda *done: told.append(done)))
    assert told == [(4, 6), (6, 6), (6, 0)]


def test_memory_does_not_grow_with_the_number_of_items(client: Client, gallery: str) -> None:
    """600 items of 100 kB are 60 MB; a request of 8 is 1 MB, held several times by client and server (one process)."""

    def many() -> Iterator[NewItem]:
        for n in range(600):
            yield NewItem(id="same", image=os.urandom(100_000), metadata={"n": n})

    tracemalloc.start()
    try:
        outcomes = sum(1 for _ in client.add_many(many(), gallery=gallery, max_items=8))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert outcomes == 600
    assert peak < 30_000_000
