"""Finds what is wrong with a gallery: in its file, between its tables, in memory, and in its snapshot."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from sqlite3 import Connection

import numpy as np
import orjson

from index import feature_rows, frame_rows
from index.checks import check_item_id
from index.feature_rows import PARTS
from index.features import Kept, shape_of
from index.items import ItemStore, attribute
from index.memory import Memory, TargetIndex
from index.records import TARGETS, Target, leaves
from index.snapshot import snapshot_problem
from index.state import FEATURE_TABLE, State
from runtime.errors import GalleryError

_LENGTH_TOLERANCE = 1e-3
_MOST_PROBLEMS = 100


def find_problems(folder: Path, store: ItemStore, state: State, memory: Memory) -> list[str]:
    """Return what is wrong, in words; at most 100 things. `memory` shows the version of `state` and stays still."""
    problems: list[str] = []
    try:
        for problem in _problems(folder, store, state, memory):
            problems.append(problem)
            if len(problems) >= _MOST_PROBLEMS:
                return [*problems, "… and more"]
    except GalleryError as error:
        problems.append(str(error))
    return problems


def _problems(folder: Path, store: ItemStore, state: State, memory: Memory) -> Iterator[str]:
    for check in (_damage, _loose_parts, _wrong_items, _wrong_attributes, _wrong_features, frame_rows.problems):
        yield from check(state.connection)
    yield from _wrong_memory(state, memory)
    problem = snapshot_problem(folder, store)
    if problem is not None:
        yield f"snapshot: {problem}"


def _damage(connection: Connection) -> Iterator[str]:
    for (line,) in connection.execute("PRAGMA integrity_check"):
        if line != "ok":
            yield f"file: {line}"


def _loose_parts(connection: Connection) -> Iterator[str]:
    for table in ("image_vectors", "text_vectors", "pictures", "attributes", *_feature_tables(connection)):
        sql = f"SELECT DISTINCT row FROM {table} WHERE row NOT IN (SELECT row FROM items)"
        for (row,) in connection.execute(sql):
            yield f"{table}: row {row} belongs to no item"
    sql = """SELECT id FROM items WHERE row NOT IN (SELECT row FROM image_vectors)
             AND row NOT IN (SELECT row FROM text_vectors)"""
    for (item_id,) in connection.execute(sql):
        yield f"item {item_id!r} has no vector"


def _wrong_items(connection: Connection) -> Iterator[str]:
    for (item_id,) in connection.execute("SELECT id FROM items"):
        try:
            check_item_id(item_id)
        except GalleryError as error:
            yield str(error)
    for item_id, number in connection.execute("SELECT id, count(*) FROM items GROUP BY id HAVING count(*) > 1"):
        yield f"item {item_id!r} is there {number} times"


def _wrong_attributes(connection: Connection) -> Iterator[str]:
    expected: Counter[tuple[object, ...]] = Counter()
    for row, metadata in connection.execute("SELECT row, metadata FROM items"):
        try:
            expected.update({(*attribute(leaf), row) for leaf in leaves(orjson.loads(metadata))})
        except ValueError:
            yield f"row {row}: the metadata is not JSON"
    for stored in connection.execute("SELECT field, kind, value, row FROM attributes"):
        expected[stored] -= 1
    for (field, _, _, row), number in expected.items():
        if number:
            yield f"row {row}: what filters see of field {field!r} is not what its metadata says"


def _feature_tables(connection: Connection) -> list[str]:
    return [FEATURE_TABLE] if feature_rows.is_there(connection) else []


def _wrong_features(connection: Connection) -> Iterator[str]:
    for table in _feature_tables(connection):
        shapes: dict[str, tuple[object, ...]] = {}
        sql = f"SELECT id, f.* FROM {table} AS f JOIN items ON items.row = f.row ORDER BY f.row"
        for item_id, row, width_px, height_px, *blobs in connection.execute(sql):
            if not connection.execute("SELECT 1 FROM image_vectors WHERE row = ?", (row,)).fetchone():
                yield f"item {item_id!r} has features of a picture and no vector of one"
            kept = Kept(
                size_px=(width_px, height_px),
                parts={part: bytes(blob) for part, blob in zip(PARTS, blobs, strict=True) if blob is not None},
            )
            for part in kept.parts:
                try:
                    shape = shape_of(kept, part)
                except GalleryError as error:
                    yield f"item {item_id!r}, {part}: {error}"
                    continue
                if shape != shapes.setdefault(part, shape):
                    yield f"item {item_id!r}: its {part} have another shape than those of other pictures"


def _wrong_memory(state: State, memory: Memory) -> Iterator[str]:
    if state.version != memory.version:
        yield f"memory shows version {memory.version}, the file {state.version}"
    if memory.names_differ(state):
        yield "memory and file do not hold the same items"
    for target in TARGETS:
        yield from _wrong_vectors(target, state, memory.index(target))


def _wrong_vectors(target: Target, state: State, index: TargetIndex) -> Iterator[str]:
    held_rows, start = index.rows(), 0
    if len(np.unique(held_rows)) != len(held_rows):
        yield f"{target}: a row is in the index twice"
    for rows, vectors in state.vectors(target):
        if not np.array_equal(held_rows[start : start + len(rows)], rows):
            yield f"{target}: the index and the file do not hold vectors of the same items"
            return
        for row in rows[index.differs(rows, vectors)].tolist():
            yield f"{target}: the vector of row {row} in the index is not the one in the file"
        is_unit = np.abs(np.linalg.norm(vectors, axis=1) - 1) <= _LENGTH_TOLERANCE
        for row in rows[~is_unit].tolist():
            yield f"{target}: the vector of row {row} has not unit length"
        start += len(rows)
    if start < len(held_rows):
        yield f"{target}: the index and the file do not hold vectors of the same items"
