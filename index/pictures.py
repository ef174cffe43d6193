"""Where the pictures of a gallery in Milvus are: files named by their sha256, in a shared folder or object store.

Milvus holds no pictures: a text field of it ends at 64 KiB, and it loads what it holds into memory. A picture is
written before the item that names it, and never changed, so an item that was acknowledged has its picture. Pictures
that no item names any more are removed by `remove_others`.
"""

import hashlib
import os
import re
import uuid
from collections.abc import Collection
from pathlib import Path
from typing import Any, Protocol

from runtime.errors import GalleryError

NOWHERE = "none"
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Pictures(Protocol):
    """Bytes by their digest."""

    def put(self, data: bytes) -> str:
        """Keep a picture durably, and return its digest."""
        ...

    def get(self, digest: str) -> bytes | None:
        """Return a picture."""
        ...

    def remove_others(self, kept: Collection[str]) -> int:
        """Remove every picture but these; return how many."""
        ...


def pictures_at(place: str) -> Pictures | None:
    """Return the pictures of a folder or of an address that fsspec knows; None for `none`."""
    if place == NOWHERE:
        return None
    return _Objects(place) if "://" in place else _Folder(Path(place))


class _Folder:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        file = self._file(digest)
        if file.exists():
            return digest
        temporary = file.with_name(f".{uuid.uuid4().hex}")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(file)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise GalleryError(
                f"a picture could not be written to {self._folder} ({error.strerror}); nothing was stored.",
                code="gallery_full",
            ) from error
        return digest

    def get(self, digest: str) -> bytes | None:
        try:
            return self._file(digest).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise GalleryError(
                f"{self._folder} cannot be read ({error.strerror}).", code="gallery_unreadable"
            ) from error

    def remove_others(self, kept: Collection[str]) -> int:
        found = [file for file in self._folder.glob("??/*") if _DIGEST.fullmatch(file.name) and file.name not in kept]
        for file in found:
            file.unlink(missing_ok=True)
        return len(found)

    def _file(self, digest: str) -> Path:
        return self._folder / digest[:2] / digest


class _Objects:
    """An object store through fsspec, whose puts are whole or not there."""

    def __init__(self, address: str) -> None:
        import fsspec

        self._address = address
        try:
            self._store: Any
            self._store, self._root = fsspec.core.url_to_fs(address)
        except (ImportError, ValueError) as error:
            raise GalleryError(f"pictures cannot be kept at {address}: {error}.", code="gallery_uri_invalid") from error

    def put(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        try:
            self._store.pipe_file(self._path(digest), data)
        except OSError as error:
            raise GalleryError(f"a picture could not be written ({error}).", code="gallery_unreachable") from error
        return digest

    def get(self, digest: str) -> bytes | None:
        try:
            return bytes(self._store.cat_file(self._path(digest)))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise GalleryError(f"a picture could not be read ({error}).", code="gallery_unreachable") from error

    def remove_others(self, kept: Collection[str]) -> int:
        names = [str(path) for path in self._store.find(self._root)]
        found = [path for path in names if _DIGEST.fullmatch(path[-64:]) and path[-64:] not in kept]
        for path in found:
            self._store.rm_file(path)
        return len(found)

    def _path(self, digest: str) -> str:
        return f"{self._root}/{digest[:2]}/{digest}"
