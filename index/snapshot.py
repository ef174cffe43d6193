"""A snapshot of what is in memory beside the gallery's file, so that a large gallery starts in seconds.

A snapshot is never needed: whatever is wrong with it, everything is read from the SQLite file instead. It is used only
when its checksums hold, it belongs to this history of this gallery, and the log of changes reaches back to it.

It is written while searches and writes go on. It shows its version, and may show some of what came later: at the start
every row that the log names is looked up again in any case.

    snapshot/manifest.json    names the files below, their sha256, and the version; replaced last
    snapshot/image.ID.vectors, image.ID.rows, image.ID.candidates, and the same of text
"""

import hashlib
import logging
import os
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from index.candidates import Candidates, Effort, Fit
from index.items import ItemStore
from index.memory import Memory
from index.records import TARGETS, Target
from index.target_index import TargetIndex
from index.vectors import FlatVectors
from runtime.errors import GalleryError

FOLDER = "snapshot"
MANIFEST = "manifest.json"
FORMAT = 1

_UNTRUSTED = (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What was in memory as of one version, read from the disk."""

    version: int
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
        files: dict[str, dict[str, str]] = {}
        fits: dict[str, Any] = {}
        for target in TARGETS:
            stem = f"{target}.{snapshot_id}"
            files |= _write_vectors(folder, stem, target, memory)
            candidates = memory.serialised_candidates(target)
            if candidates is not None:
                data, fit = candidates
                files[f"{target}.candidates"] = _write(folder / f"{stem}.candidates", [data])
                fits[target] = asdict(fit)
        manifest = {
            "format": FORMAT,
            "id": snapshot_id,
            "version": version,
            "dim": store.identity.dim,
            "files": files,
            "fits": fits,
        }
        store.note_snapshot(snapshot_id, version)
        _replace(folder / MANIFEST, orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
    except OSError as error:
        remove_leftovers(gallery_folder)
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
        indexes = {target: _read_index(folder, manifest, target, dim=store.identity.dim) for target in TARGETS}
        return Snapshot(version=int(manifest["version"]), indexes=indexes)
    except _UNTRUSTED as error:
        _log.warning("event=snapshot_rejected folder=%s reason=%s action=read_everything_from_sqlite", folder, error)
        return None


def snapshot_problem(gallery_folder: Path, store: ItemStore) -> str | None:
    """Return what is wrong with the snapshot on disk, if there is one and something is."""
    folder = gallery_folder / FOLDER
    if not (folder / MANIFEST).exists():
        return None
    try:
        _trusted_manifest(folder, store)
    except _UNTRUSTED as error:
        return str(error)
    return None


def snapshot_version(gallery_folder: Path) -> int | None:
    """Return the version that the snapshot on disk says it shows, unchecked."""
    try:
        return int(orjson.loads((gallery_folder / FOLDER / MANIFEST).read_bytes())["version"])
    except _UNTRUSTED:
        return None


def remove_leftovers(gallery_folder: Path) -> None:
    """Remove files in the snapshot's folder that its manifest does not name: of an older one, or half written."""
    folder = gallery_folder / FOLDER
    if not folder.is_dir():
        return
    try:
        manifest = orjson.loads((folder / MANIFEST).read_bytes())
        kept = {MANIFEST, *(entry["name"] for entry in manifest["files"].values())}
    except _UNTRUSTED:
        kept = {MANIFEST}
    for file in folder.iterdir():
        if file.name not in kept:
            file.unlink(missing_ok=True)


def _write_vectors(folder: Path, stem: str, target: Target, memory: Memory) -> dict[str, dict[str, str]]:
    rows = [np.empty(0, np.int64)]

    def numbers() -> Iterable[bytes]:
        for some_rows, vectors in memory.stream(target):
            rows.append(some_rows)
            yield vectors.astype("<f4", copy=False).tobytes()

    return {
        f"{target}.vectors": _write(folder / f"{stem}.vectors", numbers()),
        f"{target}.rows": _write(folder / f"{stem}.rows", [np.concatenate(rows).astype("<i8").tobytes()]),
    }


def _read_index(folder: Path, manifest: dict[str, Any], target: Target, *, dim: int) -> TargetIndex:
    files = manifest["files"]
    rows = np.fromfile(folder / files[f"{target}.rows"]["name"], "<i8").astype(np.int64)
    vectors = FlatVectors.read(folder / files[f"{target}.vectors"]["name"], rows, dim=dim)
    if target not in manifest["fits"]:
        return TargetIndex(vectors)
    fit = manifest["fits"][target]
    fit = Fit(effort=Effort(**fit["effort"]), recall=float(fit["recall"]), num_vectors=int(fit["num_vectors"]))
    data = (folder / files[f"{target}.candidates"]["name"]).read_bytes()
    return TargetIndex(vectors, Candidates.from_serialised(data, fit, dim=dim))


def _trusted_manifest(folder: Path, store: ItemStore) -> dict[str, Any]:
    manifest: dict[str, Any] = orjson.loads((folder / MANIFEST).read_bytes())
    if manifest["format"] != FORMAT or manifest["dim"] != store.identity.dim:
        raise ValueError("it is of another format or dimension")
    if not store.knows_snapshot(str(manifest["id"]), int(manifest["version"])):
        raise ValueError("it belongs to another history of the gallery")
    for entry in manifest["files"].values():
        if Path(entry["name"]).name != entry["name"]:
            raise ValueError("its manifest names a file outside its folder")
        with (folder / entry["name"]).open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != entry["sha256"]:
                raise ValueError(f"the checksum of {entry['name']} does not hold")
    return manifest


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
