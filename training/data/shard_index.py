"""Where every sample lies in WebDataset shards: tar files in which files of one name, but for the ending, are a sample.

A shard is read through once, for the places of its samples, which are kept in a small file of their own. From then on
any sample is one range read away, wherever the shard is: in a directory, or in any store that fsspec knows. So samples
are shuffled over all shards, and a run goes on exactly where it stopped; a stream of shards could do neither.
"""

import hashlib
import json
import logging
import os
import re
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import DataError
from training.distributed import rank, wait_for_all, world_size

_log = logging.getLogger(__name__)

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_FORMAT = 1  # of the index files

Places = NDArray[np.int64]
"""[samples, 2]: where a sample begins in its shard, and how many bytes it has."""


def expand(pattern: str) -> list[str]:
    """The shards of a path with braces (`{000..127}`, `{a,b}`) or wildcards, in order.

    Raises:
        DataError: there are none.
    """
    found = [path for plain in _without_braces(pattern) for path in _globbed(plain)]
    if not found:
        raise DataError(f"there is no shard {pattern}.", code="data_missing")
    return found


def index_of(shards: Sequence[str], cache: Path, *, progress: Callable[[int, int], None]) -> list[Places]:
    """The samples of every shard, from the cache or by reading the shard once.

    Several processes of a run share the work and the cache.

    Raises:
        DataError: a shard cannot be read.
    """
    cache.mkdir(parents=True, exist_ok=True)
    own = range(rank(), len(shards), world_size())
    for done, at in enumerate(own, 1):
        _cached(shards[at], cache)
        progress(done, len(own))
    wait_for_all()
    return [_cached(shard, cache) for shard in shards]


def file_system(path: str) -> tuple[Any, str]:
    """The file system of a path and the path in it.

    Raises:
        DataError: what reads such paths is not installed.
    """
    try:
        import fsspec
    except ImportError as error:
        raise DataError(
            "reading shards needs the package fsspec: pip install 'vernier[training]'.", code="package_missing"
        ) from error
    try:
        system, plain = fsspec.core.url_to_fs(path)
    except (ImportError, ValueError) as error:
        raise DataError(f"{path} cannot be opened ({error}).", code="package_missing") from error
    return system, plain


def read_places(file: IO[bytes], name: str) -> Places:
    """The samples of an open tar file.

    A shard that is cut short gives the samples before the cut, and a warning.

    Raises:
        DataError: it is no tar file.
    """
    places: list[list[int]] = []
    last_key: str | None = None
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                if not member.isfile():
                    continue
                key = sample_key(member.name)
                end = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                if key != last_key:
                    places.append([member.offset, 0])
                    last_key = key
                places[-1][1] = end - places[-1][0]
    except tarfile.ReadError as error:
        if not places:
            raise DataError(f"{name} is no uncompressed tar file ({error}).", code="shard_invalid") from error
        _log.warning("%s is cut short (%s); only its first %d samples are used", name, error, len(places))
    return np.array(places, dtype=np.int64).reshape(-1, 2)


def sample_key(name: str) -> str:
    """What the files of one sample have in common: the path up to the first dot of the file's name."""
    folder, slash, file = name.rpartition("/")
    return folder + slash + file.partition(".")[0]


def _cached(shard: str, cache: Path) -> Places:
    system, path = file_system(shard)
    try:
        kept = cache / f"{_digest(shard, system.info(path))}.npy"
        if not kept.is_file():
            with system.open(path, "rb") as file:
                _write(kept, read_places(file, shard))
    except OSError as error:
        raise DataError(f"{shard} cannot be read ({error}).", code="data_missing") from error
    places: Places = np.load(kept, allow_pickle=False)
    return places


def _digest(shard: str, info: dict[str, Any]) -> str:
    """Changes when the shard does, as far as its store says."""
    said = {key: str(info.get(key)) for key in ("size", "mtime", "LastModified", "last_modified", "etag", "ETag")}
    return hashlib.sha256(json.dumps([_FORMAT, shard, said]).encode()).hexdigest()[:32]


def _write(file: Path, places: Places) -> None:
    handle, partial = tempfile.mkstemp(dir=file.parent, suffix=".partial")
    with os.fdopen(handle, "wb") as out:
        np.save(out, places)
    Path(partial).replace(file)


def _without_braces(pattern: str) -> list[str]:
    braces = _BRACES.search(pattern)
    if braces is None:
        return [pattern]
    numbers = _RANGE.fullmatch(braces[1])
    if numbers:
        first, last = numbers.groups()
        choices = [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
    else:
        choices = braces[1].split(",")
    before, after = pattern[: braces.start()], pattern[braces.end() :]
    return [path for choice in choices for path in _without_braces(before + choice + after)]


def _globbed(path: str) -> list[str]:
    if not any(mark in path for mark in "*?["):
        return [path]
    system, plain = file_system(path)
    return sorted(system.unstrip_protocol(found) for found in system.glob(plain))
