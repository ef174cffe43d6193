"""The truth of a gallery: items, metadata, vectors and thumbnails in one SQLite file, changed in transactions.

Every transaction that changes something raises the gallery's version by one and notes the rows it touched in a log of
changes. Whatever is derived from the file (the vectors in memory, their snapshot) is brought up to date from that log:
a row in it is looked up again, and either has a vector or has none any more.

    gallery       key, value: schema version, space, dim, version, floor of the log; see also generations.py
    items         one row per item; a row number is never used twice, and a replaced item keeps its own
    image_vectors, text_vectors     float32 little-endian, [dim]
    pictures      the small JPEG to show
    image_features      what else is kept of a picture; see feature_rows.py
    frames, frame_vectors     the frames of videos; see frame_rows.py
    attributes    every scalar of the metadata, in the order of an index: filters read this
    changes       version, row
    snapshots     which snapshots on disk belong to this history
"""

import copy
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from sqlite3 import Connection
from typing import Any

import numpy as np
import orjson

from index import feature_rows, frame_rows, generations
from index.database import Database
from index.features import Kept, Part, PatchTokens
from index.filters import NULL, Filter, kind_of
from index.matching import matching_rows
from index.records import (
    TARGETS,
    Floats,
    FrameVectors,
    Item,
    Leaf,
    Metadata,
    NewItem,
    Outcome,
    Target,
    canonical,
    leaves,
)
from index.state import LOOKUP, Change, Identity, State, feature_table, marks, stored_version, vector_tables
from index.vectors import Rows
from runtime.errors import GalleryError

FILE = "items.sqlite"
SCHEMA_VERSION = 4
_OLDER = (1, 2, 3)  # without the other generation, without features, without frames

_ATTRIBUTES = """
CREATE TABLE attributes (
    field TEXT NOT NULL,
    kind INTEGER NOT NULL,
    value,
    row INTEGER NOT NULL,
    PRIMARY KEY (field, kind, value, row)
) WITHOUT ROWID
"""

_SCHEMA = f"""
{_ATTRIBUTES};
CREATE TABLE gallery (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE items (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    text TEXT,
    metadata BLOB NOT NULL,
    content_digest TEXT NOT NULL,
    created_s REAL NOT NULL,
    updated_s REAL NOT NULL
);
CREATE TABLE image_vectors (row INTEGER PRIMARY KEY, vector BLOB NOT NULL);
CREATE TABLE text_vectors (row INTEGER PRIMARY KEY, vector BLOB NOT NULL);
CREATE TABLE pictures (row INTEGER PRIMARY KEY, jpeg BLOB NOT NULL);
CREATE TABLE changes (version INTEGER NOT NULL, row INTEGER NOT NULL, PRIMARY KEY (version, row)) WITHOUT ROWID;
CREATE TABLE snapshots (id TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID;
{generations.CREATE};
{feature_rows.CREATE};
{frame_rows.CREATE};
"""


_ITEM_COLUMNS = """
    items.row, id, text, metadata, content_digest, created_s, updated_s,
    EXISTS (SELECT 1 FROM image_vectors AS v WHERE v.row = items.row),
    EXISTS (SELECT 1 FROM text_vectors AS v WHERE v.row = items.row),
    EXISTS (SELECT 1 FROM pictures AS p WHERE p.row = items.row)
"""


class ItemStore:
    """The SQLite file of a gallery, read and written as items."""

    def __init__(
        self,
        folder: Path,
        *,
        create: Identity | None = None,
        read_only: bool = False,
        patch_tokens: PatchTokens = "none",
    ) -> None:
        """Open the file, or make it when `create` is given and there is none, keeping `patch_tokens` so.

        Raises:
            GalleryError: `gallery_damaged`, `gallery_too_new`, `gallery_read_only`, …
        """
        self.database = Database(folder / FILE, read_only=read_only)
        try:
            self._open(folder, create, patch_tokens)
        except BaseException:
            self.database.close()
            raise

    def _open(self, folder: Path, create: Identity | None, patch_tokens: PatchTokens) -> None:
        if create is not None:
            self._create(create, patch_tokens)
        with self.database.reading() as connection:
            settings = _settings(connection, folder)
        if settings.get("schema_version") in _OLDER:
            self._bring_up_to_date()
        elif settings.get("schema_version") != SCHEMA_VERSION:
            raise GalleryError(
                f"{folder} has schema version {settings.get('schema_version')}; this program reads {SCHEMA_VERSION}. "
                "Use the version of Vernier that made it, or a newer one.",
                code="gallery_too_new",
            )
        self.identity = Identity(space=str(settings["space"]), dim=int(settings["dim"]))
        self.version = int(settings["version"])
        # galleries of older programs keep nothing that belongs to patches until they are told to
        self.patch_tokens: PatchTokens = settings.get("patch_tokens", "none")
        self.has_frames: bool = False
        self.look_for_frames()

    def of(self, identity: Identity) -> "ItemStore":
        """Return the same file, for the generation of vectors of another space."""
        other = copy.copy(self)
        other.identity = identity
        return other

    def close(self) -> None:
        """Close the file."""
        self.database.close()

    # Writing

    def upsert(self, items: Sequence[NewItem]) -> Change:
        """Store items in one transaction; it is on the disk when this returns.

        Raises:
            GalleryError: `gallery_switched`: the vectors in use are of another space by now; nothing was stored.
        """
        with self.database.writing() as connection:
            self._refuse_other_generation(connection)
            change = Change(version=stored_version(connection) + 1)
            for item in items:
                change.outcomes.append(_upsert_one(connection, item, change))
            if not _finish(connection, change):
                change.version -= 1
        self.version = change.version
        self.has_frames = self.has_frames or any(item.frames is not None for item in items)
        return change

    def look_for_frames(self) -> None:
        """Note whether any item is a video; searches ask for frames only then."""
        with self.database.reading() as connection:
            self.has_frames = frame_rows.are_there(connection)

    def delete(self, item_id: str) -> Change:
        """Delete an item; it is gone from the disk when this returns. `Change.gone` is empty when there was none."""
        with self.database.writing() as connection:
            change = Change(version=stored_version(connection) + 1)
            found = connection.execute("SELECT row, metadata FROM items WHERE id = ?", (item_id,)).fetchone()
            if found is not None:
                row, metadata = found
                _forget_attributes(connection, row, orjson.loads(metadata))
                for table in ("image_vectors", "text_vectors", "pictures", "image_features", "items"):
                    connection.execute(f"DELETE FROM {table} WHERE row = ?", (row,))
                frame_rows.forget(connection, row)
                generations.forget_row(connection, row)
                change.gone.add(row)
            if not _finish(connection, change):
                change.version -= 1
        self.version = change.version
        return change

    def rebuild_attributes(self) -> None:
        """Make anew what filters read, and the indices, from the items themselves."""
        with self.database.writing() as connection:
            connection.execute("DROP TABLE attributes")
            connection.execute(_ATTRIBUTES)
            for row, metadata in connection.execute("SELECT row, metadata FROM items ORDER BY row"):
                _put_attributes(connection, row, orjson.loads(metadata))
            connection.execute("REINDEX")

    # Reading

    def items(self, ids: Sequence[str]) -> dict[str, Item]:
        """Return the items among these ids that are there."""
        found: dict[str, Item] = {}
        with self.database.reading() as connection:
            for start in range(0, len(ids), LOOKUP):
                part = ids[start : start + LOOKUP]
                for record in connection.execute(
                    f"SELECT {_ITEM_COLUMNS} FROM items WHERE id IN ({marks(len(part))})", part
                ):
                    item = _item(record)
                    found[item.id] = item
        return found

    def picture(self, item_id: str) -> bytes | None:
        """Return the small JPEG of an item."""
        with self.database.reading() as connection:
            found = connection.execute(
                "SELECT jpeg FROM pictures WHERE row = (SELECT row FROM items WHERE id = ?)", (item_id,)
            ).fetchone()
        return None if found is None else bytes(found[0])

    def vector(self, item_id: str, target: Target) -> Floats | None:
        """Return one vector of an item: [dim]."""
        with self.database.reading() as connection:
            table = vector_tables(connection, self.identity)[target]
            found = connection.execute(
                f"SELECT vector FROM {table} WHERE row = (SELECT row FROM items WHERE id = ?)", (item_id,)
            ).fetchone()
        return None if found is None else np.frombuffer(found[0], "<f4").astype(np.float32)

    def features(self, ids: Sequence[str], parts: Collection[Part]) -> dict[str, Kept]:
        """Return, by id, those of these parts that are kept of those of these items that have any."""
        with self.database.reading() as connection:
            return feature_rows.read(connection, ids, parts, table=feature_table(connection, self.identity))

    def frames(self, ids: Sequence[str]) -> dict[str, FrameVectors]:
        """Return, by id, times and vectors of the frames of those of these items that are videos."""
        if not self.has_frames:
            return {}
        with self.database.reading() as connection:
            return frame_rows.read(connection, ids, self.identity)

    def frame_pictures(self, item_id: str) -> tuple[bytes, ...]:
        """Return the small JPEGs of a video's frames, in order."""
        with self.database.reading() as connection:
            found = connection.execute("SELECT row FROM items WHERE id = ?", (item_id,)).fetchone()
            return () if found is None else frame_rows.pictures(connection, int(found[0]))

    def vectors(self, ids: Sequence[str], target: Target) -> dict[str, Floats]:
        """Return, by id, the vectors [dim] of those of these items that have one."""
        found: dict[str, Floats] = {}
        with self.database.reading() as connection:
            table = vector_tables(connection, self.identity)[target]
            for start in range(0, len(ids), LOOKUP):
                some = ids[start : start + LOOKUP]
                sql = f"SELECT id, vector FROM items JOIN {table} AS v USING (row) WHERE id IN ({marks(len(some))})"
                for item_id, blob in connection.execute(sql, some):
                    found[item_id] = np.frombuffer(blob, "<f4").astype(np.float32)
        return found

    def page(self, *, after_row: int, limit: int, rows: Rows | None = None) -> list[tuple[int, Item]]:
        """Return up to `limit` items of rows beyond `after_row`, by row; of `rows` (sorted) only, when given."""
        with self.database.reading() as connection:
            if rows is None:
                records = connection.execute(
                    f"SELECT {_ITEM_COLUMNS} FROM items WHERE row > ? ORDER BY row LIMIT ?", (after_row, limit)
                ).fetchall()
                return [(record[0], _item(record)) for record in records]
            return self._page_of(connection, rows[np.searchsorted(rows, after_row, side="right") :], limit)

    def matching_rows(self, filter: Filter) -> tuple[int, Rows]:
        """Return the gallery's version and, sorted, the rows of all items that pass the filter as of that version."""
        with self.database.reading() as connection:
            return stored_version(connection), matching_rows(connection, filter)

    @contextmanager
    def state(self) -> Iterator[State]:
        """Give everything as of one version.

        Raises:
            GalleryError: the file is damaged, unreadable or closed.
        """
        with self.database.reading() as connection:
            yield State(connection, self.database.path, self.identity)

    # The other generation of vectors

    def standby(self) -> Identity | None:
        """Return of which space the other generation is, if there is one."""
        with self.database.reading() as connection:
            return generations.standby(connection)

    def is_in_use(self) -> bool:
        """Say whether this generation's vectors are those in use."""
        with self.database.reading() as connection:
            (space,) = connection.execute("SELECT value FROM gallery WHERE key = 'space'").fetchone()
        return bool(space == self.identity.space)

    def begin_standby(self, identity: Identity) -> None:
        """Make an empty other generation, or go on with the one of this space."""
        with self.database.writing() as connection:
            generations.begin(connection, identity)

    def put_standby(self, items: Sequence[generations.Reembedded]) -> None:
        """Store vectors of the other generation."""
        with self.database.writing() as connection:
            generations.put(connection, items)

    def swap_standby(self) -> None:
        """Use the other generation from now on, and keep this one beside it; all at once."""
        with self.database.writing() as connection:
            generations.swap(connection, version=stored_version(connection) + 1)

    def discard_standby(self) -> None:
        """Forget the other generation."""
        with self.database.writing() as connection:
            generations.discard(connection)

    # Features that are made later

    def keep_patch_tokens(self, patch_tokens: PatchTokens) -> None:
        """Keep what belongs to patches so from now on; what is kept already stays as it is."""
        with self.database.writing() as connection:
            connection.execute("INSERT OR REPLACE INTO gallery VALUES ('patch_tokens', ?)", (patch_tokens,))
        self.patch_tokens = patch_tokens

    def lacking_features(self, parts: Collection[Part], *, after_row: int, limit: int) -> list[generations.Pending]:
        """Return items with a stored picture that lack one of these parts, by row; `key` is the row."""
        with self.database.reading() as connection:
            rows = feature_rows.lacking(connection, parts, after_row=after_row, limit=limit)
            return generations.read_pending(connection, rows)

    def feature_counts(self, parts: Collection[Part]) -> feature_rows.FeatureCounts:
        """Count the pictures that have all of these parts, and those that have not."""
        with self.database.reading() as connection:
            return feature_rows.counts(connection, parts)

    def codes(self) -> tuple[list[str], list[Kept]]:
        """Return id and codes of every picture that has some."""
        with self.database.reading() as connection:
            found = list(feature_rows.codes(connection))
        return [item_id for item_id, _ in found], [kept for _, kept in found]

    def put_features(self, items: Sequence[tuple[generations.Pending, Kept]]) -> int:
        """Store features, but for items that were stored anew or deleted meanwhile; return of how many."""
        number = 0
        with self.database.writing() as connection:
            self._refuse_other_generation(connection)
            for item, kept in items:
                if generations.is_as_read(connection, item):
                    feature_rows.put(connection, int(item.key), kept)
                    number += 1
        return number

    def forget_features(self) -> None:
        """Drop the features of all pictures."""
        with self.database.writing() as connection:
            connection.execute(f"DELETE FROM {feature_table(connection, self.identity)}")

    # Snapshots

    def note_snapshot(self, snapshot_id: str, version: int) -> None:
        """Remember that a snapshot of this version belongs to this history, before it is put in its place."""
        with self.database.writing() as connection:
            connection.execute("INSERT OR REPLACE INTO snapshots VALUES (?, ?)", (snapshot_id, version))

    def keep_only_snapshot(self, snapshot_id: str, version: int) -> None:
        """Forget other snapshots and the log that came before this one, once it is in its place."""
        with self.database.writing() as connection:
            connection.execute("DELETE FROM snapshots WHERE id != ?", (snapshot_id,))
            connection.execute("DELETE FROM changes WHERE version <= ?", (version,))
            connection.execute("UPDATE gallery SET value = ? WHERE key = 'log_floor'", (version,))

    def knows_snapshot(self, snapshot_id: str, version: int) -> bool:
        """Say whether a snapshot on disk belongs to this history."""
        with self.database.reading() as connection:
            found = connection.execute("SELECT version FROM snapshots WHERE id = ?", (snapshot_id,)).fetchone()
        return found is not None and found[0] == version

    def _refuse_other_generation(self, connection: Connection) -> None:
        (space,) = connection.execute("SELECT value FROM gallery WHERE key = 'space'").fetchone()
        if space != self.identity.space:
            raise GalleryError(
                f"the gallery has been moved to another model (space {space}) meanwhile: embed with that one.",
                code="gallery_switched",
            )

    def _bring_up_to_date(self) -> None:
        """Add the tables that a file of an older program lacks; one opened read-only does without them."""
        if self.database.read_only:
            return
        with self.database.writing() as connection:
            for statement in f"{generations.CREATE};{feature_rows.CREATE};{frame_rows.CREATE}".split(";"):
                connection.execute(statement)
            connection.execute("UPDATE gallery SET value = ? WHERE key = 'schema_version'", (SCHEMA_VERSION,))

    def _create(self, identity: Identity, patch_tokens: PatchTokens) -> None:
        with self.database.maintaining() as connection:
            has_tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if has_tables:
                return
            connection.executescript("BEGIN IMMEDIATE;" + _SCHEMA)
            connection.executemany(
                "INSERT INTO gallery VALUES (?, ?)",
                [
                    ("schema_version", SCHEMA_VERSION),
                    ("space", identity.space),
                    ("dim", identity.dim),
                    ("version", 0),
                    ("log_floor", 0),
                    ("patch_tokens", patch_tokens),
                ],
            )
            connection.execute("COMMIT")

    def _page_of(self, connection: Connection, rows: Rows, limit: int) -> list[tuple[int, Item]]:
        page: list[tuple[int, Item]] = []
        for start in range(0, len(rows), LOOKUP):
            part = rows[start : start + min(LOOKUP, limit)].tolist()
            page += [
                (record[0], _item(record))
                for record in connection.execute(
                    f"SELECT {_ITEM_COLUMNS} FROM items WHERE row IN ({marks(len(part))}) ORDER BY row", part
                )
            ]
            if len(page) >= limit:
                break
        return page[:limit]


def attribute(leaf: Leaf) -> tuple[str, int, Any]:
    """Return field, kind and value of a scalar as they are stored for filters."""
    kind = kind_of(leaf.value)
    return leaf.field, kind, NULL if kind == 0 else leaf.value


def _upsert_one(connection: Connection, item: NewItem, change: Change) -> Outcome:
    metadata = orjson.dumps(item.metadata)
    found = connection.execute(f"SELECT {_ITEM_COLUMNS}, metadata FROM items WHERE id = ?", (item.id,)).fetchone()
    now = time.time()
    if found is None:
        row = connection.execute(
            "INSERT INTO items (id, text, metadata, content_digest, created_s, updated_s) VALUES (?, ?, ?, ?, ?, ?)",
            (item.id, item.text, metadata, item.content_digest, now, now),
        ).lastrowid
        assert row is not None
    else:
        stored, row = _item(found), found[0]
        if _is_same(stored, item):
            _add_features(connection, row, item)
            return "unchanged"
        _forget_attributes(connection, row, stored.metadata)
        connection.execute(
            "UPDATE items SET text = ?, metadata = ?, content_digest = ?, updated_s = ? WHERE row = ?",
            (item.text, metadata, item.content_digest, now, row),
        )
        generations.forget_row(connection, row)
    _put_parts(connection, row, item, is_new=found is None)
    _note(change, row, item)
    return "created" if found is None else "replaced"


def _put_parts(connection: Connection, row: int, item: NewItem, *, is_new: bool) -> None:
    parts: list[tuple[str, bytes | None]] = [
        ("image_vectors", _blob(item.image_embedding)),
        ("text_vectors", _blob(item.text_embedding)),
        ("pictures", item.picture),
    ]
    for table, blob in parts:
        if blob is not None:
            connection.execute(f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", (row, blob))
        elif not is_new:
            connection.execute(f"DELETE FROM {table} WHERE row = ?", (row,))
    if item.features is not None or not is_new:
        feature_rows.put(connection, row, item.features)
    if item.frames is not None or not is_new:
        frame_rows.put(connection, row, item.frames)
    _put_attributes(connection, row, item.metadata)


def _add_features(connection: Connection, row: int, item: NewItem) -> None:
    """Keep the features of an item that is stored already, if it has none: an older program stored it."""
    if (
        item.features is not None
        and not connection.execute("SELECT 1 FROM image_features WHERE row = ?", (row,)).fetchone()
    ):
        feature_rows.put(connection, row, item.features)


def _put_attributes(connection: Connection, row: int, metadata: Metadata) -> None:
    connection.executemany(
        "INSERT OR IGNORE INTO attributes VALUES (?, ?, ?, ?)",
        [(*attribute(leaf), row) for leaf in leaves(metadata)],
    )


def _note(change: Change, row: int, item: NewItem) -> None:
    change.names[row] = item.id
    for target, embedding in (("image", item.image_embedding), ("text", item.text_embedding)):
        kept = change.vectors[target]  # type: ignore[index]
        if embedding is None:
            kept.pop(row, None)
        else:
            kept[row] = embedding


def _finish(connection: Connection, change: Change) -> bool:
    touched = set(change.names) | change.gone
    if not touched:
        return False
    connection.executemany("INSERT INTO changes VALUES (?, ?)", [(change.version, row) for row in sorted(touched)])
    connection.execute("UPDATE gallery SET value = ? WHERE key = 'version'", (change.version,))
    return True


def _forget_attributes(connection: Connection, row: int, metadata: Metadata) -> None:
    connection.executemany(
        "DELETE FROM attributes WHERE field = ? AND kind = ? AND value = ? AND row = ?",
        [(*attribute(leaf), row) for leaf in leaves(metadata)],
    )


def _is_same(stored: Item, item: NewItem) -> bool:
    targets = {
        target
        for target, embedding in (("image", item.image_embedding), ("text", item.text_embedding))
        if embedding is not None
    }
    return (
        stored.content_digest == item.content_digest
        and stored.text == item.text
        and canonical(stored.metadata) == canonical(item.metadata)
        and set(stored.targets) == targets
        and stored.has_picture == (item.picture is not None)
    )


def _settings(connection: Connection, folder: Path) -> dict[str, Any]:
    has_table = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'gallery'").fetchone()[0]
    if not has_table:
        raise GalleryError(
            f"{folder / FILE} holds no gallery; name another folder, or remove the file.", code="gallery_damaged"
        )
    return dict(connection.execute("SELECT key, value FROM gallery").fetchall())


def _item(record: Sequence[Any]) -> Item:
    has = dict(zip(TARGETS, record[7:9], strict=True))
    return Item(
        id=record[1],
        text=record[2],
        metadata=orjson.loads(record[3]),
        content_digest=record[4],
        targets=frozenset(target for target in TARGETS if has[target]),
        has_picture=bool(record[9]),
        created_s=record[5],
        updated_s=record[6],
    )


def _blob(embedding: Floats | None) -> bytes | None:
    return None if embedding is None else embedding.astype("<f4", copy=False).tobytes()
