"""A snapshot of what is in memory beside the gallery's file, so that a large gallery starts in seconds.

A snapshot is never needed: whatever is wrong with it, everything is read from the SQLite file instead. It is used only
when its checksums hold, it belongs to this history of this gallery, and the log of changes reaches back to it.

It is written while searches and writes go on. It shows its version, and may show some of what came later: at the start
every row that the log names is looked up again in any case.

    snapshot/manifest.json    names the files below, their sha256, and the version; replaced last
    snapshot/names.ID         the items' ids
    snapshot/image.ID.rows    row of each vector; and the same of text
    snapshot/image.ID.vectors          of a target searched exactly: float32
    snapshot/image.ID.codes, .codec, .candidates    of a large one; new codes are added to the file of codes
"""

import hashlib
import logging
import os
import uuid
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from index.candidates import Effort, Fit, read_candidates, write_candidates
from index.codecs import Codec
from index.codes_file import CodesFile
from index.items import ItemStore
from index.large_index import LargeIndex
from index.memory import Memory, TargetIndex
from index.names import Names
from index.records import TARGETS, Target
from index.vectors import FlatVectors, Rows
from runtime.errors import GalleryError

FOLDER = "snapshot"
MANIFEST = "manifest.json"
FORMAT = 2

_CODES_AT_ONCE = 65_536

_UNTRUSTED = (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What was in memory as of one version, read from the disk."""

    version: int
    names: Names
    indexes: dict[Target, TargetIndex]


def write_snapshot(gallery_folder: Path, store: ItemStore, memory: Memory) -> None:
    """Put a new snapshot in place of the old one; killed at any moment, one of the two is whole.

    Raises:
        GalleryError: `gallery_full`: the files cannot be written. The old snapshot stays.
    """
    folder = gallery_folder / FOLDER
    snapshot_id, version = uuid.uuid4().hex, memory.version
    try:
        folder.mkdir(exist_ok=True)
        manifest = {
            "format": FORMAT,
            "id": snapshot_id,
            "version": version,
            "dim": store.identity.dim,
            "names": _write(folder / f"names.{snapshot_id}", [_packed(*memory.packed_names())]),
            "targets": {target: _write_target(folder, f"{target}.{snapshot_id}", target, memory) for target in TARGETS},
        }
        store.note_snapshot(snapshot_id, version)
        _replace(folder / MANIFEST, orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
    except OSError as error:
        remove_leftovers(gallery_folder, in_use=files_in_use(memory))
        raise GalleryError(
            f"the snapshot in {folder} could not be written ({error}); the gallery itself is whole. "
            "Check the free space and the folder's permissions.",
            code="gallery_full",
        ) from error
    store.keep_only_snapshot(snapshot_id, version)
    remove_leftovers(gallery_folder)


def read_snapshot(gallery_folder: Path, store: ItemStore) -> Snapshot | None:
    """Read the snapshot if it can be trusted; otherwise say why not in the log and return None."""
    folder = gallery_folder / FOLDER
    if not (folder / MANIFEST).exists():
        return None
    try:
        manifest = _trusted_manifest(folder, store)
        return Snapshot(
            version=int(manifest["version"]),
            names=_read_names(_checked(folder, manifest["names"])),
            indexes={
                target: _read_target(folder, manifest["targets"][target], dim=store.identity.dim) for target in TARGETS
            },
        )
    except _UNTRUSTED as error:
        _log.warning("event=snapshot_rejected folder=%s reason=%s action=read_everything_from_sqlite", folder, error)
        return None


def snapshot_problem(gallery_folder: Path, store: ItemStore) -> str | None:
    """Return what is wrong with the snapshot on disk, if there is one and something is."""
    folder = gallery_folder / FOLDER
    if not (folder / MANIFEST).exists():
        return None
    try:
        manifest = _trusted_manifest(folder, store)
        _checked(folder, manifest["names"])
        for described in manifest["targets"].values():
            for entry in described["files"].values():
                _check_file(folder, entry)
    except _UNTRUSTED as error:
        return str(error)
    return None


def snapshot_version(gallery_folder: Path) -> int | None:
    """Return the version that the snapshot on disk says it shows, unchecked."""
    try:
        return int(orjson.loads((gallery_folder / FOLDER / MANIFEST).read_bytes())["version"])
    except _UNTRUSTED:
        return None


def files_in_use(memory: Memory) -> set[str]:
    """Return the names of files that a search may read now, whatever the manifest says."""
    indexes = [memory.index(target) for target in TARGETS]
    return {index.file.path.name for index in indexes if isinstance(index, LargeIndex)}


def remove_leftovers(gallery_folder: Path, *, in_use: Collection[str] = ()) -> None:
    """Remove files in the snapshot's folder that its manifest does not name: of an older one, or half written."""
    folder = gallery_folder / FOLDER
    if not folder.is_dir():
        return
    try:
        manifest = orjson.loads((folder / MANIFEST).read_bytes())
        files = [entry for described in manifest["targets"].values() for entry in described["files"].values()]
        kept = {MANIFEST, manifest["names"]["name"], *(entry["name"] for entry in files)}
    except _UNTRUSTED:
        kept = {MANIFEST}
    for file in folder.iterdir():
        if file.name not in kept and file.name not in in_use:
            file.unlink(missing_ok=True)


def _write_target(folder: Path, stem: str, target: Target, memory: Memory) -> dict[str, Any]:
    index = memory.index(target)
    if isinstance(index, LargeIndex):
        return _write_large(folder, stem, memory, index)
    rows = [np.empty(0, np.int64)]

    def numbers() -> Iterable[bytes]:
        for some_rows, vectors in memory.stream(target):
            rows.append(some_rows)
            yield vectors.astype("<f4", copy=False).tobytes()

    return {
        "kind": index.kind,
        "files": {
            "vectors": _write(folder / f"{stem}.vectors", numbers()),
            "rows": _write(folder / f"{stem}.rows", [np.concatenate(rows).astype("<i8").tobytes()]),
        },
    }


def _write_large(folder: Path, stem: str, memory: Memory, index: LargeIndex) -> dict[str, Any]:
    """Write what is new of an index; its candidates stay still meanwhile, and nobody waits."""
    frozen = memory.freeze(index)
    try:
        file, count = index.file, len(frozen.row_at)
        file.append(
            index.codes(start, min(start + _CODES_AT_ONCE, count)) for start in range(file.count, count, _CODES_AT_ONCE)
        )
        candidates = folder / f"{stem}.candidates"
        write_candidates(frozen.candidates, candidates)
        files = {
            "codes": {"name": file.path.name, "sha256": file.sha256, "bytes": file.num_bytes},
            "codec": _write(folder / f"{stem}.codec", [index.codec.serialised()]),
            "rows": _write(folder / f"{stem}.rows", [frozen.row_at.astype("<i8").tobytes()]),
            "candidates": _synced(candidates),
        }
    finally:
        memory.thaw(index)
    memory.lay(index)
    return {"kind": index.candidates.kind, "codec": index.codec.name, "fit": asdict(index.fit), "files": files}


def _read_target(folder: Path, described: dict[str, Any], *, dim: int) -> TargetIndex:
    files = described["files"]
    rows = np.frombuffer(_checked(folder, files["rows"]), "<i8").astype(np.int64)
    if described["kind"] == FlatVectors.kind:
        _check_file(folder, files["vectors"])
        return FlatVectors.read(folder / files["vectors"]["name"], rows, dim=dim)
    fit = described["fit"]
    fit = Fit(effort=Effort(**fit["effort"]), recall=float(fit["recall"]), num_vectors=int(fit["num_vectors"]))
    codec = Codec.from_serialised(described["codec"], _checked(folder, files["codec"]), dim=dim)
    _check_file(folder, files["candidates"])
    codes = files["codes"]
    file = CodesFile.checked(folder / codes["name"], codes["bytes"], codec.num_bytes, sha256=codes["sha256"])
    index = LargeIndex(codec, read_candidates(folder / files["candidates"]["name"], dim=dim), fit, file)
    index.load(rows)
    return index


def _packed(text: bytes, ends: Rows, is_there: NDArray[np.bool_]) -> bytes:
    parts: list[bytes] = [len(ends).to_bytes(8, "little"), ends.astype("<i8").tobytes(), is_there.tobytes(), text]
    return b"".join(parts)


def _read_names(data: bytes) -> Names:
    number = int.from_bytes(data[:8], "little")
    ends = np.frombuffer(data, "<i8", number, 8).astype(np.int64)
    is_there = np.frombuffer(data, np.bool_, number, 8 + 8 * number)
    return Names.from_packed(data[8 + 9 * number :], ends, is_there)


def _trusted_manifest(folder: Path, store: ItemStore) -> dict[str, Any]:
    manifest: dict[str, Any] = orjson.loads((folder / MANIFEST).read_bytes())
    if manifest["format"] != FORMAT or manifest["dim"] != store.identity.dim:
        raise ValueError("it is of another format or dimension")
    if not store.knows_snapshot(str(manifest["id"]), int(manifest["version"])):
        raise ValueError("it belongs to another history of the gallery")
    for described in [{"files": {"names": manifest["names"]}}, *manifest["targets"].values()]:
        for entry in described["files"].values():
            if Path(entry["name"]).name != entry["name"]:
                raise ValueError("its manifest names a file outside its folder")
    return manifest


def _checked(folder: Path, entry: dict[str, Any]) -> bytes:
    """Return a small file's bytes if its checksum holds."""
    data: bytes = (folder / entry["name"]).read_bytes()
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise ValueError(f"the checksum of {entry['name']} does not hold")
    return data


def _check_file(folder: Path, entry: dict[str, Any]) -> None:
    """Make sure of a large file's checksum; of a file that is added to, as far as the manifest counts."""
    path = folder / entry["name"]
    if "bytes" in entry:
        CodesFile.checked(path, entry["bytes"], 1, sha256=entry["sha256"])
    elif _sha256(path) != entry["sha256"]:
        raise ValueError(f"the checksum of {path.name} does not hold")


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _synced(path: Path) -> dict[str, str]:
    """Bring a file that is written onto the disk; return its name and digest for the manifest."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
    return {"name": path.name, "sha256": _sha256(path)}


def _write(file: Path, parts: Iterable[bytes]) -> dict[str, str]:
    """Write a file durably; return its name and digest for the manifest."""
    digest = hashlib.sha256()
    with file.open("wb") as stream:
        for part in parts:
            digest.update(part)
            stream.write(part)
        stream.flush()
        os.fsync(stream.fileno())
    return {"name": file.name, "sha256": digest.hexdigest()}


def _replace(file: Path, data: bytes) -> None:
    temporary = file.with_suffix(".tmp")
    _write(temporary, [data])
    temporary.replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
