"""Locks: many readers or one writer within the process, and one writing process for a gallery's folder."""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runtime.errors import GalleryError


class ReadWriteLock:
    """Many readers or one writer. A waiting writer goes before readers that come after it.

    `with lock.reading:` and `with lock.writing():`
    """

    def __init__(self) -> None:
        self._condition = threading.Condition(threading.Lock())
        self._num_readers = 0
        self._waiting_writers = 0
        self._is_writing = False
        self.reading = _Reading(self)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the lock alone."""
        with self._condition:
            self._waiting_writers += 1
            while self._is_writing or self._num_readers:
                self._condition.wait()
            self._waiting_writers -= 1
            self._is_writing = True
        try:
            yield
        finally:
            with self._condition:
                self._is_writing = False
                self._condition.notify_all()

    def _begin_reading(self) -> None:
        with self._condition:
            while self._is_writing or self._waiting_writers:
                self._condition.wait()
            self._num_readers += 1

    def _end_reading(self) -> None:
        with self._condition:
            self._num_readers -= 1
            if not self._num_readers:
                self._condition.notify_all()


class _Reading:
    """Holds a lock together with other readers; plain, because every search passes here."""

    def __init__(self, lock: ReadWriteLock) -> None:
        self._end = lock._end_reading
        self._begin = lock._begin_reading

    def __enter__(self) -> None:
        self._begin()

    def __exit__(self, *_: object) -> None:
        self._end()


class FolderLock:
    """Held by the one process that may write in a gallery's folder; the kernel frees it when the process ends."""

    def __init__(self, path: Path) -> None:
        """Take the lock at once.

        Raises:
            GalleryError: `gallery_locked` when another opener holds it, `gallery_read_only` when the folder cannot be
                written.
        """
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise GalleryError(
                f"{path.parent} cannot be written ({error.strerror}): open the gallery read-only, or fix the folder.",
                code="gallery_read_only",
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(self._file, 32).decode(errors="replace").strip()
            os.close(self._file)
            raise GalleryError(
                f"{path.parent} is open for writing already (process {holder or 'unknown'}): "
                "stop that one first, or open the gallery read-only.",
                code="gallery_locked",
            ) from error
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let the next one in."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
