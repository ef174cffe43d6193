"""Pictures in a directory, with captions known beforehand."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.data.listed_pairs import BrokenPair, Division, RawPair, spared


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One picture with its captions."""

    image: str  # path below the directory of pictures
    captions: tuple[str, ...]
    split: str


class FolderStore:
    """The pictures of some lines."""

    def __init__(self, name: str, folder: Path, lines: Sequence[Line], train: Iterable[int]) -> None:
        self.name = name
        self.folder = folder
        self.lines = lines
        self.train = list(train)

    def read(self, numbers: Sequence[int]) -> list[RawPair | BrokenPair]:
        """Read the files, one after the other."""
        return [self._read(self.lines[number]) for number in numbers]

    def captions(self, most: int) -> Sequence[str]:
        """All captions that are trained on: they are in memory anyway."""
        return [caption for number in self.train for caption in self.lines[number].captions]

    def _read(self, line: Line) -> RawPair | BrokenPair:
        file = self.folder / line.image
        try:
            return RawPair(name=line.image, picture=file.read_bytes(), captions=line.captions)
        except OSError as error:
            return BrokenPair(name=line.image, reason=f"{file} cannot be read ({error.strerror}).")


def divided_by_split(
    name: str,
    folder: Path,
    lines: Sequence[Line],
    *,
    train_splits: Sequence[str],
    held_out_splits: Sequence[str],
    least_held_out: int,
) -> Division:
    """Train on the lines of some splits and hold others out; where no line is held out, spare some that are trained on.

    Lines of any other split, such as `test`, are not looked at.
    """
    train = np.array([at for at, line in enumerate(lines) if line.split in train_splits], dtype=np.int64)
    held_out = np.array([at for at, line in enumerate(lines) if line.split in held_out_splits], dtype=np.int64)
    if len(held_out) == 0:
        kept, away = spared([lines[number].image for number in train], least_held_out)
        train, held_out = train[kept], train[away]
    return Division(store=FolderStore(name, folder, lines, train.tolist()), train=train, held_out=held_out)
