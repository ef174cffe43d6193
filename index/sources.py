"""Lists what is to be added to a gallery: pictures and videos of folders, single ones, JSONL. Decodes nothing."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import orjson

from index.checks import check_item_id, check_metadata
from index.records import Metadata
from index.video import VIDEO_SUFFIXES
from runtime.errors import DataError, VernierError

PICTURE_SUFFIXES = frozenset(".jpg .jpeg .jpe .jfif .png .webp .gif .bmp .tif .tiff .avif".split())
_LINE_SUFFIXES = frozenset({".jsonl", ".ndjson"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One item to be added.

    Attributes:
        name: what to call it in a report.
        image: the file of its picture or video; None for a text alone.
    """

    id: str
    name: str
    image: Path | None
    text: str | None = None
    metadata: Metadata = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Listing:
    """What was found.

    Attributes:
        broken: name and reason of what cannot be added, already seen from its name or line.
    """

    sources: list[Source] = field(default_factory=list)
    broken: list[tuple[str, str]] = field(default_factory=list)


def list_sources(
    places: Sequence[Path | str], *, images_dir: Path | None = None, captions_as_text: bool = False
) -> Listing:
    """List the items of folders (pictures and videos, recursively), single ones, and JSONL files.

    A picture of a folder is called by its path within the folder, a single one by its file name. A line of JSONL is
    `{"image": path, "id"?, "text"?, "metadata"?}`, or `{"text", "id"}` without a picture, called by its `id` or
    else its `image`; other fields of the line become metadata, except `captions`.

    Args:
        places: folders and files.
        images_dir: where the pictures of JSONL files are; beside the file, or in `images` there, when None.
        captions_as_text: whether the first of a line's `captions` becomes the text of an item that has none.

    Raises:
        DataError: `source_missing`: a place is not there.
    """
    listing = Listing()
    for place in map(Path, places):
        if place.is_dir():
            _list_folder(place, listing)
        elif place.suffix.lower() in _LINE_SUFFIXES and place.is_file():
            _list_lines(place, listing, images_dir=images_dir, captions_as_text=captions_as_text)
        elif place.is_file():
            _take(listing, lambda place=place: Source(id=place.name, name=str(place), image=place), str(place))
        else:
            raise DataError(f"there is no file or folder {place}.", code="source_missing")
    _refuse_doubles(listing)
    return listing


def _list_folder(folder: Path, listing: Listing) -> None:
    def unreadable(error: OSError) -> None:
        listing.broken.append((str(error.filename), f"the folder cannot be read ({error.strerror})"))

    for parent, folders, files in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(parent, name)
            if not name.startswith(".") and path.suffix.lower() in PICTURE_SUFFIXES | VIDEO_SUFFIXES:
                item_id = path.relative_to(folder).as_posix()
                _take(
                    listing,
                    lambda path=path, item_id=item_id: Source(id=item_id, name=str(path), image=path),
                    str(path),
                )


def _list_lines(file: Path, listing: Listing, *, images_dir: Path | None, captions_as_text: bool) -> None:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            name = f"{file}:{number}"
            if line.strip():
                _take(
                    listing, lambda line=line, name=name: _of_line(line, name, file, images_dir, captions_as_text), name
                )


def _take(listing: Listing, make: Any, name: str) -> None:  # noqa: ANN401  a callable that gives a Source
    try:
        source = make()
        check_item_id(source.id)
        check_metadata(source.metadata)
        listing.sources.append(source)
    except VernierError as error:
        listing.broken.append((_shown(name), str(error)))


def _of_line(line: bytes, name: str, file: Path, images_dir: Path | None, captions_as_text: bool) -> Source:
    try:
        entry = orjson.loads(line)
    except ValueError as error:
        raise DataError(f"the line is not JSON ({error}).") from error
    if not isinstance(entry, Mapping):
        raise DataError("the line is not a JSON object.")
    image, text = _text_or_none(entry, "image"), _text_or_none(entry, "text")
    captions = _captions(entry)
    if text is None and captions and captions_as_text:
        text = captions[0]
    item_id = _text_or_none(entry, "id") or image
    if item_id is None or (image is None and text is None):
        raise DataError('the line needs an "image", or a "text" and an "id".')
    others = {key: value for key, value in entry.items() if key not in ("id", "image", "text", "captions", "metadata")}
    metadata = entry.get("metadata") or {}
    if not isinstance(metadata, Mapping):
        raise DataError('"metadata" must be an object.')
    path = None if image is None else _picture_path(image, file, images_dir)
    return Source(
        id=item_id,
        name=name if path is None else f"{name} ({image})",
        image=path,
        text=text,
        metadata={**others, **metadata},
    )


def _picture_path(image: str, file: Path, images_dir: Path | None) -> Path:
    if PurePosixPath(image).is_absolute() or ".." in PurePosixPath(image).parts or "\0" in image:
        raise DataError(f"the picture {image!r} lies outside the folder of pictures.")
    if images_dir is not None:
        return images_dir / image
    beside = file.parent / image
    within = file.parent / "images" / image
    return within if within.exists() and not beside.exists() else beside


def _captions(entry: Mapping[str, Any]) -> list[str]:
    captions = entry.get("captions") or []
    if not isinstance(captions, list) or not all(isinstance(caption, str) for caption in captions):
        raise DataError('"captions" must be a list of texts.')
    return captions


def _text_or_none(entry: Mapping[str, Any], key: str) -> str | None:
    value = entry.get(key)
    if value is not None and not isinstance(value, str):
        raise DataError(f'"{key}" must be a text.')
    return value or None


def _refuse_doubles(listing: Listing) -> None:
    first: dict[str, str] = {}
    kept = []
    for source in listing.sources:
        if source.id in first:
            listing.broken.append((_shown(source.name), f"its id {source.id!r} is already taken by {first[source.id]}"))
        else:
            first[source.id] = source.name
            kept.append(source)
    listing.sources = kept


def _shown(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()
