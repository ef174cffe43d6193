"""The other generation of a gallery's vectors: those of another model, kept in the same file beside the ones in use.

A migration fills it and then changes it with the one in use, in one transaction; afterwards it is what a rollback goes
back to. Whoever stores or deletes an item drops its other vectors in the same transaction, so that what stands here is
never of another content than the item; a migration, or a rollback, makes what is missing.

    standby_image_vectors, standby_text_vectors     as the tables in use
    standby_image_features                          as that in use; see feature_rows.py
    standby_frame_vectors                           likewise; see frame_rows.py
    gallery: standby_space, standby_dim             of what these vectors are; absent while there is no other generation
"""

from collections.abc import Sequence
from dataclasses import dataclass
from sqlite3 import Connection

from index import feature_rows, frame_rows
from index.features import Kept
from index.records import TARGETS, Floats, Target
from index.state import FEATURE_TABLE, STANDBY_FEATURE_TABLE, STANDBY_TABLE, VECTOR_TABLE, Identity


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """An item that has no vectors of the other generation yet.

    Attributes:
        key: names the item where it is stored.
        id: of the item.
        targets: the vectors that it must have.
        text: what to make the text vector from.
        picture: the stored JPEG to make the image vector from; None when there is none.
        stamp: names what was read, so that vectors of older content are not taken.
        frames: the stored JPEGs of a video's frames, to make its vectors from; none of a picture.
    """

    key: int | str
    id: str
    targets: frozenset[Target]
    text: str | None
    picture: bytes | None
    stamp: str
    frames: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reembedded:
    """A pending item's vectors in the other space, one for each of its targets, and what is kept of its picture.

    Attributes:
        frames: [frames, dim], of a video.
    """

    item: Pending
    vectors: dict[Target, Floats]
    features: Kept | None = None
    frames: Floats | None = None


CREATE = ";".join(
    f"CREATE TABLE IF NOT EXISTS {table} (row INTEGER PRIMARY KEY, vector BLOB NOT NULL)"
    for table in STANDBY_TABLE.values()
)


def standby(connection: Connection) -> Identity | None:
    """Return of what the other generation is; None when there is none."""
    found = dict(connection.execute("SELECT key, value FROM gallery WHERE key IN ('standby_space', 'standby_dim')"))
    return None if not found else Identity(space=str(found["standby_space"]), dim=int(found["standby_dim"]))


def begin(connection: Connection, identity: Identity) -> None:
    """Make an empty other generation, unless there is one of just this space, which is gone on with."""
    if standby(connection) == identity:
        return
    discard(connection)
    connection.executemany(
        "INSERT OR REPLACE INTO gallery VALUES (?, ?)",
        [("standby_space", identity.space), ("standby_dim", identity.dim)],
    )


def discard(connection: Connection) -> None:
    """Forget the other generation."""
    for table in (*STANDBY_TABLE.values(), STANDBY_FEATURE_TABLE, frame_rows.STANDBY):
        connection.execute(f"DELETE FROM {table}")
    connection.execute("DELETE FROM gallery WHERE key IN ('standby_space', 'standby_dim')")


def forget_row(connection: Connection, row: int) -> None:
    """Drop an item's other vectors: it is stored anew, or deleted."""
    for table in (*STANDBY_TABLE.values(), STANDBY_FEATURE_TABLE, frame_rows.STANDBY):
        connection.execute(f"DELETE FROM {table} WHERE row = ?", (row,))


def counts(connection: Connection) -> tuple[int, int]:
    """Return how many vectors of the other generation there are, and how many there will be."""
    done = sum(_count(connection, STANDBY_TABLE[target]) for target in TARGETS)
    return done, sum(_count(connection, VECTOR_TABLE[target]) for target in TARGETS)


def pending_rows(connection: Connection, *, after_row: int, limit: int) -> list[int]:
    """Return the first rows beyond `after_row` that lack a vector of the other generation."""
    parts = [
        f"""SELECT row FROM (SELECT row FROM {VECTOR_TABLE[target]} AS v WHERE row > ?1 AND NOT EXISTS
            (SELECT 1 FROM {STANDBY_TABLE[target]} AS s WHERE s.row = v.row) ORDER BY row LIMIT ?2)"""
        for target in TARGETS
    ]
    found = connection.execute(f"{' UNION '.join(parts)} ORDER BY row LIMIT ?2", (after_row, limit))
    return [int(row) for (row,) in found]


def read_pending(connection: Connection, rows: Sequence[int]) -> list[Pending]:
    """Read what is needed to embed the items of these rows."""
    return [item for row in rows if (item := _pending(connection, row)) is not None]


def put(connection: Connection, items: Sequence[Reembedded]) -> None:
    """Store vectors of the other generation, but for items that were stored anew or deleted meanwhile."""
    for entry in items:
        if not is_as_read(connection, entry.item):
            continue
        for target, vector in entry.vectors.items():
            connection.execute(
                f"INSERT OR REPLACE INTO {STANDBY_TABLE[target]} VALUES (?, ?)",
                (entry.item.key, vector.astype("<f4", copy=False).tobytes()),
            )
        feature_rows.put(connection, int(entry.item.key), entry.features, table=STANDBY_FEATURE_TABLE)
        if entry.frames is not None:
            frame_rows.put_vectors(connection, int(entry.item.key), entry.frames, table=frame_rows.STANDBY)


def is_as_read(connection: Connection, item: Pending) -> bool:
    """Say whether an item is still what it was when it was read: neither stored anew nor deleted."""
    now = _pending(connection, int(item.key), with_parts=False)
    return now is not None and now.stamp == item.stamp and now.targets == item.targets


def swap(connection: Connection, *, version: int) -> None:
    """Change the generation in use with the other one. Snapshots and the log of changes begin anew at `version`."""
    other = standby(connection)
    assert other is not None
    pairs = [(VECTOR_TABLE[target], STANDBY_TABLE[target]) for target in TARGETS]
    others = [(FEATURE_TABLE, STANDBY_FEATURE_TABLE), (frame_rows.TABLE, frame_rows.STANDBY)]
    for in_use, beside in [*pairs, *others]:
        connection.execute(f"ALTER TABLE {in_use} RENAME TO swapping")
        connection.execute(f"ALTER TABLE {beside} RENAME TO {in_use}")
        connection.execute(f"ALTER TABLE swapping RENAME TO {beside}")
    used = dict(connection.execute("SELECT key, value FROM gallery WHERE key IN ('space', 'dim')"))
    exchanged = {"space": other.space, "dim": other.dim, "standby_space": used["space"], "standby_dim": used["dim"]}
    connection.executemany("INSERT OR REPLACE INTO gallery VALUES (?, ?)", list(exchanged.items()))
    connection.execute("DELETE FROM changes")
    connection.execute("DELETE FROM snapshots")
    connection.execute("UPDATE gallery SET value = ? WHERE key IN ('version', 'log_floor')", (version,))


def _pending(connection: Connection, row: int, *, with_parts: bool = True) -> Pending | None:
    found = connection.execute("SELECT id, text, content_digest, updated_s FROM items WHERE row = ?", (row,)).fetchone()
    if found is None:
        return None
    item_id, text, digest, updated_s = found
    targets = frozenset(
        target
        for target in TARGETS
        if connection.execute(f"SELECT 1 FROM {VECTOR_TABLE[target]} WHERE row = ?", (row,)).fetchone()
    )
    jpeg = connection.execute("SELECT jpeg FROM pictures WHERE row = ?", (row,)).fetchone() if with_parts else None
    return Pending(
        key=row,
        id=item_id,
        targets=targets,
        text=text,
        picture=None if jpeg is None else bytes(jpeg[0]),
        stamp=f"{digest} {updated_s!r}",
        frames=frame_rows.pictures(connection, row) if with_parts else (),
    )


def _count(connection: Connection, table: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
