"""What an encoder says of a picture beyond its vector, as a gallery keeps it.

With it hits are re-scored, grounded and proofread without their pictures. A part of it is one or several arrays in one
blob; what a blob holds stands in its head, so that blobs of different precisions may lie side by side.
"""

import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from runtime.encoder import Encoder, Floats, ImageFeatures
from runtime.errors import GalleryError
from runtime.grounding import method_of
from runtime.preprocess.image import image_size
from runtime.word_judges import method_of as word_method_of

PatchTokens = Literal["none", "int8", "fp16"]
"""How what belongs to a picture's patches is kept: not at all, in one byte a number, or in two."""

PATCH_TOKENS: tuple[PatchTokens, ...] = get_args(PatchTokens)
DEFAULT_PATCH_TOKENS: PatchTokens = "int8"

Part = Literal["codes", "regions", "patch_tokens", "patch_embeddings", "proof"]

ARRAYS: dict[Part, tuple[str, ...]] = {
    "codes": ("codes",),
    "regions": ("region_boxes", "region_scores", "region_embeddings"),
    "patch_tokens": ("patch_tokens",),
    "patch_embeddings": ("patch_embeddings",),
    "proof": ("levels", "summary"),
}
"""The fields of `ImageFeatures` that each part holds. `proof` is what the proof-reader takes."""

_IN_ONE_BYTE = frozenset({"patch_tokens", "patch_embeddings", "levels"})
_STEPS = 127
_HEAD = struct.Struct("<BB")
_FP16, _INT8, _UINT16, _INT32 = range(4)
_DTYPES: dict[int, str] = {_FP16: "<f2", _INT8: "i1", _UINT16: "<u2", _INT32: "<i4"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What a gallery keeps of one picture.

    Attributes:
        size_px: width and height of the stored picture, which boxes are told in.
        parts: blobs.
    """

    size_px: tuple[int, int]
    parts: Mapping[Part, bytes]

    @property
    def nbytes(self) -> int:
        """Bytes of all parts."""
        return sum(map(len, self.parts.values()))


def kept_parts(encoder: Encoder, patch_tokens: PatchTokens) -> tuple[Part, ...]:
    """Name the parts that a gallery keeps of pictures of a bundle: those that its graphs give and can use.

    Codes and regions are small and always kept. Of what belongs to patches, which is large, tokens are kept for a
    fusion graph, embeddings where phrases are not found by regions, and levels where a proof-reader judges words.
    """
    gives = encoder.manifest.graphs["image_encoder"].has_output
    by_regions = method_of(encoder.manifest) == "regions"
    by_reader = word_method_of(encoder) == "word_errors"
    wanted: dict[Part, bool] = {
        "codes": gives("codes"),
        "regions": gives("region_boxes"),
        "patch_tokens": patch_tokens != "none" and encoder.has_fusion,
        "patch_embeddings": patch_tokens != "none" and gives("patch_embeddings") and not by_regions,
        "proof": patch_tokens != "none" and by_reader,
    }
    return tuple(part for part, is_wanted in wanted.items() if is_wanted)


def keep(encoder: Encoder, features: ImageFeatures, pictures: Sequence[bytes], patch_tokens: PatchTokens) -> list[Kept]:
    """Return what a gallery keeps of pictures.

    Args:
        encoder: of the gallery's space.
        features: of the pictures, embedded with `to_proofread` when `is_kept_to_proofread` says so.
        pictures: the JPEGs that are stored of them.
        patch_tokens: the gallery's.

    Raises:
        GalleryError: as `pack`.
    """
    return pack(features, [image_size(data) for data in pictures], kept_parts(encoder, patch_tokens), patch_tokens)


def is_kept_to_proofread(encoder: Encoder, patch_tokens: PatchTokens) -> bool:
    """Say whether pictures are to be embedded with what the proof-reader takes."""
    return "proof" in kept_parts(encoder, patch_tokens)


def pack(
    features: ImageFeatures, sizes_px: Sequence[tuple[int, int]], parts: Collection[Part], patch_tokens: PatchTokens
) -> list[Kept]:
    """Return what is kept of some pictures.

    Args:
        features: of the pictures, embedded with `to_proofread` when `proof` is among the parts.
        sizes_px: width and height of each stored picture.
        parts: what to keep; see `kept_parts`.
        patch_tokens: how to keep what belongs to patches.

    Raises:
        GalleryError: `features_invalid`: the encoder gave numbers that are none, or that half precision cannot hold.
    """
    if not sizes_px:
        return []
    blobs: list[dict[Part, bytes]] = [{} for _ in sizes_px]
    for part in parts:
        packed = [list(_packed(name, getattr(features, name), patch_tokens)) for name in ARRAYS[part]]
        for at, blob in enumerate(blobs):
            blob[part] = b"".join(arrays[at] for arrays in packed)
    return [Kept(size_px=size, parts=blob) for size, blob in zip(sizes_px, blobs, strict=True)]


def unpack(kept: Sequence[Kept], embeddings: Floats, parts: Collection[Part]) -> ImageFeatures:
    """Return pictures as features again; each must have these parts.

    Args:
        kept: of at least one picture.
        embeddings: [pictures, dim], their vectors.
        parts: what is wanted. Without `patch_tokens` the features have none: [pictures, 0, 0].

    Raises:
        GalleryError: `gallery_damaged`: a blob holds something else.
    """
    arrays: dict[str, Any] = {
        "patch_tokens": np.zeros((len(kept), 0, 0), np.float32),
        "patch_embeddings": None,
    }
    for part in parts:
        names = ARRAYS[part]
        columns = _columns([one.parts[part] for one in kept])
        if len(columns) != len(names):
            raise _damaged(f"part {part} holds {len(columns)} arrays and not {len(names)}")
        arrays.update(zip(names, columns, strict=True))
    return ImageFeatures(embedding=embeddings, **arrays)


def shape_of(kept: Kept, part: Part) -> tuple[tuple[int, ...], ...]:
    """Return the shapes of the arrays of a part.

    Raises:
        GalleryError: `gallery_damaged`: it cannot be read, or holds numbers that are none.
    """
    columns = _columns([kept.parts[part]])
    if len(columns) != len(ARRAYS[part]):
        raise _damaged(f"part {part} holds {len(columns)} arrays and not {len(ARRAYS[part])}")
    if not all(np.isfinite(column).all() for column in columns):
        raise _damaged(f"part {part} holds numbers that are none")
    return tuple(column.shape[1:] for column in columns)


def codes_of(kept: Sequence[Kept]) -> NDArray[np.int64]:
    """Return the codes of pictures that have some: [pictures, patches].

    Raises:
        GalleryError: `gallery_damaged`.
    """
    (codes,) = _columns([one.parts["codes"] for one in kept])
    return codes


def _packed(name: str, values: NDArray[Any] | None, patch_tokens: PatchTokens) -> Iterator[bytes]:
    """Yield the blob of each picture's array; `values` is [pictures, …]."""
    assert values is not None, f"the encoder gave no {name}"
    scales: NDArray[Any] | None = None
    if name == "codes":
        kind = _UINT16 if values.min(initial=0) >= 0 and values.max(initial=0) < 2**16 else _INT32
        stored = values.astype(_DTYPES[kind])
    elif name in _IN_ONE_BYTE and patch_tokens == "int8":
        # A scale for each channel of each picture: channels differ in size far more than patches do.
        kind, scales = _INT8, (np.abs(values).max(axis=-2, keepdims=True) / _STEPS).astype("<f4")
        divisor = np.where(scales > 0, scales, np.float32(1))
        stored = np.clip(np.rint(values / divisor), -_STEPS, _STEPS).astype(np.int8)
    else:
        with np.errstate(over="ignore"):
            kind, stored = _FP16, values.astype("<f2")
    if not np.isfinite(scales if scales is not None else stored).all():
        raise GalleryError(
            f"what the encoder gave as {name} cannot be kept: it holds numbers that are none, or beyond 65,504.",
            code="features_invalid",
        )
    shape = values.shape[1:]
    head = _HEAD.pack(kind, len(shape)) + struct.pack(f"<{len(shape)}I", *shape)
    for at in range(len(values)):
        yield head + (b"" if scales is None else scales[at].tobytes()) + stored[at].tobytes()


def _columns(blobs: Sequence[bytes]) -> list[NDArray[Any]]:
    """Return the arrays that blobs of the same part hold, each [pictures, …]."""
    if any(len(blob) != len(blobs[0]) or blob[:1] != blobs[0][:1] for blob in blobs):  # of several precisions
        alone = [_columns([blob]) for blob in blobs]
        shapes = [[column.shape for column in columns] for columns in alone]
        if any(shape != shapes[0] for shape in shapes):
            raise _damaged("pictures have parts of different shapes")
        return [np.concatenate(columns) for columns in zip(*alone, strict=True)]
    rows = np.frombuffer(b"".join(blobs), np.uint8).reshape(len(blobs), -1)
    columns, start = [], 0
    while start < rows.shape[1]:
        column, start = _column(rows, start)
        columns.append(column)
    return columns


def _column(rows: NDArray[np.uint8], start: int) -> tuple[NDArray[Any], int]:
    """Read the array that begins at a byte of every row; return it and where the next one begins."""
    first = rows[0].tobytes()
    try:
        kind, num_dims = _HEAD.unpack_from(first, start)
        shape = struct.unpack_from(f"<{num_dims}I", first, start + _HEAD.size)
        dtype = np.dtype(_DTYPES[kind])
    except (struct.error, KeyError) as error:
        raise _damaged("its head cannot be read") from error
    data = start + _HEAD.size + 4 * num_dims
    if (rows[:, start:data] != rows[0, start:data]).any():
        raise _damaged("pictures have parts of different shapes")
    scale_shape = (*shape[:-2], 1, shape[-1]) if kind == _INT8 and num_dims > 1 else ()
    scale_bytes = 4 * int(np.prod(scale_shape)) if scale_shape else 0
    end = data + scale_bytes + dtype.itemsize * int(np.prod(shape, dtype=np.int64))
    if end > rows.shape[1]:
        raise _damaged("it ends too early")
    values = rows[:, data + scale_bytes : end].copy().view(dtype).reshape(len(rows), *shape)
    if kind == _INT8:
        scales = rows[:, data : data + scale_bytes].copy().view("<f4").reshape(len(rows), *scale_shape)
        return values.astype(np.float32) * scales, end
    return values.astype(np.float32 if kind == _FP16 else np.int64), end


def _damaged(what: str) -> GalleryError:
    return GalleryError(
        f"what is kept of a picture cannot be read: {what}. `vernier index features --again` makes it anew.",
        code="gallery_damaged",
    )
