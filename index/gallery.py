"""What a gallery is for whoever uses one, and how to open it."""

from collections.abc import Collection, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from index.filters import Filter
from index.local import LocalGallery
from index.records import Floats, GalleryInfo, Item, Match, NewItem, Outcome, Page, Target
from runtime.errors import GalleryError


class Gallery(Protocol):
    """Items that can be searched. Every method may be called from any thread.

    What the gallery does raises `GalleryError`, whose code says what happened: `item_id_invalid`, `metadata_invalid`,
    `vector_invalid`, `text_invalid`, `cursor_invalid`, `gallery_closed`, `gallery_damaged`, `gallery_full`,
    `gallery_read_only`, …
    """

    def info(self) -> GalleryInfo:
        """Say what the gallery is and how much is in it."""
        ...

    def upsert(self, items: Sequence[NewItem]) -> list[Outcome]:
        """Store items, all or none: durable and searchable when this returns.

        An item whose digest, text, metadata and parts are as stored is left alone ("unchanged"). When an id comes
        twice, the later item stays.
        """
        ...

    def get(self, item_id: str) -> Item | None:
        """Return one item."""
        ...

    def get_many(self, ids: Sequence[str]) -> dict[str, Item]:
        """Return those of these items that are there, by id."""
        ...

    def vector(self, item_id: str, *, target: Target = "image") -> Floats | None:
        """Return one vector of an item, [dim], to search for its like."""
        ...

    def picture(self, item_id: str) -> bytes | None:
        """Return the stored JPEG of an item, its longest side at most 512."""
        ...

    def delete(self, item_id: str) -> bool:
        """Delete an item, durably and from searches at once; say whether there was one."""
        ...

    def page(self, *, cursor: str | None = None, limit: int = 100, filter: Filter | None = None) -> Page:
        """Return items in the order they were first stored.

        Going on from `next_cursor` shows every item that was there all the while exactly once, whatever is written
        meanwhile.
        """
        ...

    def search(
        self,
        queries: Floats,
        *,
        top_k: int,
        target: Target = "image",
        filter: Filter | None = None,
        exclude: Collection[str] = (),
    ) -> list[list[Match]]:
        """Return the best items for each query, by score, equal scores by id.

        Args:
            queries: [n, dim], unit length.
            top_k: at most so many for each query.
            target: which vectors are searched; items without that vector are not found.
            filter: only items whose metadata pass; obeyed exactly.
            exclude: ids that are left out.
        """
        ...

    def upkeep(self) -> None:
        """Do what is due after many writes, and nothing when nothing is; searches and writes go on meanwhile."""
        ...

    def close(self) -> None:
        """Let go of the gallery; closing twice does no harm."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_gallery(
    uri: str | Path,
    *,
    space: str | None = None,
    dim: int | None = None,
    create: bool = False,
    read_only: bool = False,
) -> LocalGallery:
    """Open a gallery.

    Args:
        uri: the gallery's folder; its last part is the gallery's name.
        space: digest of the embedding space of the bundle it will be used with; None accepts any (for upkeep).
        dim: length of that bundle's embeddings; None accepts any.
        create: make it when it is not there; `space` and `dim` must be given.
        read_only: take no lock and write nothing. Any number may read beside the one that writes, and see its writes.

    Raises:
        GalleryError: `unknown_gallery`, `space_mismatch`, `gallery_locked`, `gallery_name_invalid`,
            `gallery_damaged`, `gallery_too_new`, `gallery_read_only`, `gallery_uri_invalid`.
    """
    if "://" in str(uri):
        raise GalleryError(f"{uri}: a gallery is a folder; name its path.", code="gallery_uri_invalid")
    return LocalGallery(Path(uri), space=space, dim=dim, create=create, read_only=read_only)
