"""What a gallery's file holds as of one version, and what changed between two: for whoever keeps a copy in memory."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from sqlite3 import Connection

import numpy as np

from index.records import TARGETS, Floats, Outcome, Target
from index.vectors import Rows
from runtime.errors import GalleryError

VECTOR_TABLE: dict[Target, str] = {"image": "image_vectors", "text": "text_vectors"}
STANDBY_TABLE: dict[Target, str] = {"image": "standby_image_vectors", "text": "standby_text_vectors"}
"""The vectors of the other generation; see `generations.py`."""

FEATURE_TABLE = "image_features"
STANDBY_FEATURE_TABLE = "standby_image_features"

LOOKUP = 500
"""So many rows or ids are asked for in one statement."""

_CHUNK = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a gallery was made for."""

    space: str
    dim: int


@dataclass(slots=True, kw_only=True)
class Change:
    """What one transaction did, or what is new since an older version, for whoever keeps a copy in memory.

    Attributes:
        version: of the gallery afterwards.
        names: id of every row that is there now.
        gone: rows that are there no more.
        vectors: per target, the vector of each touched row that has one; a touched row without one has lost it.
        outcomes: of an upsert, in the order of its items.
    """

    version: int
    names: dict[int, str] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)
    vectors: dict[Target, dict[int, Floats]] = field(default_factory=lambda: {target: {} for target in TARGETS})
    outcomes: list[Outcome] = field(default_factory=list)


class State:
    """Everything in the file as of one version, for as long as `ItemStore.state` holds it."""

    def __init__(self, connection: Connection, file: Path, identity: Identity) -> None:
        self.connection = connection
        self.version = stored_version(connection)
        self._file = file
        self._dim = identity.dim
        self._tables = vector_tables(connection, identity)

    def names(self) -> Iterator[tuple[int, str]]:
        """Yield row and id of every item, by row."""
        yield from self.connection.execute("SELECT row, id FROM items ORDER BY row")

    def changes_since(self, version: int) -> Change | None:
        """Return what to bring up to date in a copy of that version; None when the log reaches back less far."""
        floor = int(self.connection.execute("SELECT value FROM gallery WHERE key = 'log_floor'").fetchone()[0])
        if not floor <= version <= self.version:
            return None
        found = self.connection.execute("SELECT DISTINCT row FROM changes WHERE version > ?", (version,))
        return self.change_of([row for (row,) in found])

    def change_of(self, rows: Sequence[int]) -> Change:
        """Return what to bring up to date in a copy where only these rows may be out of date."""
        change = Change(version=self.version)
        for start in range(0, len(rows), LOOKUP):
            self._look_up(list(rows[start : start + LOOKUP]), change)
        return change

    def vectors(self, target: Target) -> Iterator[tuple[Rows, Floats]]:
        """Yield all vectors by row, in chunks: rows [n] and vectors [n, dim].

        Raises:
            GalleryError: `gallery_damaged` when a stored vector has the wrong length.
        """
        dim = self._dim
        cursor = self.connection.execute(f"SELECT row, vector FROM {self._tables[target]} ORDER BY row")
        while chunk := cursor.fetchmany(_CHUNK):
            rows = np.asarray([row for row, _ in chunk], np.int64)
            joined = b"".join(blob for _, blob in chunk)
            if len(joined) != len(rows) * dim * 4 or any(len(blob) != dim * 4 for _, blob in chunk):
                wrong = next(row for row, blob in chunk if len(blob) != dim * 4)
                raise GalleryError(
                    f"{self._file}: the {target} vector of row {wrong} is not {dim} numbers long. "
                    "The file is damaged: restore it from a copy, or make the gallery anew from its pictures.",
                    code="gallery_damaged",
                )
            yield rows, np.frombuffer(joined, "<f4").reshape(len(rows), dim).astype(np.float32, copy=False)

    def _look_up(self, rows: list[int], change: Change) -> None:
        listed = marks(len(rows))
        names = dict(self.connection.execute(f"SELECT row, id FROM items WHERE row IN ({listed})", rows).fetchall())
        change.names.update(names)
        change.gone.update(set(rows) - set(names))
        for target, table in self._tables.items():
            for row, blob in self.connection.execute(f"SELECT row, vector FROM {table} WHERE row IN ({listed})", rows):
                change.vectors[target][row] = np.frombuffer(blob, "<f4").astype(np.float32)


def stored_version(connection: Connection) -> int:
    """Return the gallery's version as this transaction sees it."""
    return int(connection.execute("SELECT value FROM gallery WHERE key = 'version'").fetchone()[0])


def vector_tables(connection: Connection, identity: Identity) -> Mapping[Target, str]:
    """Return the tables that hold the vectors of a space.

    Raises:
        GalleryError: `space_mismatch` when there are none any more.
    """
    spaces = dict(connection.execute("SELECT key, value FROM gallery WHERE key IN ('space', 'standby_space')"))
    if spaces["space"] == identity.space:
        return VECTOR_TABLE
    if spaces.get("standby_space") == identity.space:
        return STANDBY_TABLE
    raise GalleryError(
        f"the gallery has been moved to another model (space {spaces['space']}), and its vectors of space "
        f"{identity.space} are gone. Open it with the bundle that it was moved to.",
        code="space_mismatch",
    )


def feature_table(connection: Connection, identity: Identity) -> str:
    """Return the table that holds the features of a space's pictures; see `feature_rows.py`.

    Raises:
        GalleryError: `space_mismatch` when there is none any more.
    """
    tables = vector_tables(connection, identity)
    return FEATURE_TABLE if tables is VECTOR_TABLE else STANDBY_FEATURE_TABLE


def marks(number: int) -> str:
    """Return so many question marks for a list in SQL."""
    return ", ".join(["?"] * number)
