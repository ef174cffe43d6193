"""What the readers of public datasets share: opening their files, and saying which entry of them is wrong."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from evaluation.edits import diff
from evaluation.grounding import Box
from evaluation.readers import DiffEntry, HardNegativeRow, Rows, first_fault
from runtime.errors import DataError


def read_text(path: Path) -> str:
    """Read a UTF-8 file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error}).") from error


def read_json(path: Path) -> Any:  # noqa: ANN401 - the layout is checked entry by entry
    """Read a JSON file.

    Raises:
        DataError: it cannot be read or is no JSON.
    """
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is not valid JSON: {error}.") from error


def read_json_lines(path: Path) -> list[Any]:
    """Read a file of one JSON value a line; blank lines are passed over.

    Raises:
        DataError: it cannot be read or a line is no JSON.
    """
    values = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            try:
                values.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise DataError(f"{path}, line {number}: {error}.") from error
    return values


@contextmanager
def entry(path: Path, name: object) -> Iterator[None]:
    """Turn what goes wrong with one entry into an error that names it.

    Raises:
        DataError: the entry lacks something or is not what the layout says.
    """
    try:
        yield
    except ValidationError as error:
        raise DataError(f"{path}, entry {name}: {first_fault(error)}.") from error
    except KeyError as error:
        raise DataError(f"{path}, entry {name}: there is no {error}.") from error
    except (TypeError, ValueError, IndexError, AttributeError, ZeroDivisionError) as error:
        raise DataError(f"{path}, entry {name} does not have the expected layout ({error}).") from error


def not_empty(rows: Rows, path: Path, split: str | None) -> Rows:
    """Refuse a reading that gave nothing.

    Raises:
        DataError: no group has a row.
    """
    if rows.is_empty():
        of_split = "" if split is None else f" of split '{split}'"
        raise DataError(f"{path} holds no rows{of_split}.")
    return rows


def no_split(split: str | None, path: Path) -> None:
    """Refuse a split where the dataset has none.

    Raises:
        DataError: a split was asked for.
    """
    if split is not None:
        raise DataError(f"{path} has no splits; leave split '{split}' out.")


def hard_negative(*, image: str, caption: str, negative_caption: str, kind: str) -> HardNegativeRow:
    """Make a row of a dataset that does not say what was changed: it is found by comparing the captions.

    Raises:
        ValidationError: a field is not what it should be.
    """
    changed = diff(caption, negative_caption)
    return HardNegativeRow(
        image=image,
        caption=caption,
        negative_caption=negative_caption,
        type=kind,
        diff=tuple(DiffEntry(pos_words=edit.pos_words, neg_words=edit.neg_words) for edit in changed),
    )


def fractions(box: Box, *, width_px: float, height_px: float) -> Box | None:
    """Turn a box in pixels into fractions of the picture, cut at its border; None where nothing is left."""
    x0, x1 = (min(max(x / width_px, 0.0), 1.0) for x in (box[0], box[2]))
    y0, y1 = (min(max(y / height_px, 0.0), 1.0) for y in (box[1], box[3]))
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None
