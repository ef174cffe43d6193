"""What a source of pairs is: batches by step number, so that a resumed run sees exactly what it would have seen."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from PIL import Image
from tokenizers import Tokenizer

from runtime.preprocess.image import ImageTransform
from runtime.preprocess.text import TextTransform
from training.data.batch import PairBatch

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in fractions of the picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One pair that training does not see, as a server would receive it."""

    image: Image.Image
    caption: str
    edited: str | None = None  # the caption with one word made wrong, from sources that know how
    phrases: tuple[tuple[str, Box], ...] = ()  # noun phrases and where they are, from sources that know
    absent: tuple[str, ...] = ()  # noun phrases of what is not in the picture, from sources that know
    redrawn: Callable[[int], Sequence[Image.Image]] | None = None
    """Draws up to so many pictures that differ from this one in one thing, the caption false of each; from sources that
    can."""


@runtime_checkable
class PairSource(Protocol):
    """Batches of matching pairs: a pure function of the step, and safe to read from worker processes."""

    name: str  # what the data is, in a few words, for the bundle's provenance
    image_transform: ImageTransform
    text_transform: TextTransform
    most_broken: int  # so many pictures may turn out broken before the run stops

    def __getitem__(self, step: int) -> PairBatch:
        """The batch of a step, counted from 0; any step may be asked for at any time."""
        ...

    def held_out(self, count: int) -> Sequence[Sample]:
        """Up to `count` pairs that no batch contains, with different captions: for parity and calibration."""
        ...

    def lexicon(self) -> Sequence[str]:
        """The frequent words of the captions, most frequent first where that is known."""
        ...


@runtime_checkable
class DataConfig(Protocol):
    """The description of a source; `open` makes it."""

    def tokenizer(self, data: Path | None) -> Tokenizer:
        """The tokenizer that this data is read with."""
        ...

    def open(self, data: Path | None, *, tokenizer: Tokenizer, batch_size: int, seed: int) -> PairSource:
        """The source. `data` is the directory the user named; a source that needs none ignores it."""
        ...
