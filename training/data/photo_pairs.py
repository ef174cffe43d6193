"""Captions in JSON lines and photos in a directory, read through a frozen backbone's cached grids.

A photo that cannot be read is left out of the training set when its grid is computed; it is named in the cache and
counted like every broken picture.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from tokenizers import Tokenizer

from runtime.errors import DataError, ImageError
from runtime.phrases import FUNCTION_WORDS
from runtime.preprocess.image import decode_image
from runtime.preprocess.text import TextTransform, words
from training.data.augmentation import may_be_flipped
from training.data.batch import OtherCaptions, PairBatch, WrongWords, caption_key
from training.data.candidates import Proposer
from training.data.grid_cache import GridCache, fill_cache
from training.data.jsonl_pairs import Line, read_lines
from training.data.source import Sample
from training.data.tokenizer import special_tokens, subword_tokenizer
from training.data.wrong_words import Vocabulary, WrongWordsConfig, replaced, truths_of
from training.model.backbone import BackboneConfig
from training.progress import counted_on

_LEXICON_WORDS = 400
_LEXICON_LEAST_LETTERS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoPairsConfig:
    """A file of lines `{"image": "a.jpg", "captions": ["…"], "split"?: "train"}` and a folder of photos."""

    backbone: BackboneConfig
    captions: str = "captions.jsonl"
    images: str = "images"
    cache: str = "runs/grids"  # where grids are kept; relative to where the program runs
    text_tower: str | None = None  # directory whose tokenizer.json is used; one is learned from the captions when None
    vocab_size: int = 6000  # of a learned tokenizer
    max_subwords: int = 48
    most_captions: int = 5  # of a photo in one batch
    train_splits: tuple[str, ...] = ("train",)  # a line without a split counts as train
    tested_splits: tuple[str, ...] = ("dev", "val", "test")  # never looked at
    least_held_out: int = 200  # pairs; taken from the training photos where the lines of no split are fewer
    most_broken_share: float = 0.02  # of the training photos
    wrong_words: WrongWordsConfig | None = None  # replace words of the captions: what ViLEM learns from

    def tokenizer(self, data: Path | None) -> Tokenizer:
        """The text tower's tokenizer, or subwords learned from the training captions."""
        if self.text_tower is not None:
            return Tokenizer.from_file(str(Path(self.text_tower) / "tokenizer.json"))
        train, _ = divided(self, _needed(data))
        return subword_tokenizer((caption for line in train for caption in line.captions), vocab_size=self.vocab_size)

    def open(self, data: Path | None, *, tokenizer: Tokenizer, batch_size: int, seed: int) -> "PhotoPairs":
        """The source; computes the grids that are not cached yet, showing how far it is.

        Raises:
            DataError: a file cannot be read, or there are fewer training photos than a batch.
        """
        return PhotoPairs(self, _needed(data), tokenizer, batch_size=batch_size, seed=seed)


def divided(config: PhotoPairsConfig, data: Path) -> tuple[list[Line], list[Line]]:
    """The lines that are trained on, and those held out for parity and calibration.

    Held out are the lines of neither a training nor a tested split, and, where these are too few, the training lines
    whose names hash lowest: the same ones in every run.
    """
    lines = read_lines(data / config.captions)
    train = [line for line in lines if line.split in config.train_splits]
    others = [line for line in lines if line.split not in (*config.train_splits, *config.tested_splits)]
    lacking = min(max(0, config.least_held_out - len(others)), len(train) // 10)
    ordered = sorted(train, key=lambda line: caption_key(line.image))
    spared = {line.image for line in ordered[:lacking]}
    return (
        [line for line in train if line.image not in spared],
        [*others, *(line for line in train if line.image in spared)],
    )


class PhotoPairs:
    """Batches in a new order every epoch: photos with several captions each, mirrored at times where these allow it."""

    def __init__(
        self, config: PhotoPairsConfig, data: Path, tokenizer: Tokenizer, *, batch_size: int, seed: int
    ) -> None:
        train, self.others = divided(config, data)
        self.wrong_words = config.wrong_words
        self.name = f"{data.name}/{config.captions}"
        self.folder = data / config.images
        self.batch_size = batch_size
        self.seed = seed
        self.most_broken = int(config.most_broken_share * len(train))
        self.image_transform = config.backbone.transform
        self.text_transform = TextTransform(tokenizer, max_subwords=config.max_subwords)
        self.most_captions = config.most_captions
        self.special = special_tokens(tokenizer)
        self.cache = _filled(config, self.folder, [line.image for line in train])
        self.rows = np.flatnonzero(self.cache.usable)
        self.train = [train[row] for row in self.rows]
        if len(self.train) < batch_size:
            raise DataError(
                f"{data / config.captions} has {len(self.train)} training photos; a batch needs {batch_size}."
            )

    def __getitem__(self, step: int) -> PairBatch:
        """The batch of a step; epochs end where a whole batch no longer fits."""
        epoch, at = divmod(step, len(self.train) // self.batch_size)
        order = np.random.default_rng((self.seed, epoch, 1)).permutation(len(self.train))
        chosen = order[at * self.batch_size :][: self.batch_size]
        rng = np.random.default_rng((self.seed, step))
        views = rng.integers(self.cache.shape[1], size=self.batch_size)
        shuffled = [rng.permutation(self.train[row].captions).tolist() for row in chosen]
        captions = [first for first, *_ in shuffled]
        mirrored = [may_be_flipped(several[: self.most_captions]) for several in shuffled]
        views = np.where(mirrored, views, 0)
        encoded = self.text_transform.encode(captions)
        batch = PairBatch(
            pixels=torch.from_numpy(self.cache.take(self.rows[chosen], views)),
            ids=torch.from_numpy(encoded.ids),
            mask=torch.from_numpy(encoded.mask).bool(),
            caption_keys=torch.tensor([caption_key(caption) for caption in captions]),
            special=self.special,
            texts=tuple(captions),
            others=self._others([rest[: self.most_captions - 1] for _, *rest in shuffled]),
            sample_ids=tuple(self.train[row].image for row in chosen),
            broken=self.cache.broken,
        )
        if self.wrong_words is None:
            return batch
        return replace(batch, wrong_words=self._wrong_words(batch, shuffled, self.wrong_words, step))

    def _wrong_words(
        self, batch: PairBatch, captions: Sequence[Sequence[str]], config: WrongWordsConfig, step: int
    ) -> WrongWords:
        truths = truths_of(batch, captions, self.text_transform, self._vocabulary)
        seeds = [(self.seed, step, row, 4) for row in range(self.batch_size)]
        return replaced(batch, truths, self._proposer, config, seeds=seeds)

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return Vocabulary.of(self.text_transform.tokenizer)

    @cached_property
    def _proposer(self) -> Proposer:
        assert self.wrong_words is not None
        said = [caption for line in self.train for caption in line.captions]
        mixed = np.random.default_rng(0).permutation(len(said))

        def captions(count: int) -> list[str]:
            return [said[at] for at in mixed[:count]]

        source = f"{self.name}, {len(self.train)} photos"
        return self.wrong_words.proposer(self.text_transform.tokenizer, captions, source=source)

    def _others(self, captions: Sequence[Sequence[str]]) -> OtherCaptions | None:
        rows = [row for row, several in enumerate(captions) for _ in several]
        if not rows:
            return None
        encoded = self.text_transform.encode([caption for several in captions for caption in several])
        return OtherCaptions(
            ids=torch.from_numpy(encoded.ids), mask=torch.from_numpy(encoded.mask).bool(), rows=torch.tensor(rows)
        )

    def held_out(self, count: int) -> Sequence[Sample]:
        """Pairs of the held-out photos with different captions."""
        found: dict[str, Sample] = {}
        for line in self.others:
            if len(found) == count:
                break
            try:
                image = decode_image((self.folder / line.image).read_bytes(), target_px=self.image_transform.size_px)
            except (OSError, ImageError):
                continue
            found.setdefault(line.captions[0], Sample(image=image, caption=line.captions[0]))
        return list(found.values())

    def lexicon(self) -> Sequence[str]:
        """The most frequent content words of the training captions."""
        return self._lexicon

    @cached_property
    def _lexicon(self) -> list[str]:
        counts = Counter(
            word.text.lower() for line in self.train for caption in line.captions for word in words(caption)
        )
        said = [word for word, _ in counts.most_common() if _has_content(word)]
        return said[:_LEXICON_WORDS]


def _has_content(word: str) -> bool:
    return len(word) >= _LEXICON_LEAST_LETTERS and word.isalpha() and word not in FUNCTION_WORDS


def _filled(config: PhotoPairsConfig, folder: Path, names: Sequence[str]) -> GridCache:
    with counted_on(Console(stderr=True), "grids of the photos") as progress:
        return fill_cache(Path(config.cache), folder, names, config.backbone, progress=progress)


def _needed(data: Path | None) -> Path:
    if data is None:
        raise DataError(
            "this recipe reads a directory of photos with captions; name it with --data.", code="data_missing"
        )
    return data
