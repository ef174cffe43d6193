"""What may be stored: ids, names, metadata and vectors are looked at here, once, before anything is written."""

import dataclasses
import hashlib
import math
import os
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import orjson

from index.filters import MAX_FIELD_LENGTH, checked_scalar
from index.records import Floats, Metadata, NewItem, leaves
from runtime.errors import GalleryError

MAX_ID_LENGTH = 256
MAX_METADATA_BYTES = 64 * 1024
MAX_METADATA_DEPTH = 8
MAX_TEXT_LENGTH = 20_000

_GALLERY_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}
_RESERVED = {"and", "or", "not"}
_BLOCK_BYTES = 1 << 20
_UNIT_TOLERANCE = 0.01  # what half-precision engines give is accepted, and made exact
_UNIT_EXACT = 1e-5


def check_gallery_name(name: str) -> str:
    """Return the name of a gallery if it is one.

    Raises:
        GalleryError: `gallery_name_invalid`.
    """
    if not _GALLERY_NAME.fullmatch(name):
        raise GalleryError(
            f"{name!r} cannot be the name of a gallery: lower-case letters, digits, '_' and '-', at most 64, "
            "starting with a letter or digit.",
            code="gallery_name_invalid",
        )
    return name


def check_item_id(item_id: str) -> str:
    """Return the id of an item if it is one.

    Raises:
        GalleryError: `item_id_invalid`.
    """
    if not item_id or len(item_id) > MAX_ID_LENGTH:
        raise GalleryError(
            f"an item's id has 1 to {MAX_ID_LENGTH} characters, not {len(item_id)}.", code="item_id_invalid"
        )
    if any(unicodedata.category(character) in _UNPRINTABLE for character in item_id):
        raise GalleryError(
            f"the id {item_id!r} holds a control character or half a surrogate pair.", code="item_id_invalid"
        )
    return item_id


def checked_item(item: NewItem, *, dim: int) -> NewItem:
    """Return the item with vectors of exactly unit length, if it can be stored.

    Raises:
        GalleryError: `item_id_invalid`, `metadata_invalid`, `text_invalid` or `vector_invalid`.
    """
    check_item_id(item.id)
    check_metadata(item.metadata)
    if item.text is not None:
        _check_text(item.text)
    if item.image_embedding is None and item.text_embedding is None:
        raise GalleryError(
            f"item {item.id!r} has no vector: an item is a picture, a text, or both.", code="vector_invalid"
        )
    return dataclasses.replace(
        item,
        features=None if item.image_embedding is None else item.features,
        image_embedding=_checked_vector(item.image_embedding, dim=dim, what=f"image embedding of {item.id!r}"),
        text_embedding=_checked_vector(item.text_embedding, dim=dim, what=f"text embedding of {item.id!r}"),
    )


def check_metadata(metadata: object) -> Metadata:
    """Return the metadata if it is a JSON object that can be stored and filtered on.

    Raises:
        GalleryError: `metadata_invalid`; the message names the field.
    """
    if not isinstance(metadata, Mapping):
        raise _bad_metadata("it must be a JSON object")
    _check_object(metadata, where="", depth=1)
    for leaf in leaves(metadata):
        checked_scalar(leaf.value, where=f"metadata field {leaf.field!r}", code="metadata_invalid")
        if len(leaf.field) > MAX_FIELD_LENGTH:
            raise _bad_metadata(f"the field {leaf.field[:40]!r}… has more than {MAX_FIELD_LENGTH} characters")
    if reserved := _RESERVED & set(metadata):
        raise _bad_metadata(f"a field cannot be called {sorted(reserved)[0]!r}, which filters use")
    if len(orjson.dumps(metadata)) > MAX_METADATA_BYTES:
        raise _bad_metadata(f"it takes more than {MAX_METADATA_BYTES // 1024} KiB")
    return metadata


def checked_queries(queries: Floats, *, dim: int) -> Floats:
    """Return queries [n, dim] as contiguous float32.

    Raises:
        GalleryError: `vector_invalid`.
    """
    array = np.ascontiguousarray(queries, dtype=np.float32)
    if array.ndim != 2 or array.shape[1] != dim:
        raise GalleryError(f"queries must have shape [n, {dim}], not {list(array.shape)}.", code="vector_invalid")
    if not math.isfinite(np.vdot(array, array)) and not np.isfinite(array).all():  # the first is the quicker
        raise GalleryError("a query holds a number that is not finite.", code="vector_invalid")
    return array


def content_digest(*, picture: bytes | None = None, text: str | None = None) -> str:
    """Name what an item's vectors are made from: the file of its picture, as it came, and its text."""
    digest = hashlib.sha256()
    _add_part(digest, picture)
    _add_part(digest, None if text is None else text.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def content_digest_of_file(picture: Path, *, text: str | None = None) -> str:
    """Return `content_digest` of a file that is too large to be read at once."""
    digest = hashlib.sha256()
    with picture.open("rb") as file:
        digest.update(b"%d:" % os.fstat(file.fileno()).st_size)
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    _add_part(digest, None if text is None else text.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _add_part(digest: "hashlib._Hash", part: bytes | None) -> None:
    digest.update(b"-" if part is None else b"%d:" % len(part))
    digest.update(part or b"")


def _check_object(value: object, *, where: str, depth: int) -> None:
    if depth > MAX_METADATA_DEPTH:
        raise _bad_metadata(f"it is nested deeper than {MAX_METADATA_DEPTH} at {where!r}")
    if isinstance(value, Mapping):
        for name, member in value.items():
            if not isinstance(name, str) or not name:
                raise _bad_metadata(f"a field's name is a text with something in it, not {name!r}")
            checked_scalar(name, where="metadata field name", code="metadata_invalid")
            _check_object(member, where=f"{where}.{name}".lstrip("."), depth=depth + 1)
    elif isinstance(value, list | tuple):
        for member in value:
            _check_object(member, where=where, depth=depth + 1)


def _check_text(text: str) -> None:
    checked_scalar(text, where="text", code="text_invalid")
    if not text.strip() or len(text) > MAX_TEXT_LENGTH:
        raise GalleryError(f"an item's text has 1 to {MAX_TEXT_LENGTH:,} characters.", code="text_invalid")


def _checked_vector(vector: Floats | None, *, dim: int, what: str) -> Floats | None:
    if vector is None:
        return None
    array = np.asarray(vector, np.float32)
    if array.shape != (dim,):
        raise GalleryError(f"the {what} has shape {list(array.shape)}, not [{dim}].", code="vector_invalid")
    length = float(np.linalg.norm(array))
    if not abs(length - 1) <= _UNIT_TOLERANCE:  # also when it is not a number
        raise GalleryError(f"the {what} has length {length:.4g}; unit length is wanted.", code="vector_invalid")
    return array.copy() if abs(length - 1) <= _UNIT_EXACT else array / np.float32(length)


def _bad_metadata(what: str) -> GalleryError:
    return GalleryError(f"the metadata cannot be stored: {what}.", code="metadata_invalid")
