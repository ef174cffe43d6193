"""Where the frames of videos stand in a gallery's file.

    frames                                  row, number, time_s, jpeg: what was seen, whatever the model
    frame_vectors, standby_frame_vectors    row, vectors: float32 little-endian, [frames, dim], of the generation in use
                                            and of the other one

They are written in the transaction that writes the video's own vector, and dropped in the one that drops it.
"""

from collections.abc import Iterator, Sequence
from sqlite3 import Connection

import numpy as np

from index.records import Floats, FrameVectors, NewFrames
from index.state import LOOKUP, VECTOR_TABLE, Identity, marks, vector_tables

TABLE, STANDBY = "frame_vectors", "standby_frame_vectors"

CREATE = f"""CREATE TABLE IF NOT EXISTS frames (row INTEGER NOT NULL, number INTEGER NOT NULL, time_s REAL NOT NULL,
    jpeg BLOB NOT NULL, PRIMARY KEY (row, number)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS {TABLE} (row INTEGER PRIMARY KEY, vectors BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS {STANDBY} (row INTEGER PRIMARY KEY, vectors BLOB NOT NULL)"""


def put(connection: Connection, row: int, frames: NewFrames | None) -> None:
    """Write the frames of a row, in place of what was; nothing when there are none."""
    forget(connection, row)
    if frames is None:
        return
    connection.executemany(
        "INSERT INTO frames VALUES (?, ?, ?, ?)",
        [
            (row, number, time_s, jpeg)
            for number, (time_s, jpeg) in enumerate(zip(frames.times_s, frames.pictures, strict=True))
        ],
    )
    put_vectors(connection, row, frames.embeddings)


def put_vectors(connection: Connection, row: int, embeddings: Floats, *, table: str = TABLE) -> None:
    """Write the vectors of a row's frames."""
    blob = embeddings.astype("<f4", copy=False).tobytes()
    connection.execute(f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", (row, blob))


def forget(connection: Connection, row: int) -> None:
    """Drop the frames of a row, and their vectors in use."""
    for table in ("frames", TABLE):
        connection.execute(f"DELETE FROM {table} WHERE row = ?", (row,))


def are_there(connection: Connection) -> bool:
    """Say whether any item has frames; a file of an older program has not even the tables."""
    found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'frames'").fetchone()
    return found is not None and connection.execute("SELECT 1 FROM frames LIMIT 1").fetchone() is not None


def read(connection: Connection, ids: Sequence[str], identity: Identity) -> dict[str, FrameVectors]:
    """Return, by id, times and vectors of the frames of those of these items that have some."""
    table = TABLE if vector_tables(connection, identity) is VECTOR_TABLE else STANDBY
    found: dict[str, FrameVectors] = {}
    for start in range(0, len(ids), LOOKUP):
        some = ids[start : start + LOOKUP]
        sql = f"SELECT row, id, vectors FROM items JOIN {table} USING (row) WHERE id IN ({marks(len(some))})"
        for row, item_id, blob in connection.execute(sql, some).fetchall():
            times = connection.execute("SELECT time_s FROM frames WHERE row = ? ORDER BY number", (row,)).fetchall()
            found[item_id] = FrameVectors(
                times_s=tuple(time_s for (time_s,) in times),
                embeddings=np.frombuffer(blob, "<f4").reshape(-1, identity.dim).astype(np.float32),
            )
    return found


def pictures(connection: Connection, row: int) -> tuple[bytes, ...]:
    """Return the JPEGs of a row's frames, in order."""
    if not are_there(connection):
        return ()
    found = connection.execute("SELECT jpeg FROM frames WHERE row = ? ORDER BY number", (row,))
    return tuple(bytes(jpeg) for (jpeg,) in found)


def problems(connection: Connection) -> Iterator[str]:
    """Compare frames, their vectors and the items they belong to; yield what is wrong, in words."""
    if not are_there(connection):
        return
    (dim,) = connection.execute("SELECT value FROM gallery WHERE key = 'dim'").fetchone()
    sql = f"""SELECT f.row, items.id, count(*), coalesce(length(v.vectors), 0), p.row IS NOT NULL FROM frames AS f
        LEFT JOIN items ON items.row = f.row LEFT JOIN {TABLE} AS v ON v.row = f.row
        LEFT JOIN image_vectors AS p ON p.row = f.row GROUP BY f.row"""
    for row, item_id, number, nbytes, has_vector in connection.execute(sql):
        if item_id is None:
            yield f"row {row} has frames and is no item"
        elif not has_vector:
            yield f"item {item_id!r} has frames and no vector of a picture"
        elif nbytes != number * dim * 4:
            yield f"item {item_id!r} has {number} frames and {nbytes / (dim * 4):g} vectors of them"
