"""Items as rows of a Milvus collection: one row for each vector, so that an item is one or two of them.

pk           the item's id, U+0001, and `i` for its image or `t` for its text; U+0001 is in no id and sorts first,
             so the order of rows is the order of ids
target       image or text. No partition key: Milvus 2.3 puts what is upserted into the wrong partition
is_primary   whether this row stands for its item where items are counted and listed: its image, or else its text
targets      which rows the item has, such as `image,text`; with `updated_us`, the same in both of its rows
text, metadata, digest, picture (of `pictures.py`), created_us, updated_us, facts (of `milvus_filters.py`), vector
"""

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from index.milvus_filters import facts_of
from index.milvus_server import MilvusAddress, MilvusServer
from index.records import TARGETS, Item, NewItem, Target
from index.state import Identity
from runtime.errors import GalleryError

if TYPE_CHECKING:
    from pymilvus import CollectionSchema

Row = dict[str, Any]

FORMAT = 1
ITEM_FIELDS = (
    "pk",
    "target",
    "is_primary",
    "targets",
    "text",
    "metadata",
    "digest",
    "picture",
    "created_us",
    "updated_us",
)
AFTER_EVERY_ROW = "\x02"
"""Behind an item's id it stands after every row of the item and before those of the next one."""

_MOST_BYTES = 65_535
_BUILD: dict[str, dict[str, Any]] = {
    "HNSW": {"M": 16, "efConstruction": 200},
    "GPU_CAGRA": {"intermediate_graph_degree": 128, "graph_degree": 64},
}
_SUFFIX: dict[Target, str] = {"image": "\x01i", "text": "\x01t"}


def pk_of(item_id: str, target: Target) -> str:
    """Return the primary key of an item's row."""
    return item_id + _SUFFIX[target]


def pks_of(ids: Iterable[str]) -> list[str]:
    """Return every primary key that rows of these items may have."""
    return [pk_of(item_id, target) for item_id in ids for target in TARGETS]


def id_of(pk: str) -> str:
    """Return the item that a row is of."""
    return pk[:-2]


def quoted(text: str) -> str:
    """Return a text as it stands in an expression."""
    return json.dumps(text, ensure_ascii=False)


def listed(pks: Sequence[str]) -> str:
    """Return the expression for rows of these primary keys."""
    return f"pk in [{', '.join(map(quoted, pks))}]"


def rows_of(item: NewItem, *, picture: str, created_us: int, updated_us: int) -> list[Row]:
    """Return the rows of an item.

    Raises:
        GalleryError: `metadata_invalid`, `text_invalid`: there is more of it than Milvus takes.
    """
    vectors = {"image": item.image_embedding, "text": item.text_embedding}
    targets = [target for target in TARGETS if vectors[target] is not None]
    shared = {
        "targets": ",".join(targets),
        "text": "" if item.text is None else _within(item.text, "text"),
        "metadata": _within(orjson.dumps(item.metadata).decode(), "metadata"),
        "digest": item.content_digest,
        "picture": picture,
        "created_us": created_us,
        "updated_us": updated_us,
        "facts": facts_of(item.metadata),
    }
    return [
        {
            "pk": pk_of(item.id, target),
            "target": target,
            "is_primary": target == targets[0],
            "vector": np.asarray(vectors[target], np.float32).tolist(),
            **shared,
        }
        for target in targets
    ]


def item_of(row: Row) -> Item:
    """Return the item that a row is of."""
    return Item(
        id=id_of(row["pk"]),
        text=row["text"] or None,
        metadata=orjson.loads(row["metadata"]),
        content_digest=row["digest"],
        targets=frozenset(target for target in TARGETS if target in row["targets"].split(",")),
        has_picture=bool(row["picture"]),
        created_s=row["created_us"] / 1e6,
        updated_s=row["updated_us"] / 1e6,
    )


def create_collection(
    server: MilvusServer, collection: str, identity: Identity, address: MilvusAddress, *, pictures: str
) -> None:
    """Make a collection with its index and load it, or what is missing of that.

    Raises:
        GalleryError: `gallery_failed`: Milvus does not take this index or its parameters; no collection is left.
    """
    from pymilvus import MilvusClient

    if not server.call("has_collection", collection):
        schema = _schema(identity, address, pictures=pictures)
        server.call("create_collection", collection, schema=schema, num_shards=address.shards)
    if not server.call("list_indexes", collection):
        parameters = MilvusClient.prepare_index_params()
        build = {**_BUILD.get(address.index, {}), **address.build}
        parameters.add_index("vector", index_type=address.index, metric_type="IP", params=build)
        try:
            server.call("create_index", collection, parameters)
        except GalleryError as error:
            if error.code == "gallery_failed":
                server.call("drop_collection", collection)
            raise
    server.call("load_collection", collection)


def read_description(server: MilvusServer, collection: str) -> dict[str, Any]:
    """Return what a collection says of itself: space, dim, where pictures are, index and search parameters.

    Raises:
        GalleryError: `gallery_damaged` when it is no gallery, `gallery_too_new`, `unknown_gallery`.
    """
    try:
        facts: dict[str, Any] = orjson.loads(server.call("describe_collection", collection)["description"])
        written = int(facts["vernier"])
    except (ValueError, KeyError, TypeError) as error:
        raise GalleryError(
            f"the collection {collection} in Milvus at {server.address.server} is no gallery.", code="gallery_damaged"
        ) from error
    if written != FORMAT:
        raise GalleryError(
            f"the collection {collection} has format {written}; this program reads {FORMAT}.", code="gallery_too_new"
        )
    return facts


def _schema(identity: Identity, address: MilvusAddress, *, pictures: str) -> "CollectionSchema":
    from pymilvus import DataType, MilvusClient

    description = {
        "vernier": FORMAT,
        "space": identity.space,
        "dim": identity.dim,
        "pictures": pictures,
        "index": address.index,
        "build": address.build,
        "search": address.search,
    }
    schema = MilvusClient.create_schema(
        auto_id=False, enable_dynamic_field=False, description=orjson.dumps(description).decode()
    )
    schema.add_field("pk", DataType.VARCHAR, is_primary=True, max_length=1_100)
    schema.add_field("target", DataType.VARCHAR, max_length=8)
    schema.add_field("is_primary", DataType.BOOL)
    schema.add_field("targets", DataType.VARCHAR, max_length=16)
    for name in ("text", "metadata"):
        schema.add_field(name, DataType.VARCHAR, max_length=_MOST_BYTES)
    schema.add_field("digest", DataType.VARCHAR, max_length=1_024)
    schema.add_field("picture", DataType.VARCHAR, max_length=64)
    for name in ("created_us", "updated_us"):
        schema.add_field(name, DataType.INT64)
    schema.add_field("facts", DataType.JSON)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=identity.dim)
    return schema


def _within(text: str, what: str) -> str:
    size = len(text.encode())
    if size > _MOST_BYTES:
        raise GalleryError(
            f"the {what} takes {size:,} bytes; a gallery in Milvus holds {_MOST_BYTES:,}.", code=f"{what}_invalid"
        )
    return text
