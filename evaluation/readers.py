"""The JSON-lines files that are evaluated: one row a line, checked as it is read.

Fields that are not named here are ignored: datasets carry ids, licences and sizes that no metric asks for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Self, TypeVar

from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field, ValidationError, model_validator

from evaluation.edits import Edit, WordRange
from evaluation.grounding import Box
from runtime.errors import DataError

_SLACK = 1e-3
"""How far rounding may push a box out of its picture."""


def _has_words(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text


def _is_box(box: Box) -> Box:
    x0, y0, x1, y1 = box
    if not (-_SLACK <= x0 < x1 <= 1 + _SLACK and -_SLACK <= y0 < y1 <= 1 + _SLACK):
        raise ValueError("must be [x0, y0, x1, y1] with 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1")
    return box


Text = Annotated[str, AfterValidator(_has_words)]
TrueBox = Annotated[Box, AfterValidator(_is_box)]


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class RetrievalRow(_Row):
    """A picture and its captions. A row without captions is read and takes no part in retrieval."""

    image: Text
    captions: tuple[Text, ...]
    split: str | None = None


class DiffEntry(_Row):
    """One change of a hard negative, in words of `str.split()`."""

    pos_words: WordRange
    neg_words: WordRange


class HardNegativeRow(_Row):
    """A picture, a caption true of it and one that is not; `diff` says where they differ.

    A row that says `"valid": false` (people do not agree that the caption is the right one) takes no part.
    """

    image: Text
    caption: Text
    negative_caption: Text
    type: str
    diff: tuple[DiffEntry, ...] | None = None
    valid: bool = True

    @model_validator(mode="after")
    def _diff_fits(self) -> Self:
        lengths = {"pos_words": len(self.caption.split()), "neg_words": len(self.negative_caption.split())}
        for entry in self.diff or ():
            for side, length in lengths.items():
                first, last = getattr(entry, side)
                if not 0 <= first <= last <= length:
                    raise ValueError(f"diff: {side} [{first}, {last}] does not fit a caption of {length} words")
        return self

    def edits(self) -> list[Edit]:
        """Return the diff as edits; empty when the row has none."""
        return [Edit(pos_words=entry.pos_words, neg_words=entry.neg_words) for entry in self.diff or ()]


class GroundingRow(_Row):
    """A phrase and the boxes, in fractions of the picture, of everything it can mean.

    `rivals` says how many other things of the picture are called the same but for their attributes, where known;
    `absent` lists phrases of what is not in the picture.
    """

    image: Text
    phrase: Text
    boxes: Annotated[tuple[TrueBox, ...], Field(min_length=1)]
    rivals: Annotated[int, Field(ge=0)] = 0
    absent: tuple[Text, ...] = ()


class MentionRow(GroundingRow):
    """A phrase within a caption, and the boxes of what it means there."""

    caption: Text
    start: int  # first character of the phrase in the caption

    @model_validator(mode="after")
    def _phrase_is_there(self) -> Self:
        if self.caption[self.start : self.start + len(self.phrase)] != self.phrase:
            raise ValueError(f"the phrase {self.phrase!r} is not at character {self.start} of the caption")
        return self


class OcclusionRow(_Row):
    """Two pictures with a patch, over the main thing and elsewhere; a caption and one wrong about another thing."""

    image: Text
    elsewhere_image: Text
    caption: Text
    negative_caption: Text
    type: str


class NearDuplicatesRow(_Row):
    """A picture, a caption that is true of it, and pictures that differ from it in one thing, of which it is false."""

    image: Text
    caption: Text
    near: Annotated[tuple[Text, ...], Field(min_length=1)]


class ImagePairRow(_Row):
    """Two pictures that differ in one thing, each with the caption that is true of it alone."""

    image: Text
    negative_image: Text
    caption: Text
    negative_caption: Text
    type: str


class JudgementRow(_Row):
    """What people gave a caption of a picture; any numbers, higher is better."""

    image: Text
    caption: Text
    scores: Annotated[tuple[Annotated[float, Field(allow_inf_nan=False)], ...], Field(min_length=1)]


class StatementRow(_Row):
    """A sentence about a picture and whether it is true of it."""

    image: Text
    caption: Annotated[Text, Field(validation_alias=AliasChoices("caption", "sentence"))]
    label: bool
    relation: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What is evaluated, already read; a group without rows is left out of the result."""

    retrieval: Sequence[RetrievalRow] = ()
    hard_negatives: Sequence[HardNegativeRow] = ()
    grounding: Sequence[GroundingRow] = ()
    image_pairs: Sequence[ImagePairRow] = ()
    judgements: Sequence[JudgementRow] = ()
    statements: Sequence[StatementRow] = ()
    mentions: Sequence[MentionRow] = ()
    occlusions: Sequence[OcclusionRow] = ()
    near_duplicates: Sequence[NearDuplicatesRow] = ()

    def is_empty(self) -> bool:
        """Say whether no group has a row."""
        return not any(getattr(self, field.name) for field in fields(self))

    def first(self, limit: int | None) -> "Rows":
        """Keep at most so many rows of each group, the first ones; all of them when the limit is None."""
        return Rows(**{field.name: getattr(self, field.name)[:limit] for field in fields(self)})


Row = TypeVar("Row", bound=_Row)


def read_rows(path: Path | str, kind: type[Row]) -> list[Row]:
    """Read a JSON-lines file. Blank lines are passed over.

    Raises:
        DataError: the file cannot be read, holds no row, or a line is not a row of this kind; the message names the
            file and the line.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error}).") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                rows.append(kind.model_validate_json(line))
            except ValidationError as error:
                raise DataError(f"{path}, line {number}: {first_fault(error)}.") from error
    if not rows:
        raise DataError(f"{path} holds no rows.")
    return rows


def first_fault(error: ValidationError) -> str:
    """Say where the first fault of a row is and what it is."""
    fault = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in fault["loc"])
    message = fault["msg"].removeprefix("Value error, ").rstrip(".")
    return f"{place}: {message}" if place else message


def with_captions(rows: Sequence[RetrievalRow], *, split: str | None, path: Path | str) -> list[RetrievalRow]:
    """Keep the rows of a split (all of them when it is None) that have a caption.

    Raises:
        DataError: nothing is left; the message lists the splits there are.
    """
    kept = [row for row in rows if split is None or row.split == split]
    if not kept:
        there = sorted({row.split for row in rows if row.split is not None})
        known = f"it has {', '.join(there)}" if there else "its rows name no split"
        raise DataError(f"{path} has no row of split '{split}'; {known}.")
    if not any(row.captions for row in kept):
        raise DataError(f"no row of {path} has a caption.")
    return [row for row in kept if row.captions]


def valid(rows: Sequence[HardNegativeRow], path: Path | str) -> list[HardNegativeRow]:
    """Keep the rows that people agree on.

    Raises:
        DataError: nothing is left.
    """
    kept = [row for row in rows if row.valid]
    if not kept:
        raise DataError(f"every row of {path} says that it is not valid.")
    return kept
