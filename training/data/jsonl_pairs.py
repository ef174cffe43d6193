"""Captions in JSON lines and pictures in a directory, as training pairs.

A picture that cannot be read is passed over for the next one, named in the batch, and counted by the trainer.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Tokenizer

from runtime.errors import DataError, ImageError
from runtime.preprocess.image import ImageTransform, decode_image
from runtime.preprocess.text import TextTransform, words
from training.data.batch import PairBatch
from training.data.collate import collate
from training.data.source import Sample
from training.data.tokenizer import special_tokens, subword_tokenizer

_LEXICON_WORDS = 2000

Order = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonlPairsConfig:
    """A file of lines `{"image": "a.jpg", "captions": ["…"], "split"?: "train"}` and a folder of pictures."""

    captions: str = "captions.jsonl"
    images: str = "images"
    size_px: int = 96
    max_subwords: int = 48
    vocab_size: int = 8000  # of the tokenizer learned from the training captions
    train_splits: tuple[str, ...] = ("train",)  # a line without a split counts as train
    held_out_splits: tuple[str, ...] = ("val", "dev")
    most_broken_share: float = 0.02  # of the training pictures

    def tokenizer(self, data: Path | None) -> Tokenizer:
        """Subwords learned from the training captions."""
        lines = read_lines(self._directory(data) / self.captions)
        texts = (text for line in lines if line.split in self.train_splits for text in line.captions)
        return subword_tokenizer(texts, vocab_size=self.vocab_size)

    def open(self, data: Path | None, *, tokenizer: Tokenizer, batch_size: int, seed: int) -> "JsonlPairs":
        """The source.

        Raises:
            DataError: the file cannot be read, or has fewer training pictures than a batch.
        """
        return JsonlPairs(self, self._directory(data), tokenizer, batch_size=batch_size, seed=seed)

    def _directory(self, data: Path | None) -> Path:
        if data is None:
            raise DataError(
                f"this recipe reads a data directory with {self.captions} and {self.images}/; name it with --data.",
                code="data_missing",
            )
        return data


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One picture with its captions."""

    image: str
    captions: tuple[str, ...]
    split: str


def read_lines(file: Path) -> list[Line]:
    """Read a captions file.

    Raises:
        DataError: it is missing, or a line is not what it should be; the message names the line.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error}).", code="data_missing") from error
    return [_line(raw, f"{file}:{number}") for number, raw in enumerate(text.splitlines(), 1) if raw.strip()]


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


class JsonlPairs:
    """Batches in a new order every epoch; a picture comes with one of its captions at random."""

    def __init__(
        self, config: JsonlPairsConfig, directory: Path, tokenizer: Tokenizer, *, batch_size: int, seed: int
    ) -> None:
        lines = read_lines(directory / config.captions)
        self.name = f"{directory.name}/{config.captions}"
        self.folder = directory / config.images
        self.train = [line for line in lines if line.split in config.train_splits]
        self.others = [line for line in lines if line.split in config.held_out_splits]
        if len(self.train) < batch_size:
            raise DataError(
                f"{directory / config.captions} has {len(self.train)} training pictures; a batch needs {batch_size}."
            )
        self.batch_size = batch_size
        self.seed = seed
        self.most_broken = int(config.most_broken_share * len(self.train))
        self.image_transform = ImageTransform(size_px=config.size_px)
        self.text_transform = TextTransform(tokenizer, max_subwords=config.max_subwords)
        self.special = special_tokens(tokenizer)

    def __getitem__(self, step: int) -> PairBatch:
        """The batch of a step. A broken picture's place is taken by the next pictures after the batch."""
        rng = np.random.default_rng((self.seed, step))
        images: list[Image.Image] = []
        captions: list[str] = []
        broken: dict[str, str] = {}
        for line in self._from(step):
            try:
                images.append(self._picture(line))
            except ImageError as error:
                broken[line.image] = str(error)
                continue
            captions.append(line.captions[rng.integers(len(line.captions))])
            if len(images) == self.batch_size:
                break
        if len(images) < self.batch_size:
            raise DataError(f"too few readable pictures in {self.folder}: {next(iter(broken.values()))}")
        return collate(
            images,
            captions,
            image_transform=self.image_transform,
            text_transform=self.text_transform,
            special=self.special,
            broken=broken,
        )

    def held_out(self, count: int) -> Sequence[Sample]:
        """Pairs of the held-out splits with different captions; of the training split when there is no other."""
        found: dict[str, Sample] = {}
        for line in self.others or self.train:
            if len(found) == count:
                break
            try:
                image = self._picture(line)
            except ImageError:
                continue
            found.setdefault(line.captions[0], Sample(image=image, caption=line.captions[0]))
        return list(found.values())

    def lexicon(self) -> Sequence[str]:
        """The most frequent words of the training captions."""
        return self._lexicon

    @cached_property
    def _lexicon(self) -> list[str]:
        counts = Counter(
            word.text.lower() for line in self.train for caption in line.captions for word in words(caption)
        )
        return [word for word, _ in counts.most_common(_LEXICON_WORDS)]

    def _from(self, step: int) -> Iterator[Line]:
        """The lines of the endless shuffled sequence from a step's first one on, one more epoch at most."""
        first = step * self.batch_size
        orders: dict[int, Order] = {}
        for position in range(first, first + len(self.train) + self.batch_size):
            epoch, at = divmod(position, len(self.train))
            if epoch not in orders:
                orders[epoch] = np.random.default_rng((self.seed, epoch, 1)).permutation(len(self.train))
            yield self.train[orders[epoch][at]]

    def _picture(self, line: Line) -> Image.Image:
        file = self.folder / line.image
        try:
            data = file.read_bytes()
        except OSError as error:
            raise ImageError(f"{file} cannot be read ({error.strerror}).") from error
        return decode_image(data, target_px=self.image_transform.size_px)
