"""Moves a gallery in Milvus to another embedding space: another collection is filled, and the alias set to it.

What an item was when it was embedded is known by the time of its last write, which its rows in both collections carry.
Items that are written meanwhile are embedded again; those that are deleted are deleted from both.
"""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from index.generations import Pending, Reembedded
from index.milvus_rows import (
    ITEM_FIELDS,
    Row,
    create_collection,
    id_of,
    item_of,
    listed,
    pk_of,
    pks_of,
    quoted,
    read_description,
)
from index.records import TARGETS
from index.state import Identity
from runtime.errors import GalleryError

if TYPE_CHECKING:
    from index.milvus import MilvusGallery

_AT_ONCE = 32
_SLACK_US = 60_000_000  # clocks of other servers that write may differ by so much
_LATE_S = 1.0  # another server that saw the old alias has written by then


class MilvusMove:
    """One move, begun or gone on with. What is done stands in the other collection."""

    def __init__(self, gallery: "MilvusGallery", identity: Identity) -> None:
        from index.milvus import alias_of

        self._gallery = gallery
        self.identity = identity
        self._alias = alias_of(gallery.address.name)
        self.collection = self._prepared()
        self._began_us = _now_us()
        self._since_us = 0
        self._after: str | None = None
        gallery._mirror = self.collection

    def _prepared(self) -> str:
        """Return the collection of this space, made unless a move to it was begun before; others are dropped."""
        gallery, found = self._gallery, None
        for name in gallery.other_collections():
            if read_description(gallery.server, name)["space"] == self.identity.space:
                found = name
            else:
                gallery.server.call("drop_collection", name)
        number = int(gallery.collection.rpartition("_G")[2]) + 1
        collection = found or f"{self._alias}_G{number}"
        pictures = str(read_description(gallery.server, gallery.collection)["pictures"])
        create_collection(gallery.server, collection, self.identity, gallery.address, pictures=pictures)
        return collection

    def progress(self) -> tuple[int, int]:
        """Return how many vectors are made, and how many there will be."""
        done, total = (
            int(self._gallery.query('pk != ""', ["count(*)"], collection=name)[0]["count(*)"])
            for name in (self.collection, self._gallery.collection)
        )
        return min(done, total), total

    def pending(self, limit: int) -> list[Pending]:
        """Return items that lack their vectors, going on behind those given before; none at the end of a round."""
        found: list[Pending] = []
        where = f"updated_us >= {self._since_us}" if self._since_us else ""
        while not found:
            began_us = _now_us()
            rows = self._gallery.primary_rows(self._after, limit, ITEM_FIELDS, where=where)
            if not rows:
                self._after = None
                self._since_us = max(self._since_us, self._began_us - _SLACK_US)
                self._began_us = began_us
                return []
            self._after = id_of(rows[-1]["pk"])
            done = self._stamps([id_of(row["pk"]) for row in rows])
            found = [self._as_pending(row) for row in rows if done.get(id_of(row["pk"])) != _stamp(row)]
        return found

    def put(self, items: Sequence[Reembedded]) -> None:
        """Store vectors, but for items that have been stored anew or deleted meanwhile."""
        ids = [entry.item.id for entry in items]
        now = {
            id_of(row["pk"]): row
            for row in self._gallery.query(listed(pks_of(ids)), [*ITEM_FIELDS, "facts"])
            if row["is_primary"]
        }
        rows: list[Row] = []
        for entry in items:
            row = now.get(entry.item.id)
            if row is None or _stamp(row) != entry.item.stamp:
                continue
            rows += [
                {
                    **row,
                    "pk": pk_of(entry.item.id, target),
                    "target": target,
                    "is_primary": target == next(t for t in TARGETS if t in entry.vectors),
                    "vector": entry.vectors[target].tolist(),
                }
                for target in entry.vectors
            ]
        self._gallery.write_rows(rows, collection=self.collection)

    def switch(
        self,
        embed: Callable[[Sequence[Pending]], list[Reembedded]],
        *,
        adopt: "Callable[[MilvusGallery], None] | None" = None,
    ) -> "MilvusGallery":
        """Answer from the new space from now on, and keep the old collection to go back to.

        Writes of this process wait meanwhile. What another server writes at this very moment is carried over after it;
        from then on it is told `gallery_switched`.

        Args:
            embed: makes the vectors of items that were stored since the last round.
            adopt: called with the gallery of the new space before any other write of this process.

        Raises:
            GalleryError: `migration_incomplete` when an item has no vector still.
        """
        from index.milvus import MilvusGallery

        gallery = self._gallery
        self._catch_up(embed)
        self._sweep()
        with gallery._write_mutex:
            gallery._refuse_switched()
            self._catch_up(embed)
            gallery.server.call("alter_alias", self.collection, self._alias)
            successor = MilvusGallery(
                gallery.address, space=self.identity.space, dim=self.identity.dim, create=False, read_only=False
            )
            gallery._successor, gallery._mirror = successor, None
            if adopt is not None:
                adopt(successor)
        time.sleep(_LATE_S)
        self._catch_up(embed)
        return successor

    def _catch_up(self, embed: Callable[[Sequence[Pending]], list[Reembedded]]) -> None:
        """Embed what was stored since the last round."""
        self._after = None
        while items := self.pending(_AT_ONCE):
            done = embed(items)
            self.put(done)
            if len(done) < len(items):
                raise GalleryError(
                    "the items that were stored last cannot be embedded by the new model; run the migration again to "
                    "see which, and why. The gallery is as it was.",
                    code="migration_incomplete",
                )

    def _sweep(self) -> None:
        """Delete what is in the new collection and in the old one no more, or of a vector that the item lost."""
        after: str | None = None
        while rows := self._gallery.query(
            'pk != ""' if after is None else f"pk > {quoted(after)}", ["pk"], limit=500, collection=self.collection
        ):
            after = rows[-1]["pk"]
            pks = [row["pk"] for row in rows]
            there = {row["pk"] for row in self._gallery.query(listed(pks), ["pk"])}
            gone = [pk for pk in pks if pk not in there]
            if gone:
                self._gallery.server.call("delete", self.collection, filter=listed(gone))

    def _stamps(self, ids: Sequence[str]) -> dict[str, str]:
        """Return, of items in the new collection, when and with which vectors they were embedded."""
        rows = self._gallery.query(
            listed(pks_of(ids)), ["pk", "is_primary", "updated_us", "targets"], collection=self.collection
        )
        return {id_of(row["pk"]): _stamp(row) for row in rows if row["is_primary"]}

    def _as_pending(self, row: Row) -> Pending:
        item = item_of(row)
        return Pending(
            key=item.id,
            id=item.id,
            targets=frozenset(item.targets),
            text=item.text,
            picture=self._gallery.picture_of(row),
            stamp=_stamp(row),
        )


def _stamp(row: Row) -> str:
    return f"{row['updated_us']} {row['targets']}"


def _now_us() -> int:
    return time.time_ns() // 1_000
