"""Many items in few requests: cut into batches as they are read, and noted down so that a run can go on."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from runtime.errors import ImageError, UsageError, VernierError
from vernier.client.calls import NewItem, item_line
from vernier.client.models import ItemOutcome, Problem
from vernier.client.pictures import ItemReference, PictureOrReference, UrlReference, encoded

Hook = Callable[[int, int], None]
"""Called with (items done, items); 0 items when that is not known."""


@dataclass(slots=True)
class Batch:
    """Some items on their way, in the caller's order.

    Attributes:
        lines: what is sent.
        marks: by which the journal knows each line; empty without a journal.
        known: what became of each item as far as it is known already; None for one whose line is sent.
    """

    lines: list[bytes] = field(default_factory=list)
    marks: list[bytes] = field(default_factory=list)
    known: list[ItemOutcome | None] = field(default_factory=list)

    def merged(self, answered: list[ItemOutcome]) -> list[ItemOutcome]:
        """Put the server's outcomes in the places of the lines that were sent."""
        rest = iter(answered)
        return [next(rest) if outcome is None else outcome for outcome in self.known]


class Journal:
    """The items that a bulk write has brought in, in a file: a run that was interrupted goes on behind them.

    An item counts as brought in while its id, text, metadata and picture are the same; a picture's file is known by its
    path, size and time of change, so that it need not be read again.

    Args:
        file: made when missing.
        server: the server's address.
        gallery: its name there.

    Raises:
        UsageError: the file is no journal, or one of another gallery.
    """

    def __init__(self, file: str | os.PathLike[str], *, server: str, gallery: str) -> None:
        try:
            self._notes = sqlite3.connect(file, check_same_thread=False)  # the async client reads items on a thread
            with self._notes:
                self._notes.execute("CREATE TABLE IF NOT EXISTS journal (server TEXT, gallery TEXT)")
                self._notes.execute("CREATE TABLE IF NOT EXISTS done (mark BLOB PRIMARY KEY) WITHOUT ROWID")
                about = self._notes.execute("SELECT server, gallery FROM journal").fetchone()
                if about is None:
                    self._notes.execute("INSERT INTO journal VALUES (?, ?)", (server, gallery))
        except sqlite3.Error as error:
            raise UsageError(f"{os.fspath(file)} cannot be used as a journal ({error}); name another file.") from error
        if about not in (None, (server, gallery)):
            self.close()
            raise UsageError(
                f"{os.fspath(file)} is the journal of gallery '{about[1]}' at {about[0]}; name another file."
            )

    def close(self) -> None:
        """Close the file."""
        self._notes.close()

    def has(self, mark: bytes) -> bool:
        """Say whether an item was brought in before."""
        return self._notes.execute("SELECT 1 FROM done WHERE mark = ?", (mark,)).fetchone() is not None

    def note(self, batch: Batch, answered: list[ItemOutcome]) -> None:
        """Note down what the server acknowledged."""
        done = [(mark,) for mark, outcome in zip(batch.marks, answered, strict=True) if outcome.ok]
        with self._notes:
            self._notes.executemany("INSERT OR IGNORE INTO done VALUES (?)", done)


def journal_of(
    file: str | os.PathLike[str] | None, *, server: str, gallery: str
) -> AbstractContextManager[Journal | None]:
    """Return the journal in a file; one that is None when no file is named."""
    return nullcontext() if file is None else closing(Journal(file, server=server, gallery=gallery))


def batches(items: Iterable[NewItem], journal: Journal | None, *, max_items: int, max_bytes: int) -> Iterator[Batch]:
    """Cut items into bulk writes, never holding more than one of them.

    What the journal has is `skipped`; an item whose picture cannot be read here has a problem. Neither is sent.
    """
    batch, size = Batch(), 0
    for item in items:
        mark, line = _prepared(item, journal)
        if batch.lines and isinstance(line, bytes) and size + len(line) > max_bytes:
            yield batch
            batch, size = Batch(), 0
        if isinstance(line, bytes):
            batch.lines.append(line)
            batch.marks += [] if mark is None else [mark]
            batch.known.append(None)
            size += len(line) + 1
        else:
            batch.known.append(line)
        if len(batch.known) >= max_items:
            yield batch
            batch, size = Batch(), 0
    if batch.known:
        yield batch


@contextmanager
def reporting(progress: bool | Hook, items: Iterable[NewItem]) -> Iterator[Callable[[int], None]]:
    """Give what is told how many items are done: a bar or lines on stderr, the caller's hook, or nothing."""
    total = len(items) if isinstance(items, Sized) else 0
    if callable(progress):
        yield lambda done: progress(done, total)
    elif progress:
        from vernier.progress import progress as shown

        with shown("Adding") as hook:
            yield lambda done: hook(done, total)
    else:
        yield lambda _: None


def _prepared(item: NewItem, journal: Journal | None) -> tuple[bytes | None, bytes | ItemOutcome]:
    """The journal's mark of an item, and its line or what became of it."""
    try:
        mark = None if journal is None else _mark(item)
        if journal is not None and mark is not None and journal.has(mark):
            return mark, ItemOutcome(id=item.id, outcome="skipped")
        return mark, item_line(item)
    except VernierError as error:
        return None, ItemOutcome(id=item.id, problem=Problem(code=error.code, status=422, detail=str(error)))


def _mark(item: NewItem) -> bytes:
    said = [item.id, item.text, None if item.metadata is None else dict(item.metadata), _picture_mark(item.image)]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).digest()


def _picture_mark(picture: PictureOrReference | None) -> list[str | int] | None:
    if picture is None:
        return None
    if isinstance(picture, UrlReference):
        return ["url", picture.url]
    if isinstance(picture, ItemReference):
        return ["item", picture.id]
    if isinstance(picture, str | os.PathLike):
        try:
            file = Path(picture).resolve()
            about = file.stat()
        except OSError as error:
            raise ImageError(f"the picture {picture} cannot be read: {error.strerror or error}.") from error
        return ["file", str(file), about.st_size, about.st_mtime_ns]
    return ["bytes", hashlib.sha256(encoded(picture)).hexdigest()]
