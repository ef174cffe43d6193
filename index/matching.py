"""Which rows pass a filter: each condition is asked of SQLite, and the answers are put together as sets."""

from collections.abc import Iterable
from sqlite3 import Connection
from typing import Any

import numpy as np

from index.filters import And, Exists, Filter, Not, Or, Value
from index.vectors import Rows


def matching_rows(connection: Connection, filter: Filter) -> Rows:
    """Return the rows of all items that pass, sorted."""
    match filter:
        case Value() | Exists():
            sql = filter.sql()
            found = connection.execute(sql.text, sql.values)
            return np.unique(np.fromiter((row for (row,) in found), np.int64))
        case And(parts=()):
            return _all_rows(connection)
        case And(parts=parts):
            return _merged(np.intersect1d, (matching_rows(connection, part) for part in parts))
        case Or(parts=parts):
            return _merged(np.union1d, (matching_rows(connection, part) for part in parts))
        case Not(part=part):
            return np.setdiff1d(_all_rows(connection), matching_rows(connection, part), assume_unique=True)


def _merged(merge: Any, parts: Iterable[Rows]) -> Rows:  # noqa: ANN401  one of numpy's set functions
    merged: Rows | None = None
    for rows in parts:
        merged = rows if merged is None else merge(merged, rows)
    assert merged is not None
    return merged


def _all_rows(connection: Connection) -> Rows:
    return np.fromiter((row for (row,) in connection.execute("SELECT row FROM items ORDER BY row")), np.int64)
