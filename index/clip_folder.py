"""A folder of clip-retrieval or autofaiss as it lies on the disk: vectors, captions, metadata, row by row.

Read are `img_emb/*.npy` and `text_emb/*.npy`, or `image.index` and `text.index`, or `.npy` files alone, beside
`metadata/*.parquet`. Files go by name, as both programs read them. Nothing here knows a gallery.
"""

import datetime
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import faiss
import numpy as np

from index.records import Floats
from runtime.errors import DataError


class Vectors(Protocol):
    """Vectors in order."""

    @property
    def shape(self) -> tuple[int, int]:
        """How many there are, and how long each is."""
        ...

    def part(self, start: int, stop: int) -> Floats:
        """Return the vectors [stop - start, dim] at unit length."""
        ...


@dataclass(frozen=True, slots=True)
class ClipFolder:
    """What a folder holds. All that it has goes row by row together.

    Attributes:
        metadata: Parquet files; none when the folder has none.
    """

    images: Vectors | None
    texts: Vectors | None
    metadata: Sequence[Path]
    count: int
    dim: int

    def rows(self, batch_size: int) -> Iterator["list[Row]"]:
        """Yield the rows in order, some at a time.

        Raises:
            DataError: a file cannot be read.
        """
        for start, about in zip(range(0, self.count, batch_size), _batches(self, batch_size), strict=True):
            stop = start + len(about)
            images = None if self.images is None else self.images.part(start, stop)
            texts = None if self.texts is None else self.texts.part(start, stop)
            yield [
                Row(
                    number=start + at,
                    image=None if images is None else images[at],
                    text=None if texts is None else texts[at],
                    fields=fields,
                )
                for at, fields in enumerate(about)
            ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row: the vectors of a picture and of its caption, and what is written about them."""

    number: int
    image: Floats | None
    text: Floats | None
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def caption(self) -> str | None:
        """The caption, where there is one."""
        said = self.fields.get("caption")
        return said if isinstance(said, str) and said.strip() else None


def read_clip_folder(folder: Path) -> ClipFolder:
    """Open a folder; vectors are read when they are asked for.

    Raises:
        DataError: `source_missing` or `index_invalid`: nothing is there to read, or its parts do not belong together.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}.", code="source_missing")
    images = _vectors(folder, "img_emb", "image.index") or _vectors(folder, "", "knn.index")
    texts = _vectors(folder, "text_emb", "text.index")
    some = images or texts
    if some is None:
        raise DataError(
            f"{folder} holds no vectors: neither img_emb/*.npy or text_emb/*.npy, nor image.index or text.index, nor "
            "*.npy files.",
            code="index_invalid",
        )
    metadata = sorted((folder / "metadata").glob("*.parquet")) or sorted(folder.glob("*.parquet"))
    count, dim = some.shape
    sizes = {"pictures' vectors": images and images.shape[0], "texts' vectors": texts and texts.shape[0]}
    sizes["rows of metadata"] = sum(_num_rows(file) for file in metadata) if metadata else None
    if len({size for size in sizes.values() if size is not None}) > 1:
        counted = ", ".join(f"{size:,} {what}" for what, size in sizes.items() if size is not None)
        raise DataError(f"the parts of {folder} do not belong together: {counted}.", code="index_invalid")
    return ClipFolder(images, texts, metadata, count, dim)


class _NpyVectors:
    def __init__(self, files: Sequence[Path]) -> None:
        try:
            self._parts = [np.load(file, mmap_mode="r") for file in files]
        except (OSError, ValueError) as error:
            raise DataError(f"vectors cannot be read: {error}.", code="index_invalid") from error
        if any(part.ndim != 2 for part in self._parts) or len({part.shape[1] for part in self._parts}) != 1:
            raise DataError(f"{files[0].parent} holds arrays that are not all [rows, dim].", code="index_invalid")
        self._ends = np.cumsum([len(part) for part in self._parts])

    @property
    def shape(self) -> tuple[int, int]:
        return int(self._ends[-1]), int(self._parts[0].shape[1])

    def part(self, start: int, stop: int) -> Floats:
        rows = np.arange(start, stop)
        owners = np.searchsorted(self._ends, rows, side="right")
        taken = [
            self._parts[owner][rows[owners == owner] - (self._ends[owner - 1] if owner else 0)]
            for owner in np.unique(owners)
        ]
        return _unit(np.concatenate(taken))


class _IndexVectors:
    def __init__(self, file: Path) -> None:
        try:
            self._index = faiss.read_index(str(file))
            if hasattr(inner := faiss.downcast_index(self._index), "make_direct_map"):
                inner.make_direct_map()
        except RuntimeError as error:
            raise DataError(f"{file} cannot be read as a FAISS index ({error}).", code="index_invalid") from error

    @property
    def shape(self) -> tuple[int, int]:
        return int(self._index.ntotal), int(self._index.d)

    def part(self, start: int, stop: int) -> Floats:
        try:
            return _unit(self._index.reconstruct_n(start, stop - start))
        except RuntimeError as error:
            raise DataError(
                "this kind of FAISS index does not give its vectors back; import the folder of .npy files that it was "
                "built from.",
                code="index_invalid",
            ) from error


def _vectors(folder: Path, arrays: str, index: str) -> Vectors | None:
    if files := sorted((folder / arrays).glob("*.npy")):
        return _NpyVectors(files)
    return _IndexVectors(folder / index) if (folder / index).is_file() else None


def _unit(vectors: Floats) -> Floats:
    found = np.asarray(vectors, np.float32)
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    if not (np.isfinite(lengths).all() and (lengths > 0).all()):
        raise DataError("some vectors are zero or hold numbers that are not finite.", code="index_invalid")
    return np.asarray(found / lengths, np.float32)


def _batches(folder: ClipFolder, size: int) -> Iterator[list[dict[str, Any]]]:
    """What is written about the rows; nothing where there is no metadata."""
    pending: list[dict[str, Any]] = []
    if not folder.metadata:
        for start in range(0, folder.count, size):
            yield [{} for _ in range(min(size, folder.count - start))]
        return
    from pyarrow.parquet import ParquetFile

    for file in folder.metadata:
        for batch in ParquetFile(file).iter_batches(batch_size=size):
            pending += [_plain(row) for row in batch.to_pylist()]
            while len(pending) >= size:
                yield pending[:size]
                pending = pending[size:]
    if pending:
        yield pending


def _num_rows(file: Path) -> int:
    from pyarrow import ArrowInvalid
    from pyarrow.parquet import ParquetFile

    try:
        return int(ParquetFile(file).metadata.num_rows)
    except (OSError, ArrowInvalid) as error:
        raise DataError(f"{file} cannot be read as Parquet ({error}).", code="index_invalid") from error


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """What JSON can say of a row; the rest is left out."""
    said = {
        name: value.isoformat() if isinstance(value, datetime.date) else value  # a datetime is a date too
        for name, value in row.items()
    }
    return {name: value for name, value in said.items() if _is_plain(value)}


def _is_plain(value: object) -> bool:
    if isinstance(value, list):
        return all(isinstance(entry, str | int) for entry in value)
    return isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
