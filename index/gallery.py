"""What a gallery is for whoever uses one, and how to open it."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from index.cards import Cards
from index.features import Kept, Part, PatchTokens
from index.filters import Filter
from index.generations import Pending, Reembedded
from index.local import LocalGallery
from index.milvus_server import SCHEME, MilvusAddress
from index.records import Floats, FrameVectors, GalleryInfo, Item, Match, NewItem, Outcome, Page, Target
from index.state import Identity
from runtime.errors import GalleryError


class Move(Protocol):
    """A gallery on its way into another embedding space: what is done of it is kept, whatever happens."""

    def progress(self) -> tuple[int, int]:
        """Return how many vectors are made, and how many there will be."""
        ...

    def pending(self, limit: int) -> list[Pending]:
        """Return items that lack their vectors, going on behind those given before; none at the end of a round."""
        ...

    def put(self, items: Sequence[Reembedded]) -> None:
        """Store vectors, but for items that have been stored anew or deleted meanwhile."""
        ...

    def switch(
        self,
        embed: Callable[[Sequence[Pending]], list[Reembedded]],
        *,
        adopt: "Callable[[Gallery], None] | None" = None,
    ) -> "Gallery":
        """Answer from the new space from now on; see `index.move.LocalMove.switch`."""
        ...


class Gallery(Protocol):
    """Items that can be searched. Every method may be called from any thread.

    What the gallery does raises `GalleryError`, whose code says what happened: `item_id_invalid`, `metadata_invalid`,
    `vector_invalid`, `text_invalid`, `cursor_invalid`, `gallery_closed`, `gallery_damaged`, `gallery_full`,
    `gallery_read_only`, …
    """

    read_only: bool

    @property
    def space(self) -> str:
        """Digest of the embedding space that this object answers from, all its life.

        When the gallery is moved to another space, another object answers from that one; this one keeps answering
        searches from the old space as of the switch, and `upsert` raises `gallery_switched`.
        """
        ...

    @property
    def patch_tokens(self) -> PatchTokens:
        """How what belongs to a picture's patches is kept."""
        ...

    def info(self) -> GalleryInfo:
        """Say what the gallery is and how much is in it."""
        ...

    def upsert(self, items: Sequence[NewItem]) -> list[Outcome]:
        """Store items: durable and searchable when this returns. All or none, or in Milvus each of them or not.

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

    def vectors(self, ids: Sequence[str], *, target: Target = "image") -> dict[str, Floats]:
        """Return the vectors of those of these items that have one, by id."""
        ...

    def pictures(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Return the stored JPEGs of those of these items that have one, by id."""
        ...

    def features(self, ids: Sequence[str], parts: Collection[Part]) -> dict[str, Kept]:
        """Return, by id, those of these parts that are kept of those of these items that have any."""
        ...

    def frames(self, ids: Sequence[str]) -> dict[str, FrameVectors]:
        """Return, by id, times and vectors of the frames of those of these items that are videos; in Milvus none."""
        ...

    def frame_pictures(self, item_id: str) -> tuple[bytes, ...]:
        """Return the stored JPEGs of a video's frames, in order; none of a picture, and none in Milvus."""
        ...

    def delete(self, item_id: str) -> bool:
        """Delete an item, durably and from searches at once; say whether there was one."""
        ...

    def page(self, *, cursor: str | None = None, limit: int = 100, filter: Filter | None = None) -> Page:
        """Return items in an order that does not change: that in which they were first stored, or by id in Milvus.

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

    def move_to(self, *, space: str, dim: int) -> Move:
        """Begin to move the gallery to another embedding space, or go on with it; see `index.migrate`."""
        ...

    def standby(self) -> Identity | None:
        """Return the space of the other generation of vectors: that to go back to, or one that is not whole yet."""
        ...

    def discard_standby(self) -> None:
        """Forget the other generation; there is no going back to it afterwards."""
        ...

    def verify(self) -> list[str]:
        """Compare everything with everything; return what is wrong, in words."""
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
    cards: Cards | None = None,
    patch_tokens: PatchTokens | None = None,
) -> Gallery:
    """Open a gallery.

    Args:
        uri: the gallery's folder, whose last part is its name; or `milvus://HOST[:PORT]/NAME?…`, see
            `index.milvus_server.MilvusAddress`.
        space: digest of the embedding space of the bundle it will be used with; None accepts any (for upkeep).
        dim: length of that bundle's embeddings; None accepts any.
        create: make it when it is not there; `space` and `dim` must be given.
        read_only: take no lock and write nothing. Any number may read beside the one that writes, and see its writes.
        cards: GPUs that `upkeep` lets search a large gallery's folder; they outlive the gallery. Not for Milvus.
        patch_tokens: of a gallery that is made here, how what belongs to a picture's patches is kept; int8 when None.
            Milvus keeps nothing of pictures but their vectors, and refuses to be asked for more.

    Raises:
        GalleryError: `unknown_gallery`, `space_mismatch`, `gallery_locked`, `gallery_name_invalid`,
            `gallery_damaged`, `gallery_too_new`, `gallery_read_only`, `gallery_uri_invalid`, `gallery_unreachable`,
            `features_unsupported`.
    """
    if str(uri).startswith(f"{SCHEME}://"):
        from index.milvus import MilvusGallery

        address = MilvusAddress.parse(str(uri))
        if create and patch_tokens not in (None, "none"):
            raise GalleryError(
                "a gallery in Milvus keeps no patch tokens, regions or codes: rerank and explain look at the stored "
                "pictures there. Make it without --patch-tokens, or make a gallery in a folder.",
                code="features_unsupported",
            )
        return MilvusGallery(address, space=space, dim=dim, create=create, read_only=read_only)
    if "://" in str(uri):
        raise GalleryError(f"{uri}: a gallery is a folder, or milvus://HOST:PORT/NAME.", code="gallery_uri_invalid")
    return open_folder(
        uri, space=space, dim=dim, create=create, read_only=read_only, cards=cards, patch_tokens=patch_tokens
    )


def open_folder(
    folder: str | Path,
    *,
    space: str | None = None,
    dim: int | None = None,
    create: bool = False,
    read_only: bool = False,
    cards: Cards | None = None,
    patch_tokens: PatchTokens | None = None,
) -> LocalGallery:
    """Open the gallery of a folder; see `open_gallery`."""
    return LocalGallery(
        Path(folder),
        space=space,
        dim=dim,
        create=create,
        read_only=read_only,
        cards=cards,
        patch_tokens=patch_tokens,
    )
