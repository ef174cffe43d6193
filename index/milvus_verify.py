"""Finds what is wrong with a gallery in Milvus: between rows and items, metadata and facts, items and pictures."""

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import orjson

from index.milvus_filters import facts_of
from index.milvus_rows import ITEM_FIELDS, Row, id_of, pk_of
from index.records import TARGETS

if TYPE_CHECKING:
    from index.milvus import MilvusGallery

_LENGTH_TOLERANCE = 1e-3
_MOST_PROBLEMS = 100


def find_problems(gallery: "MilvusGallery") -> list[str]:
    """Return what is wrong, in words; at most 100 things. Nobody writes meanwhile."""
    problems: list[str] = []
    for problem in _problems(gallery):
        if len(problems) >= _MOST_PROBLEMS:
            return [*problems, "… and more"]
        problems.append(problem)
    return problems


def _problems(gallery: "MilvusGallery") -> Iterator[str]:
    everything = gallery.all_rows([*ITEM_FIELDS, "facts", "vector"])
    for _, rows in itertools.groupby(everything, lambda row: id_of(row["pk"])):
        of_item = list(rows)
        for row in of_item:
            yield from _wrong_row(row)
        yield from _wrong_item(gallery, of_item)


def _wrong_row(row: Row) -> Iterator[str]:
    if row["facts"] != facts_of(orjson.loads(row["metadata"])):
        yield f"{row['pk']}: what filters see is not what its metadata says"
    if abs(float(np.linalg.norm(np.asarray(row["vector"], np.float32))) - 1) > _LENGTH_TOLERANCE:
        yield f"{row['pk']}: the vector has not unit length"


def _wrong_item(gallery: "MilvusGallery", rows: list[Row]) -> Iterator[str]:
    item_id, first = id_of(rows[0]["pk"]), rows[0]
    targets = [target for target in TARGETS if target in first["targets"].split(",")]
    if sorted(row["pk"] for row in rows) != sorted(pk_of(item_id, target) for target in targets):
        yield f"item {item_id!r}: its rows are not those of its vectors; store it again"
    if any(row["updated_us"] != first["updated_us"] for row in rows):
        yield f"item {item_id!r}: its rows are of two writes; store it again"
    if [row["target"] for row in rows if row["is_primary"]] != targets[:1]:
        yield f"item {item_id!r} is not counted once"
    if first["picture"] and gallery.picture_store is not None and gallery.picture_store.get(first["picture"]) is None:
        yield f"item {item_id!r}: its picture is gone"
