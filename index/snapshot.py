"""A snapshot of the vectors beside the gallery's file, so that a large gallery starts in seconds.

A snapshot is never needed: whatever is wrong with it, everything is read from the SQLite file instead. It is used only
when its checksums hold, it belongs to this history of this gallery, and the log of changes reaches back to it.

    snapshot/manifest.json            names the files below, their sha256, and the version they show; replaced last
    snapshot/image-ID.faiss, .rows.npy, text-ID.faiss, .rows.npy
"""

import hashlib
import logging
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from index.items import ItemStore
from index.records import TARGETS, Target
from index.vectors import FlatVectors
from runtime.errors import GalleryError

FOLDER = "snapshot"
MANIFEST = "manifest.json"
FORMAT = 1

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Vectors as of one version, read from the disk."""

    version: int
    vectors: dict[Target, FlatVectors]


def write_snapshot(gallery_folder: Path, store: ItemStore, vectors: dict[Target, FlatVectors], *, version: int) -> None:
    """Put a new snapshot in place of the old one; killed at any moment, one of the two is whole.

    Raises:
        GalleryError: `gallery_full` or `gallery_read_only`: the files cannot be written. The old snapshot stays.
    """
    folder = gallery_folder / FOLDER
    snapshot_id = uuid.uuid4().hex
    try:
        folder.mkdir(exist_ok=True)
        names: dict[str, str] = {}
        for target in TARGETS:
            index_file, rows_file = (folder / f"{target}-{snapshot_id}.{end}" for end in ("faiss", "rows.npy"))
            vectors[target].write(index_file, rows_file)
            names |= {f"{target}.faiss": index_file.name, f"{target}.rows": rows_file.name}
        manifest = {
            "format": FORMAT,
            "id": snapshot_id,
            "version": version,
            "dim": store.identity.dim,
            "files": {role: {"name": name, "sha256": _sealed(folder / name)} for role, name in names.items()},
        }
        store.note_snapshot(snapshot_id, version)
        _replace(folder / MANIFEST, orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
    except (OSError, RuntimeError) as error:  # FAISS raises RuntimeError when it cannot write
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
        vectors = {}
        for target in TARGETS:
            index_file, rows_file = (folder / manifest["files"][f"{target}.{end}"]["name"] for end in ("faiss", "rows"))
            vectors[target] = FlatVectors.read(index_file, rows_file, dim=store.identity.dim)
        return Snapshot(version=int(manifest["version"]), vectors=vectors)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        _log.warning("event=snapshot_rejected folder=%s reason=%s action=read_everything_from_sqlite", folder, error)
        return None


def snapshot_problem(gallery_folder: Path, store: ItemStore) -> str | None:
    """Return what is wrong with the snapshot on disk, if there is one and something is."""
    folder = gallery_folder / FOLDER
    if not (folder / MANIFEST).exists():
        return None
    try:
        _trusted_manifest(folder, store)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return str(error)
    return None


def snapshot_version(gallery_folder: Path) -> int | None:
    """Return the version that the snapshot on disk says it shows, unchecked."""
    try:
        return int(orjson.loads((gallery_folder / FOLDER / MANIFEST).read_bytes())["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remove_leftovers(gallery_folder: Path) -> None:
    """Remove files in the snapshot's folder that its manifest does not name: of an older one, or half written."""
    folder = gallery_folder / FOLDER
    if not folder.is_dir():
        return
    try:
        manifest = orjson.loads((folder / MANIFEST).read_bytes())
        kept = {MANIFEST, *(entry["name"] for entry in manifest["files"].values())}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        kept = {MANIFEST}
    for file in folder.iterdir():
        if file.name not in kept:
            file.unlink(missing_ok=True)


def _trusted_manifest(folder: Path, store: ItemStore) -> dict[str, Any]:
    manifest: dict[str, Any] = orjson.loads((folder / MANIFEST).read_bytes())
    if manifest["format"] != FORMAT or manifest["dim"] != store.identity.dim:
        raise ValueError("it is of another format or dimension")
    if not store.knows_snapshot(str(manifest["id"]), int(manifest["version"])):
        raise ValueError("it belongs to another history of the gallery")
    for entry in manifest["files"].values():
        if Path(entry["name"]).name != entry["name"]:
            raise ValueError("its manifest names a file outside its folder")
        if _digest(folder / entry["name"]) != entry["sha256"]:
            raise ValueError(f"the checksum of {entry['name']} does not hold")
    return manifest


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sealed(file: Path) -> str:
    """Make a file durable and return its digest."""
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
    return _digest(file)


def _replace(file: Path, data: bytes) -> None:
    temporary = file.with_suffix(".tmp")
    with temporary.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
