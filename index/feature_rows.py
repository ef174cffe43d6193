"""Where features of pictures stand in a gallery's file: a row for each picture that has some, a column for each part.

    image_features, standby_image_features    of the generation in use and of the other one, as the vectors are

They are written in the transaction that writes the picture's vector, and dropped in the one that drops it. Whoever only
wants the small parts, which come first, does not read the large ones.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from sqlite3 import Connection
from typing import get_args

from index.features import Kept, Part
from index.state import FEATURE_TABLE, LOOKUP, STANDBY_FEATURE_TABLE, marks

PARTS: tuple[Part, ...] = get_args(Part)

CREATE = ";".join(
    f"""CREATE TABLE IF NOT EXISTS {table} (row INTEGER PRIMARY KEY, width_px INTEGER NOT NULL,
        height_px INTEGER NOT NULL, {", ".join(f"{part} BLOB" for part in PARTS)})"""
    for table in (FEATURE_TABLE, STANDBY_FEATURE_TABLE)
)


def put(connection: Connection, row: int, kept: Kept | None, *, table: str = FEATURE_TABLE) -> None:
    """Write what is kept of a row's picture, in place of what was; nothing when there is nothing."""
    if kept is None or not kept.parts:
        connection.execute(f"DELETE FROM {table} WHERE row = ?", (row,))
        return
    blobs = [kept.parts.get(part) for part in PARTS]
    connection.execute(f"INSERT OR REPLACE INTO {table} VALUES ({marks(3 + len(PARTS))})", (row, *kept.size_px, *blobs))


def read(connection: Connection, ids: Sequence[str], parts: Collection[Part], *, table: str) -> dict[str, Kept]:
    """Return, by id, those of these parts that are kept of those of these items that have any."""
    if not is_there(connection, table):
        return {}
    chosen = [part for part in PARTS if part in parts]
    columns = "".join(f", {part}" for part in chosen)
    found: dict[str, Kept] = {}
    for start in range(0, len(ids), LOOKUP):
        some = ids[start : start + LOOKUP]
        for item_id, width_px, height_px, *blobs in connection.execute(
            f"""SELECT id, width_px, height_px{columns} FROM items JOIN {table} AS f ON f.row = items.row
                WHERE id IN ({marks(len(some))})""",
            some,
        ):
            kept = {part: bytes(blob) for part, blob in zip(chosen, blobs, strict=True) if blob is not None}
            found[item_id] = Kept(size_px=(width_px, height_px), parts=kept)
    return found


def codes(connection: Connection) -> Iterator[tuple[str, Kept]]:
    """Yield id and codes of every picture that has some, by row."""
    if is_there(connection):
        sql = f"""SELECT id, width_px, height_px, codes FROM {FEATURE_TABLE} AS f JOIN items ON items.row = f.row
                  WHERE codes IS NOT NULL ORDER BY f.row"""
        for item_id, width_px, height_px, blob in connection.execute(sql):
            yield item_id, Kept(size_px=(width_px, height_px), parts={"codes": bytes(blob)})


def is_there(connection: Connection, table: str = FEATURE_TABLE) -> bool:
    """Say whether the file has the table: one that an older program made and nobody has written since has not."""
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone() is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureCounts:
    """How many pictures have what is to be kept of them.

    Attributes:
        whole: those that have every part.
        lacking: those that lack one, and whose stored picture is there to make it from.
        without_picture: those that lack one, and have no stored picture.
        nbytes: bytes of all parts, also of those that are not to be kept any more.
    """

    whole: int
    lacking: int
    without_picture: int
    nbytes: int


def counts(connection: Connection, parts: Collection[Part]) -> FeatureCounts:
    """Count the pictures that have all of these parts, and those that have not."""
    if not is_there(connection):
        pictures, vectors = (
            int(connection.execute(sql).fetchone()[0])
            for sql in (
                "SELECT count(*) FROM image_vectors JOIN pictures USING (row)",
                "SELECT count(*) FROM image_vectors",
            )
        )
        return FeatureCounts(whole=0, lacking=pictures, without_picture=vectors - pictures, nbytes=0)
    lengths = " + ".join(f"coalesce(length(f.{part}), 0)" for part in PARTS)
    is_whole = _is_whole(parts)
    whole, lacks, bare, nbytes = connection.execute(
        f"""SELECT coalesce(sum({is_whole}), 0), coalesce(sum(NOT ({is_whole}) AND p.row IS NOT NULL), 0),
            coalesce(sum(NOT ({is_whole}) AND p.row IS NULL), 0), coalesce(sum({lengths}), 0)
            FROM image_vectors AS v LEFT JOIN pictures AS p ON p.row = v.row
            LEFT JOIN {FEATURE_TABLE} AS f ON f.row = v.row"""
    ).fetchone()
    return FeatureCounts(whole=whole, lacking=lacks, without_picture=bare, nbytes=nbytes)


def _is_whole(parts: Collection[Part]) -> str:
    return " AND ".join(["f.row IS NOT NULL", *(f"f.{part} IS NOT NULL" for part in parts)])


def lacking(connection: Connection, parts: Collection[Part], *, after_row: int, limit: int) -> list[int]:
    """Return the first rows beyond `after_row` with a picture's vector and stored picture, but without all parts."""
    found = connection.execute(
        f"""SELECT v.row FROM image_vectors AS v JOIN pictures AS p ON p.row = v.row
            LEFT JOIN {FEATURE_TABLE} AS f ON f.row = v.row
            WHERE v.row > ? AND NOT ({_is_whole(parts)}) ORDER BY v.row LIMIT ?""",
        (after_row, limit),
    )
    return [int(row) for (row,) in found]
