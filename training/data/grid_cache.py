"""Grids of a frozen backbone, computed once per picture and kept on disk.

A cache is a directory named by what it depends on (the backbone's digest, the views, and the name, size and time of
every picture), so a changed picture or backbone gives a new one. It holds one row per picture:

    grids.f16      float16 [pictures, views, patches, channels]
    state.u8       one byte per picture: 0 not yet, 1 there, 2 broken
    broken.json    name to reason

Rows are written before their state, so what was interrupted goes on where it stopped.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float16, Int
from numpy.typing import NDArray
from PIL import Image, ImageOps

from runtime.errors import DataError, ImageError
from runtime.preprocess.image import decode_image
from training.model.backbone import Backbone, BackboneConfig

Progress = Callable[[int, int], None]
"""Called with (pictures done, pictures in all)."""

VIEWS = 2  # as it is, and mirrored
_PICTURES_PER_BATCH = 16
_MISSING, _THERE, _BROKEN = 0, 1, 2


@dataclass(frozen=True)
class GridCache:
    """The grids of some pictures.

    Attributes:
        directory: where they are.
        names: of the pictures, in the order of the rows.
        backbone: what made them.
    """

    directory: Path
    names: tuple[str, ...]
    backbone: BackboneConfig

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Pictures, views, patches, channels."""
        patches = self.backbone.rows * self.backbone.columns
        return (len(self.names), VIEWS, patches, self.backbone.channels)

    @cached_property
    def broken(self) -> dict[str, str]:
        """The pictures that could not be read, and why."""
        reasons: dict[str, str] = json.loads((self.directory / "broken.json").read_text())
        return reasons

    @cached_property
    def usable(self) -> NDArray[np.bool_]:
        """Which rows hold a picture."""
        usable: NDArray[np.bool_] = np.fromfile(self.directory / "state.u8", np.uint8) == _THERE
        return usable

    def take(
        self, rows: Int[NDArray[np.int64], " pairs"], views: Int[NDArray[np.int64], " pairs"]
    ) -> Float16[NDArray[np.float16], "pairs patches channels"]:
        """The grids of some pictures, each in one of its views."""
        return np.ascontiguousarray(self._grids[rows, views])

    @cached_property
    def _grids(self) -> "np.memmap[tuple[int, ...], np.dtype[np.float16]]":
        return np.memmap(self.directory / "grids.f16", np.float16, mode="r", shape=self.shape)

    def __getstate__(self) -> dict[str, object]:
        """Only the names travel to another process; the file is opened there anew."""
        return {"directory": self.directory, "names": self.names, "backbone": self.backbone}


def fill_cache(
    root: Path,
    folder: Path,
    names: Sequence[str],
    backbone: BackboneConfig,
    *,
    progress: Progress | None = None,
) -> GridCache:
    """Compute the grids that are not there yet.

    Args:
        root: where caches lie; each set of pictures has its own directory in it.
        folder: where the pictures are.
        names: of the pictures, relative to the folder.
        backbone: what makes the grids.
        progress: called after every few pictures.

    Returns:
        The whole cache. A picture that cannot be read is named in `broken` and its row is not usable.

    Raises:
        DataError: the cache cannot be written, or the backbone is not the one described.
    """
    cache = GridCache(directory=root / _key(folder, names, backbone), names=tuple(names), backbone=backbone)
    try:
        _make_files(cache)
        _fill(cache, folder, progress)
    except OSError as error:
        raise DataError(f"the grids cannot be kept in {cache.directory} ({error}); make room there.") from error
    return cache


def _key(folder: Path, names: Sequence[str], backbone: BackboneConfig) -> str:
    digest = hashlib.sha256(json.dumps([2, VIEWS, backbone.sha256, backbone.outputs, backbone.size_px]).encode())
    digest.update(json.dumps([backbone.mean, backbone.std]).encode())
    for name in names:
        file = folder / name
        known = file.stat() if file.is_file() else None
        size, time_ns = (known.st_size, known.st_mtime_ns) if known else (0, 0)
        digest.update(json.dumps([name, size, time_ns]).encode())
    return digest.hexdigest()[:24]


def _make_files(cache: GridCache) -> None:
    cache.directory.mkdir(parents=True, exist_ok=True)
    state = cache.directory / "state.u8"
    if state.exists():
        return
    with (cache.directory / "grids.f16").open("wb") as file:
        file.truncate(int(np.prod(cache.shape)) * np.dtype(np.float16).itemsize)
    (cache.directory / "broken.json").write_text("{}\n")
    state.write_bytes(bytes(len(cache.names)))


def _fill(cache: GridCache, folder: Path, progress: Progress | None) -> None:
    state = np.memmap(cache.directory / "state.u8", np.uint8, mode="r+")
    missing = np.flatnonzero(state == _MISSING)
    if not len(missing):
        return
    grids = np.memmap(cache.directory / "grids.f16", np.float16, mode="r+", shape=cache.shape)
    broken: dict[str, str] = json.loads((cache.directory / "broken.json").read_text())
    running = Backbone(cache.backbone)
    done = len(state) - len(missing)
    for at in range(0, len(missing), _PICTURES_PER_BATCH):
        rows: list[int] = []
        pictures: list[Image.Image] = []
        for row in missing[at : at + _PICTURES_PER_BATCH].tolist():
            try:
                pictures.append(_picture(folder / cache.names[row], cache.backbone.size_px))
                rows.append(row)
            except ImageError as error:
                broken[cache.names[row]] = str(error)
                _replace(cache.directory / "broken.json", broken)
                state[row] = _BROKEN
        if rows:
            for view, pixels in enumerate(_views(pictures, cache.backbone)):
                grids[rows, view] = running.grids(pixels)
            grids.flush()
            state[rows] = _THERE
        state.flush()
        done += len(missing[at : at + _PICTURES_PER_BATCH])
        if progress:
            progress(done, len(state))


def _views(pictures: Sequence[Image.Image], backbone: BackboneConfig) -> Iterator[NDArray[np.float32]]:
    yield np.stack([backbone.transform.apply(picture) for picture in pictures])
    yield np.stack([backbone.transform.apply(ImageOps.mirror(picture)) for picture in pictures])


def _picture(file: Path, size_px: int) -> Image.Image:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ImageError(f"{file} cannot be read ({error.strerror}).") from error
    return decode_image(data, target_px=size_px)


def _replace(file: Path, value: dict[str, str]) -> None:
    beside = file.with_suffix(".new")
    beside.write_text(json.dumps(value, indent=2) + "\n")
    os.replace(beside, file)
