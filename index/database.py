"""One SQLite file in WAL mode: a single writing connection, a pool of reading ones, and plain errors.

Knows nothing of items; `items.py` says what stands in the file.
"""

import os
import queue
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from runtime.errors import GalleryError

_BUSY_TIMEOUT_S = 10.0
_PAGE_BYTES = 8192
_WAL_LIMIT_BYTES = 64 * 2**20

_CODES = {
    sqlite3.SQLITE_CORRUPT: "gallery_damaged",
    sqlite3.SQLITE_NOTADB: "gallery_damaged",
    sqlite3.SQLITE_FULL: "gallery_full",
    sqlite3.SQLITE_READONLY: "gallery_read_only",
    sqlite3.SQLITE_CANTOPEN: "gallery_unreadable",
    sqlite3.SQLITE_PERM: "gallery_unreadable",
    sqlite3.SQLITE_IOERR: "gallery_unreadable",
    sqlite3.SQLITE_BUSY: "gallery_locked",
    sqlite3.SQLITE_LOCKED: "gallery_locked",
}

_ADVICE = {
    "gallery_damaged": "The file is damaged: restore it from a copy, or make the gallery anew from its pictures.",
    "gallery_full": "The disk is full: make room and try again; nothing was half written.",
    "gallery_read_only": "The file cannot be written: check its permissions and the file system.",
    "gallery_unreadable": "The file cannot be read: check the disk and the permissions of the gallery's folder.",
    "gallery_locked": "Another program holds the file: try again when it has finished.",
}


class Database:
    """The SQLite file of a gallery. Reads may come from any thread; writes are one at a time."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self.read_only = read_only
        self._idle: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        self._write_mutex = threading.RLock()
        self._writer: sqlite3.Connection | None = None
        self._is_closed = False

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give a connection that sees one state of the file for as long as it is held.

        Raises:
            GalleryError: the file is damaged, unreadable or closed.
        """
        with self._plain_errors():
            connection = self._take_reader()
            try:
                connection.execute("BEGIN")
                yield connection
            finally:
                self._give_back(connection)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Give the writing connection within a transaction: kept durably when the block ends, undone when it raises.

        Raises:
            GalleryError: the file is damaged, the disk is full, or the file cannot be written.
        """
        with self._write_mutex, self._plain_errors():
            connection = self._writing_connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def maintaining(self) -> Iterator[sqlite3.Connection]:
        """Give the writing connection outside any transaction, for VACUUM and checkpoints."""
        with self._write_mutex, self._plain_errors():
            yield self._writing_connection()

    def data_version(self) -> int:
        """Return SQLite's counter that moves when another process has written to the file."""
        with self._write_mutex, self._plain_errors():
            return int(self._writing_connection().execute("PRAGMA data_version").fetchone()[0])

    def close(self) -> None:
        """Close every connection that is not in use; those in use close when they come back."""
        with self._write_mutex:
            self._is_closed = True
            while not self._idle.empty():
                self._idle.get_nowait().close()
            if self._writer is not None:
                self._writer.close()
                self._writer = None

    def _take_reader(self) -> sqlite3.Connection:
        if self._is_closed:
            raise GalleryError(f"the gallery {self.path.parent} is closed.", code="gallery_closed")
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return self._connect()

    def _give_back(self, connection: sqlite3.Connection) -> None:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        if self._is_closed:
            connection.close()
        else:
            self._idle.put(connection)

    def _writing_connection(self) -> sqlite3.Connection:
        if self._is_closed:
            raise GalleryError(f"the gallery {self.path.parent} is closed.", code="gallery_closed")
        if self._writer is None:
            self._writer = self._connect()
            if not self.read_only:
                self._writer.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
                self._writer.execute("PRAGMA journal_mode = WAL")
                self._writer.execute("PRAGMA synchronous = FULL")
                self._writer.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}")
        return self._writer

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"file:{quote(str(self.path))}?{self._mode()}",
            uri=True,
            timeout=_BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
        )
        connection.execute("PRAGMA synchronous = FULL")
        return connection

    def _mode(self) -> str:
        if not self.read_only:
            return "mode=rwc"
        wal = self.path.with_name(f"{self.path.name}-wal")
        # to read a file in WAL mode SQLite writes beside it, unless it is told that nobody writes to it
        is_still = not os.access(self.path.parent, os.W_OK) and not (wal.exists() and wal.stat().st_size)
        return "mode=ro&immutable=1" if is_still else "mode=ro"

    @contextmanager
    def _plain_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise plain_error(error, self.path) from error


def plain_error(error: sqlite3.Error, path: Path) -> GalleryError:
    """Say in plain words what SQLite found, and what to do."""
    primary = getattr(error, "sqlite_errorcode", 0) & 0xFF
    code = _CODES.get(primary, "gallery_failed")
    advice = _ADVICE.get(code, "")
    return GalleryError(f"{path}: {error}. {advice}".rstrip(), code=code)
