"""The galleries that are served, by name: sub-directories of one directory, and the one that the operator named."""

import copy
import logging
import re
import shutil
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

from index import Gallery, open_gallery
from index.cards import Cards
from index.features import DEFAULT_PATCH_TOKENS, PatchTokens
from index.milvus_server import SCHEME
from runtime.errors import GalleryError
from server.schemas.common import GALLERY_NAME

DEFAULT = "default"

_log = logging.getLogger(__name__)
_NAME = re.compile(GALLERY_NAME)


class Galleries:
    """Open galleries. Methods may be called from several threads; all of them may wait for a disk."""

    def __init__(
        self,
        root: Path,
        *,
        default: str | None,
        space: str,
        dim: int,
        has_model: Callable[[str], bool],
        cards: Cards | None = None,
        patch_tokens: PatchTokens = DEFAULT_PATCH_TOKENS,
    ) -> None:
        """Open what is there; the default gallery is made when it is missing.

        Args:
            root: its sub-directories are galleries; made when missing.
            default: address of the gallery served as `default`; `root/default` when None.
            space: the embedding space of the bundle.
            dim: length of its vectors.
            has_model: says whether there is a model for galleries of another space.
            cards: GPUs that may search large galleries.
            patch_tokens: how galleries that are made here keep what belongs to patches, unless they are told.

        Raises:
            GalleryError: the default gallery cannot be opened. One of the others that cannot be is left closed, with a
                warning, and whoever asks for it is told why.
        """
        self._root = root
        self._named_default = default
        self._space = space
        self._dim = dim
        self._has_model = has_model
        self._cards = cards
        self._patch_tokens = patch_tokens
        self._lock = threading.Lock()  # taken before the next, where both are
        self._names_lock = threading.Lock()
        self._open: dict[str, Gallery] = {}
        self._closed: dict[str, GalleryError] = {}
        self._open[DEFAULT] = self._open_one(default or root / DEFAULT, create=True)
        for directory in sorted(root.iterdir()) if root.is_dir() else ():
            if directory.is_dir() and _NAME.fullmatch(directory.name) and directory.name not in self._open:
                self._open_or_warn(directory)

    def get(self, name: str) -> Gallery:
        """Return an open gallery.

        Raises:
            GalleryError: `unknown_gallery`, or why it could not be opened.
        """
        gallery = self._open.get(name)
        if gallery is None:
            raise self._closed.get(name) or GalleryError(
                f"there is no gallery '{name[:64]}'; GET /galleries lists them, POST /galleries makes one.",
                code="unknown_gallery",
            )
        return gallery

    def all(self) -> dict[str, Gallery]:
        """Return every open gallery by name, in order."""
        return dict(sorted(self._open.items()))

    def pinned(self, name: str) -> "Galleries":
        """Return the galleries with this one as it is now, whatever takes its place later."""
        other = copy.copy(self)
        other._open = {**self._open, name: self.get(name)}
        return other

    def replace(self, name: str, gallery: Gallery, successor: Gallery) -> None:
        """Serve the successor of a gallery in its place, unless that is gone."""
        with self._names_lock:
            if self._open.get(name) is gallery:
                self._open[name] = successor
                if name == DEFAULT:  # galleries that are made from now on are of its model
                    info = successor.info()
                    self._space, self._dim = info.space, info.dim

    def create(self, name: str, *, patch_tokens: PatchTokens | None = None) -> Gallery:
        """Make a gallery, which keeps what belongs to patches so.

        Raises:
            GalleryError: `gallery_exists`.
        """
        with self._lock:
            if name in self._open or name in self._closed:
                raise GalleryError(f"there is a gallery '{name}' already.", code="gallery_exists")
            self._open[name] = self._open_one(self._root / name, create=True, patch_tokens=patch_tokens)
            return self._open[name]

    def delete(self, name: str) -> None:
        """Close a gallery and remove its directory with everything in it.

        Raises:
            GalleryError: `unknown_gallery`, or `gallery_kept` for the one that the operator named.
        """
        with self._lock:
            gallery = self.get(name)
            if name == DEFAULT and self._named_default is not None:
                raise GalleryError(
                    "the default gallery was named by the operator and is not deleted over HTTP.", code="gallery_kept"
                )
            with self._names_lock:
                del self._open[name]
            gallery.close()
            # Renamed first: if removing stops half way, no broken gallery is left under the name.
            doomed = (self._root / name).rename(self._root / f".deleted-{uuid.uuid4().hex}")
            shutil.rmtree(doomed)

    def close(self) -> None:
        """Close every gallery."""
        with self._lock:
            for gallery in self._open.values():
                gallery.close()
            self._open.clear()

    def _open_one(self, place: str | Path, *, create: bool, patch_tokens: PatchTokens | None = None) -> Gallery:
        """Open one gallery; beside another process that writes in it, for reading only."""
        try:
            return self._open_for_model(place, create=create, read_only=False, patch_tokens=patch_tokens)
        except GalleryError as error:
            if error.code not in ("gallery_locked", "gallery_read_only"):
                raise
            gallery = self._open_for_model(place, create=False, read_only=True)
            _log.warning(
                "gallery opened for reading only",
                extra={"fields": {"event": "gallery_read_only", "gallery": str(place), "reason": str(error)}},
            )
            return gallery

    def _open_for_model(
        self, place: str | Path, *, create: bool, read_only: bool, patch_tokens: PatchTokens | None = None
    ) -> Gallery:
        kept = None if str(place).startswith(f"{SCHEME}://") else patch_tokens or self._patch_tokens
        try:
            return open_gallery(
                place,
                space=self._space,
                dim=self._dim,
                create=create,
                read_only=read_only,
                cards=self._cards,
                patch_tokens=kept,
            )
        except GalleryError as error:
            if error.code != "space_mismatch":
                raise
            gallery = open_gallery(place, read_only=read_only, cards=self._cards)
            if not self._has_model(gallery.space):
                gallery.close()
                raise
            return gallery

    def _open_or_warn(self, directory: Path) -> None:
        try:
            self._open[directory.name] = self._open_one(directory, create=False)
        except GalleryError as error:
            if error.code != "unknown_gallery":
                self._closed[directory.name] = error
            _log.warning(
                "gallery not opened",
                extra={"fields": {"event": "gallery_not_opened", "gallery": directory.name, "reason": str(error)}},
            )
