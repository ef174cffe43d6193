"""Captions in JSON lines and pictures in a directory, as training pairs."""

import json
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import DataError
from training.data.folder_store import Line, divided_by_split
from training.data.listed_pairs import Division, ListedPairsConfig

__all__ = ["JsonlPairsConfig", "Line", "needed", "read_lines"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonlPairsConfig(ListedPairsConfig):
    """A file of lines `{"image": "a.jpg", "captions": ["…"], "split"?: "train"}` and a folder of pictures."""

    captions: str = "captions.jsonl"
    images: str = "images"
    train_splits: tuple[str, ...] = ("train",)  # a line without a split counts as train
    held_out_splits: tuple[str, ...] = ("val", "dev")

    def divided(self, data: Path | None) -> Division:
        """The pictures that the lines name."""
        directory = needed(data, f"{self.captions} and {self.images}/")
        return divided_by_split(
            f"{directory.name}/{self.captions}",
            directory / self.images,
            read_lines(directory / self.captions),
            train_splits=self.train_splits,
            held_out_splits=self.held_out_splits,
            least_held_out=self.least_held_out,
        )


def needed(data: Path | None, what: str) -> Path:
    """The directory that the user named; without one it is said what should be in it (`DataError`)."""
    if data is None:
        raise DataError(f"this recipe reads a data directory with {what}; name it with --data.", code="data_missing")
    return data


def read_lines(file: Path) -> list[Line]:
    """Read a captions file.

    Raises:
        DataError: it is missing, or a line is not what it should be; the message names the line.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error}).", code="data_missing") from error
    return [_line(raw, f"{file}:{number}") for number, raw in enumerate(text.split("\n"), 1) if raw.strip()]


def _line(raw: str, where: str) -> Line:
    try:
        value = json.loads(raw)
    except ValueError as error:
        raise DataError(f"{where} is not JSON ({error}).") from error
    image, captions = (value.get("image"), value.get("captions")) if isinstance(value, dict) else (None, None)
    if not isinstance(image, str) or not isinstance(captions, list) or not captions:
        raise DataError(f'{where}: needs "image" (a file name) and "captions" (a list of texts).')
    if not all(isinstance(caption, str) and caption.strip() for caption in captions):
        raise DataError(f"{where}: a caption is empty or no text.")
    return Line(image=image, captions=tuple(captions), split=str(value.get("split", "train")))
