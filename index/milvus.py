"""A gallery in Milvus, for what one machine cannot hold; see `index.gallery.Gallery` for what its methods promise.

A gallery is a collection for each generation of its vectors, and an alias that names the one in use:

    vernier_NAME         the alias
    vernier_NAME_G1 …    see milvus_rows.py

An item is acknowledged when Milvus has it in its log. A batch that breaks off in the middle may have stored some of its
items, each of them wholly; storing it again is harmless. Pages come by id.
"""

import base64
import binascii
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import orjson

from index.checks import checked_item, checked_queries
from index.features import Kept, Part, PatchTokens
from index.filters import Filter
from index.milvus_filters import Expression, compiled
from index.milvus_rows import (
    AFTER_EVERY_ROW,
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
    rows_of,
)
from index.milvus_server import MilvusAddress, MilvusServer
from index.pictures import pictures_at
from index.records import Floats, FrameVectors, GalleryInfo, Item, Match, NewItem, Outcome, Page, Target, canonical
from index.state import Identity
from runtime.errors import GalleryError

if TYPE_CHECKING:
    from index.milvus_move import MilvusMove

MAX_HITS = 16_384
"""Milvus gives no more hits or rows at once."""

MAX_PAGE = 1_000
_ROWS_AT_ONCE = 500
_COUNT_LASTS_S = 1.0
_EVERYTHING = Expression('pk != ""', is_exact=True)


class _Hit(NamedTuple):
    """A row that a search found."""

    id: str
    score: float
    metadata: dict[str, Any]


class MilvusGallery:
    """One generation of a gallery's vectors; the one that is in use unless the gallery was moved on."""

    def __init__(
        self, address: MilvusAddress, *, space: str | None, dim: int | None, create: bool, read_only: bool
    ) -> None:
        self.address = address
        self.read_only = read_only
        self._server = MilvusServer(address)
        # Bounded: all but the last seconds, for which a Milvus that has just started must read its log before it
        # answers; what was written in the last seconds is seen because whoever wrote it has waited until it was.
        self._consistency = "Strong" if address.wait == "read" else "Bounded"
        self._write_mutex = threading.Lock()
        self._unsettled: dict[str, tuple[object, Row | None]] = {}  # written, and not seen by reads yet
        try:
            if create and not read_only:
                self._create(space=space, dim=dim)
            self._use(self._collection_in_use())
            self._refuse_other_space(space=space, dim=dim)
        except BaseException:
            self._server.close()
            raise

    def _use(self, collection: str) -> None:
        self.collection = collection
        facts = read_description(self._server, collection)
        self.identity = Identity(space=str(facts["space"]), dim=int(facts["dim"]))
        self.picture_store = pictures_at(str(facts["pictures"]))
        self._index_kind = str(facts["index"])
        self._search_parameters = {**facts["search"], **self.address.search}
        self._version = time.time_ns() // 1_000
        self._counted: tuple[float, int] | None = None
        self._mirror: str | None = None
        self._successor: MilvusGallery | None = None
        self._is_closed = False

    # What every gallery does

    @property
    def space(self) -> str:
        """Digest of the embedding space that this gallery answers from."""
        return self.identity.space

    def info(self) -> GalleryInfo:
        """Say what the gallery is and how much is in it, as of a second ago."""
        return GalleryInfo(
            name=self.address.name,
            items=self._count(),
            version=self._version,
            space=self.identity.space,
            dim=self.identity.dim,
            index_kind=f"milvus-{self._index_kind.lower()}",
        )

    @property
    def patch_tokens(self) -> PatchTokens:
        """Milvus keeps nothing of a picture but its vector."""
        return "none"

    def features(self, ids: Sequence[str], parts: Collection[Part]) -> dict[str, Kept]:
        """Return nothing: none are kept here."""
        return {}

    def frames(self, ids: Sequence[str]) -> dict[str, FrameVectors]:
        """Return nothing: of a video its own vector and picture are kept here."""
        return {}

    def frame_pictures(self, item_id: str) -> tuple[bytes, ...]:
        """Return nothing, as `frames`."""
        return ()

    def upsert(self, items: Sequence[NewItem]) -> list[Outcome]:
        """Store items: in Milvus's log and searchable when this returns."""
        self._refuse_writing()
        checked = [checked_item(item, dim=self.identity.dim) for item in items]
        if not checked:
            return []
        write = object()
        try:
            with self._write_mutex:
                self._refuse_switched()
                outcomes = self._upsert(checked, write)
            self._wait_until_seen()
        finally:
            self._settled(write)
        return outcomes

    def delete(self, item_id: str) -> bool:
        """Delete an item, from searches at once; say whether there was one."""
        self._refuse_writing()
        if self._successor is not None:
            return self._successor.delete(item_id)
        write = object()
        try:
            with self._write_mutex:
                was_there = item_id in self._stored_now([item_id])
                for collection in {self.collection, self._mirror or self.collection, self._collection_in_use()}:
                    self._server.call("delete", collection, filter=listed(pks_of([item_id])))
                self._unsettled[item_id] = (write, None)
            self._wait_until_seen()
        finally:
            self._settled(write)
        if was_there:
            self._changed()
        return was_there

    def get(self, item_id: str) -> Item | None:
        """Return one item."""
        return self.get_many([item_id]).get(item_id)

    def get_many(self, ids: Sequence[str]) -> dict[str, Item]:
        """Return those of these items that are there, by id."""
        return {item_id: item_of(row) for item_id, row in self._stored(ids).items()}

    def vector(self, item_id: str, *, target: Target = "image") -> Floats | None:
        """Return one vector of an item, [dim]."""
        return self.vectors([item_id], target=target).get(item_id)

    def vectors(self, ids: Sequence[str], *, target: Target = "image") -> dict[str, Floats]:
        """Return the vectors of those of these items that have one, by id."""
        rows: list[Row] = []
        for start in range(0, len(ids), _ROWS_AT_ONCE):
            pks = [pk_of(item_id, target) for item_id in ids[start : start + _ROWS_AT_ONCE]]
            rows += self.query(listed(pks), ["pk", "vector"])
        return {id_of(row["pk"]): np.asarray(row["vector"], np.float32) for row in rows}

    def picture(self, item_id: str) -> bytes | None:
        """Return the stored JPEG of an item."""
        return self.pictures([item_id]).get(item_id)

    def pictures(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Return the stored JPEGs of those of these items that have one, by id."""
        found = {item_id: self.picture_of(row) for item_id, row in self._stored(ids).items()}
        return {item_id: picture for item_id, picture in found.items() if picture is not None}

    def page(self, *, cursor: str | None = None, limit: int = 100, filter: Filter | None = None) -> Page:
        """Return items by id."""
        if not 1 <= limit <= MAX_PAGE:
            raise GalleryError(f"a page holds 1 to {MAX_PAGE:,} items, not {limit}.", code="limit_invalid")
        expression = _EVERYTHING if filter is None else compiled(filter)
        after, found = _read_cursor(cursor), list[Item]()
        while len(found) <= limit:
            rows = self.primary_rows(after, limit + 1, ITEM_FIELDS, where=expression.text)
            items = map(item_of, rows)
            found += [item for item in items if filter is None or _obeys(filter, item.metadata, expression)]
            if len(rows) <= limit:
                break
            after = id_of(rows[-1]["pk"])
        next_cursor = _written_cursor(found[limit - 1].id) if len(found) > limit else None
        return Page(items=found[:limit], next_cursor=next_cursor)

    def search(
        self,
        queries: Floats,
        *,
        top_k: int,
        target: Target = "image",
        filter: Filter | None = None,
        exclude: Collection[str] = (),
    ) -> list[list[Match]]:
        """Return the best items for each query, by score, equal scores by id."""
        self._refuse_closed()
        checked = checked_queries(queries, dim=self.identity.dim)
        excluded = frozenset(exclude)
        wanted = top_k + len(excluded)
        if top_k < 1 or wanted >= MAX_HITS:
            raise GalleryError(
                f"top_k is 1 to {MAX_HITS - 1:,} with what is excluded, not {wanted}.", code="top_k_invalid"
            )
        if not len(checked):
            return []
        expression = _EVERYTHING if filter is None else compiled(filter)
        where = f'target == "{target}" and {expression.text}'
        limit = wanted + 1
        while True:
            raw = self._hits(checked, where, limit, with_metadata=filter is not None)
            found = [
                [hit for hit in hits if filter is None or _obeys(filter, hit.metadata, expression)] for hits in raw
            ]
            # there may be more where as many came as were asked for: too few that pass, or a tie at the cut
            are_cut = [
                len(all_hits) == limit and (len(hits) <= wanted or hits[wanted - 1].score == hits[-1].score)
                for hits, all_hits in zip(found, raw, strict=True)
            ]
            if not any(are_cut):
                break
            if limit == MAX_HITS:
                if any(is_cut and len(hits) < wanted for hits, is_cut in zip(found, are_cut, strict=True)):
                    raise _too_rough()
                break
            limit = min(4 * limit + 60, MAX_HITS)
        return [_best(hits, top_k, excluded) for hits in found]

    def upkeep(self) -> None:
        """Do nothing: Milvus looks after its index itself."""

    def close(self) -> None:
        """Disconnect; closing twice does no harm."""
        self._is_closed = True
        if self._successor is not None:
            self._successor.close()
        self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Another model

    def move_to(self, *, space: str, dim: int) -> "MilvusMove":
        """Begin to move the gallery to another embedding space, or go on with it; see `index.migrate`."""
        from index.milvus_move import MilvusMove

        self._refuse_writing()
        self._refuse_switched()
        return MilvusMove(self, Identity(space=space, dim=dim))

    def standby(self) -> Identity | None:
        """Return the space of the other generation of vectors."""
        others = self.other_collections()
        if not others:
            return None
        facts = read_description(self._server, others[-1])
        return Identity(space=str(facts["space"]), dim=int(facts["dim"]))

    def discard_standby(self) -> None:
        """Forget the other generation."""
        self._refuse_writing()
        self._refuse_switched()
        for collection in self.other_collections():
            self._server.call("drop_collection", collection)

    def other_collections(self) -> list[str]:
        """Return the collections of other generations, the newest last."""
        prefix, in_use = f"{alias_of(self.address.name)}_G", self._collection_in_use()
        names = [name for name in self._server.call("list_collections") if name.startswith(prefix) and name != in_use]
        return sorted(names, key=lambda name: int(name[len(prefix) :]))

    # Upkeep

    def verify(self) -> list[str]:
        """Compare every row with its item, and every item with its picture; return what is wrong, in words."""
        from index.milvus_verify import find_problems

        self._refuse_closed()
        return find_problems(self)

    def compact(self) -> int:
        """Have Milvus drop what was deleted, and remove pictures that no item names; return how many of those."""
        self._refuse_writing()
        self._server.call("flush", self.collection)
        self._server.call("compact", self.collection)
        if self.picture_store is None:
            return 0
        with self._write_mutex:  # no picture is on its way; another process must not write meanwhile
            collections = [self.collection, *self.other_collections()]
            kept = {row["picture"] for name in collections for row in self.all_rows(["picture"], collection=name)}
            return self.picture_store.remove_others(kept)

    # For whoever moves, copies or checks the gallery

    def query(
        self, expression: str, fields: Sequence[str], *, limit: int | None = None, collection: str | None = None
    ) -> list[Row]:
        """Return rows that pass an expression; with a limit, the first by primary key."""
        self._refuse_closed()
        options: dict[str, Any] = {} if limit is None else {"limit": limit, "reduce_stop_for_best": True}
        rows = self._server.call(
            "query",
            collection or self.collection,
            filter=expression,
            output_fields=list(fields),
            consistency_level=self._consistency,
            **options,
        )
        return sorted(map(dict, rows), key=lambda row: str(row.get("pk", "")).encode())

    def primary_rows(
        self, after_id: str | None, limit: int, fields: Sequence[str], *, where: str = "", collection: str | None = None
    ) -> list[Row]:
        """Return one row of each of the first items after an id, by id."""
        parts = ["is_primary == true", *([where] if where else [])]
        if after_id is not None:
            parts.append(f"pk > {quoted(after_id + AFTER_EVERY_ROW)}")
        return self.query(" and ".join(parts), fields, limit=limit, collection=collection)

    def all_rows(self, fields: Sequence[str], *, collection: str | None = None) -> Iterator[Row]:
        """Yield every row, by primary key."""
        after = ""
        wanted = list(dict.fromkeys(["pk", *fields]))
        while rows := self.query(f"pk > {quoted(after)}", wanted, limit=_ROWS_AT_ONCE, collection=collection):
            yield from rows
            after = rows[-1]["pk"]

    def picture_of(self, row: Row) -> bytes | None:
        """Return the picture that a row names."""
        return self.picture_store.get(row["picture"]) if self.picture_store is not None and row["picture"] else None

    def write_rows(self, rows: Sequence[Row], *, collection: str | None = None) -> None:
        """Put rows in the place of those of their primary keys."""
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            self._server.call("upsert", collection or self.collection, list(rows[start : start + _ROWS_AT_ONCE]))

    @property
    def server(self) -> MilvusServer:
        """The connection."""
        return self._server

    # Within

    def _create(self, *, space: str | None, dim: int | None) -> None:
        """Make the gallery unless it is there."""
        alias = alias_of(self.address.name)
        if self._server.call("has_collection", alias):
            return
        if space is None or dim is None:
            raise GalleryError("a new gallery needs the space and dim of a bundle.", code="space_mismatch")
        if self.address.pictures is None:
            raise GalleryError(
                f"a new gallery in Milvus needs a place for its pictures: milvus://{self.address.server}/"
                f"{self.address.name}?pictures=FOLDER (which every server sees, or s3://…), or pictures=none.",
                code="gallery_uri_invalid",
            )
        collection = f"{alias}_G1"
        identity = Identity(space=space, dim=dim)
        create_collection(self._server, collection, identity, self.address, pictures=self.address.pictures)
        try:
            self._server.call("create_alias", collection, alias)
        except GalleryError:
            if not self._server.call("has_collection", alias):  # else another process was quicker
                raise

    def _collection_in_use(self) -> str:
        return str(self._server.call("describe_collection", alias_of(self.address.name))["collection_name"])

    def _refuse_other_space(self, *, space: str | None, dim: int | None) -> None:
        if space not in (None, self.identity.space) or dim not in (None, self.identity.dim):
            raise GalleryError(
                f"the gallery '{self.address.name}' in Milvus was filled by a bundle of space {self.identity.space}, "
                f"and this bundle's is {space}. Use the bundle that filled it, or `vernier index migrate` to move it.",
                code="space_mismatch",
            )

    def _upsert(self, items: Sequence[NewItem], write: object) -> list[Outcome]:
        now = time.time_ns() // 1_000
        stored = self._stored_now([item.id for item in items])
        known = {item_id: item_of(row) for item_id, row in stored.items()}
        fresh: dict[str, list[Row]] = {}
        outcomes: list[Outcome] = []
        for item in items:
            has_picture = item.picture is not None and self.picture_store is not None
            before = known.get(item.id)
            if before is not None and _is_same(before, item, has_picture=has_picture):
                outcomes.append("unchanged")
                continue
            picture = (
                self.picture_store.put(item.picture)
                if item.picture is not None and self.picture_store is not None
                else ""
            )
            created_us = now if before is None else round(before.created_s * 1e6)
            rows = rows_of(item, picture=picture, created_us=created_us, updated_us=now)
            fresh[item.id] = rows
            known[item.id] = item_of(rows[0])
            outcomes.append("created" if before is None else "replaced")
        if fresh:
            self.write_rows([row for rows in fresh.values() for row in rows])
            self._remove_strays(stored, fresh)
            for item_id, rows in fresh.items():
                self._unsettled[item_id] = (write, rows[0])
            self._changed()
        return outcomes

    def _wait_until_seen(self) -> None:
        """Wait until every read sees what was written, so that a write is found as soon as it is acknowledged."""
        if self.address.wait == "write":
            self._server.call(
                "query", self.collection, filter='pk == ""', output_fields=["pk"], consistency_level="Strong"
            )

    def _settled(self, write: object) -> None:
        with self._write_mutex:
            self._unsettled = {key: entry for key, entry in self._unsettled.items() if entry[0] is not write}

    def _stored_now(self, ids: Sequence[str]) -> dict[str, Row]:
        """Return a row of each item that is there, also of those that reads do not see yet."""
        stored = self._stored(ids)
        for item_id in ids:
            if item_id in self._unsettled:
                row = self._unsettled[item_id][1]
                stored.pop(item_id, None)
                if row is not None:
                    stored[item_id] = row
        return stored

    def _remove_strays(self, stored: dict[str, Row], fresh: dict[str, list[Row]]) -> None:
        """Remove the rows of vectors that replaced items have no more."""
        strays = [
            pk
            for item_id, rows in fresh.items()
            if item_id in stored
            for pk in {pk_of(item_id, target) for target in item_of(stored[item_id]).targets}
            - {row["pk"] for row in rows}
        ]
        if strays:
            self._server.call("delete", self.collection, filter=listed(strays))

    def _stored(self, ids: Sequence[str]) -> dict[str, Row]:
        return {id_of(row["pk"]): row for row in self._rows(ids, ITEM_FIELDS) if row["is_primary"]}

    def _rows(self, ids: Sequence[str], fields: Sequence[str]) -> list[Row]:
        rows: list[Row] = []
        for start in range(0, len(ids), _ROWS_AT_ONCE // 2):
            rows += self.query(listed(pks_of(ids[start : start + _ROWS_AT_ONCE // 2])), fields)
        return rows

    def _hits(self, queries: Floats, where: str, limit: int, *, with_metadata: bool) -> list[list[_Hit]]:
        """Return the best rows for each query."""
        answer = self._server.call(
            "search",
            self.collection,
            queries,
            filter=where,
            limit=limit,
            output_fields=["metadata"] if with_metadata else [],
            search_params={"metric_type": "IP", "params": self._parameters(limit)},
            consistency_level=self._consistency,
        )
        return [
            [
                _Hit(
                    id_of(hit["id"] if "id" in hit else hit["pk"]),  # newer versions name the field
                    float(hit["distance"]),
                    orjson.loads(hit["entity"]["metadata"]) if with_metadata else {},
                )
                for hit in hits
            ]
            for hits in answer
        ]

    def _parameters(self, limit: int) -> dict[str, Any]:
        """Return the search parameters; those that must be as large as the number of hits are."""
        parameters = dict(self._search_parameters)
        for kind, name, least in (("HNSW", "ef", 64), ("DISKANN", "search_list", 32)):
            if self._index_kind == kind:
                parameters[name] = max(limit, int(parameters.get(name, least)))
        return parameters

    def _count(self) -> int:
        now = time.monotonic()
        if self._counted is None or now - self._counted[0] > _COUNT_LASTS_S:
            rows = self.query("is_primary == true", ["count(*)"])
            number = int(rows[0]["count(*)"])
            if self._counted is not None and self._counted[1] != number:
                self._raise_version()
            self._counted = (now, number)
        return self._counted[1]

    def _changed(self) -> None:
        self._raise_version()
        self._counted = None

    def _raise_version(self) -> None:
        self._version = max(self._version + 1, time.time_ns() // 1_000)

    def _refuse_switched(self) -> None:
        if self._successor is not None or self._collection_in_use() != self.collection:
            raise GalleryError(
                f"the gallery '{self.address.name}' has been moved to another model meanwhile.", code="gallery_switched"
            )

    def _refuse_writing(self) -> None:
        self._refuse_closed()
        if self.read_only:
            raise GalleryError(f"the gallery '{self.address.name}' is open for reading only.", code="gallery_read_only")

    def _refuse_closed(self) -> None:
        if self._is_closed:
            raise GalleryError(f"the gallery '{self.address.name}' is closed.", code="gallery_closed")


def alias_of(name: str) -> str:
    """Return what a gallery is called in Milvus, whose names have no hyphens."""
    return f"vernier_{name.replace('-', 'H')}"


def _obeys(filter: Filter, metadata: dict[str, Any], expression: Expression) -> bool:
    """Say whether an item passes a filter that Milvus let it through.

    Raises:
        GalleryError: `filters_not_obeyed`: it does not, where it must.
    """
    if filter.matches(metadata):
        return True
    if expression.is_exact:
        raise GalleryError(
            "this version of Milvus, or the index in use, does not obey filters; nothing it answers can be trusted.",
            code="filters_not_obeyed",
        )
    return False


def _too_rough() -> GalleryError:
    return GalleryError(
        "Milvus cannot honour this filter here: too many of the nearest items pass its rough form and not the filter. "
        "Give one bound of a range at a time, or store fields with one value.",
        code="filter_unsupported",
    )


def _best(hits: list[_Hit], top_k: int, excluded: frozenset[str]) -> list[Match]:
    ordered = sorted(hits, key=lambda hit: (-hit.score, hit.id))
    return [Match(hit.id, hit.score) for hit in ordered if hit.id not in excluded][:top_k]


def _is_same(stored: Item, item: NewItem, *, has_picture: bool) -> bool:
    targets = {"image"} if item.image_embedding is not None else set()
    targets |= {"text"} if item.text_embedding is not None else set()
    return (
        stored.content_digest == item.content_digest
        and stored.text == item.text
        and canonical(stored.metadata) == canonical(item.metadata)
        and set(stored.targets) == targets
        and stored.has_picture == has_picture
    )


def _written_cursor(item_id: str) -> str:
    return base64.urlsafe_b64encode(item_id.encode()).decode()


def _read_cursor(cursor: str | None) -> str | None:
    if cursor is None:
        return None
    try:
        return base64.b64decode(cursor.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError) as error:
        raise GalleryError(
            "this cursor was not given by this gallery; start from the first page.", code="cursor_invalid"
        ) from error
