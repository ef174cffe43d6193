"""Numbered pictures with captions as training pairs: what every source of files on a disk or in a store has in common.

Every epoch has a new order. What stands at a position of the endless sequence of pairs is a function of the seed and
the position alone: it does not depend on how the sequence is cut into batches, by how many processes it is read, or
where a run began. So a resumed run is exact, and several processes see what one would have seen.

A picture that cannot be read is passed over for another one, named in the batch, and counted by the trainer.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Tokenizer

from runtime.errors import DataError, InputError
from runtime.preprocess.image import ImageTransform, decode_image
from runtime.preprocess.text import TextTransform, check_text, words
from training.data.augmentation import PICTURES, AugmentationConfig, distorted, with_hidden_words
from training.data.batch import PairBatch, WrongWords, caption_key
from training.data.candidates import Proposer
from training.data.collate import collate
from training.data.phrases import PhrasesConfig, phrases_of
from training.data.source import Sample
from training.data.tokenizer import special_tokens, subword_tokenizer, with_mask
from training.data.wrong_words import CaptionTruth, Vocabulary, WrongWordsConfig, read_synonyms, replaced, truths_of

_LEXICON_WORDS = 2000
_MOST_ATTEMPTS = 50  # so many pictures in a row may be broken
_NUMBERS_READ_AT_ONCE = 256

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class RawPair:
    """A picture's file and its captions, as they are stored."""

    name: str  # for people: a broken or otherwise remarkable pair is found again by it
    picture: bytes
    captions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenPair:
    """A pair that cannot be read."""

    name: str
    reason: str


class PairStore(Protocol):
    """Pairs by number, safe to read from several processes."""

    name: str  # what it is, in a few words

    def read(self, numbers: Sequence[int]) -> list[RawPair | BrokenPair]:
        """The pairs of these numbers, in this order."""
        ...

    def captions(self, most: int) -> Sequence[str]:
        """Captions of training pairs to learn words from; at most so many where each costs a read."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """A store and which of its pairs are trained on."""

    store: PairStore
    train: Numbers
    held_out: Numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedPairsConfig:
    """What all stores are read with. A kind of store adds where its files are, and gives the division of its pairs."""

    size_px: int = 96
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)  # of the pixels, in 0..1: what the image encoder expects
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    max_subwords: int = 48
    vocab_size: int = 8000  # of the tokenizer learned from the training captions
    tokenizer_file: str | None = None  # a tokenizer.json that is used in place of learning one
    adds_mask: bool = False  # [MASK], to a tokenizer_file that lacks it (CLIP's, SigLIP's)
    learned_from: int = 5000  # captions that words are learned from, where reading all would be long
    least_held_out: int = 200  # pairs taken from the training ones for a look at progress, where no split gives any
    most_broken_share: float = 0.02  # of the training pictures; 0 accepts none
    phrases: PhrasesConfig | None = None  # noun phrases of the captions as texts of their own: what LOUPE learns from
    wrong_words: WrongWordsConfig | None = None  # replace words of the captions: what ViLEM learns from
    augmentation: AugmentationConfig = PICTURES  # of pictures, as their captions allow, and of captions' words

    def divided(self, data: Path | None) -> Division:
        """The pairs, from the directory that the user named.

        Raises:
            DataError: it is missing or not what it should be.
        """
        raise NotImplementedError

    def tokenizer(self, data: Path | None) -> Tokenizer:
        """The tokenizer of the file, or subwords learned from the training captions."""
        if self.tokenizer_file is not None:
            tokenizer = Tokenizer.from_file(self.tokenizer_file)
            return with_mask(tokenizer) if self.adds_mask else tokenizer
        return subword_tokenizer(self.divided(data).store.captions(self.learned_from), vocab_size=self.vocab_size)

    def open(self, data: Path | None, *, tokenizer: Tokenizer, batch_size: int, seed: int) -> "ListedPairs":
        """The source.

        Raises:
            DataError: a file cannot be read, or there are fewer training pictures than a batch.
        """
        return ListedPairs(self, self.divided(data), tokenizer, batch_size=batch_size, seed=seed)


def spared(names: Sequence[str], least: int) -> tuple[Numbers, Numbers]:
    """Numbers to train on and numbers held out: the names that hash lowest, at most a tenth; the same in every run.

    A handful of pairs that cannot spare any is held out as a whole as well as trained on.
    """
    count = min(least, len(names) // 10)
    order = np.argsort([caption_key(name) for name in names], kind="stable").astype(np.int64)
    return np.sort(order[count:]), np.sort(order[: count or None])


class ListedPairs:
    """Batches of a store's pairs; a picture comes with one of its captions at random."""

    def __init__(
        self, config: ListedPairsConfig, division: Division, tokenizer: Tokenizer, *, batch_size: int, seed: int
    ) -> None:
        self.store = division.store
        self.name = division.store.name
        self.train, self.others = division.train, division.held_out
        if len(self.train) < batch_size:
            raise DataError(f"{self.name} has {len(self.train)} training pictures; a batch needs {batch_size}.")
        self.batch_size = batch_size
        self.seed = seed
        self.most_broken = int(config.most_broken_share * len(self.train))
        self.learned_from = config.learned_from
        self.image_transform = ImageTransform(size_px=config.size_px, mean=config.mean, std=config.std)
        self.text_transform = TextTransform(tokenizer, max_subwords=config.max_subwords)
        self.special = special_tokens(tokenizer)
        self.config = config
        self._orders: dict[int, Numbers] = {}
        self._proposer: Proposer | None = None

    def __getitem__(self, step: int) -> PairBatch:
        """The batch of a step. A broken picture's place is taken by another one, drawn for that place."""
        positions = range(step * self.batch_size, (step + 1) * self.batch_size)
        found: dict[int, tuple[RawPair, Image.Image]] = {}
        broken: dict[str, str] = {}
        for attempt in range(_MOST_ATTEMPTS):
            missing = [position for position in positions if position not in found]
            if not missing:
                break
            raw_pairs = self.store.read([self._number(position, attempt) for position in missing])
            for position, raw in zip(missing, raw_pairs, strict=True):
                opened = self._opened(raw)
                if isinstance(opened, BrokenPair):
                    broken[opened.name] = opened.reason
                else:
                    found[position] = opened
        else:
            name, reason = next(iter(broken.items()))
            raise DataError(
                f"{_MOST_ATTEMPTS} pictures in a row could not be read in {self.name} ({name}: {reason}).",
                code="too_many_broken",
            )
        pairs = [found[position] for position in positions]
        captions = [
            raw.captions[np.random.default_rng((self.seed, position)).integers(len(raw.captions))]
            for position, (raw, _) in zip(positions, pairs, strict=True)
        ]
        batch = collate(
            [
                distorted(image, [caption], self.config.augmentation, seed=(self.seed, position, 6))
                for position, caption, (_, image) in zip(positions, captions, pairs, strict=True)
            ],
            captions,
            image_transform=self.image_transform,
            text_transform=self.text_transform,
            special=self.special,
            sample_ids=[raw.name for raw, _ in pairs],
            broken=broken,
        )
        if self.config.phrases is not None:
            seeds = [(self.seed, position, 4) for position in positions]
            found_in = phrases_of(batch.texts, self.config.phrases, self.text_transform, seeds=seeds)
            batch = replace(batch, phrases=found_in)
        if self.config.wrong_words is not None:
            raws = [raw for raw, _ in pairs]
            batch = replace(batch, wrong_words=self._wrong_words(batch, raws, self.config.wrong_words, positions))
        return with_hidden_words(
            batch,
            self.config.augmentation,
            seeds=[(self.seed, position, 5) for position in positions],
            max_subwords=self.config.max_subwords,
        )

    def truths(self, batch: PairBatch, captions: Sequence[Sequence[str]]) -> list[CaptionTruth]:
        """What is known of a batch's captions.

        Args:
            batch: whose captions.
            captions: all captions of each picture.
        """
        return truths_of(batch, captions, self.text_transform, self._vocabulary, self._synonyms)

    def texts_of(self, numbers: Sequence[int]) -> tuple[PairBatch, list[tuple[str, ...]]]:
        """All captions of some pairs as a batch without pictures, and for each of its rows its picture's captions."""
        raws = [raw for raw in self.store.read(numbers) if isinstance(raw, RawPair)]
        rows = [(text, raw.captions) for raw in raws for text in raw.captions]
        encoded = self.text_transform.encode([text for text, _ in rows])
        batch = PairBatch(
            pixels=torch.zeros(0),
            ids=torch.from_numpy(encoded.ids),
            mask=torch.from_numpy(encoded.mask).bool(),
            caption_keys=torch.tensor([caption_key(text) for text, _ in rows]),
            special=self.special,
            texts=tuple(text for text, _ in rows),
        )
        return batch, [captions for _, captions in rows]

    def proposer(self, config: WrongWordsConfig) -> Proposer:
        """What says which words are plausible; made once, in the process that asks."""
        if self._proposer is None:
            self._proposer = config.proposer(
                self.text_transform.tokenizer, self.store.captions, source=f"{self.name}, {len(self.train)} pictures"
            )
        return self._proposer

    def held_out(self, count: int) -> Sequence[Sample]:
        """Pairs that are not trained on, with different captions."""
        found: dict[str, Sample] = {}
        for at in range(0, len(self.others), _NUMBERS_READ_AT_ONCE):
            for raw in self.store.read(self.others[at : at + _NUMBERS_READ_AT_ONCE].tolist()):
                opened = self._opened(raw)
                if len(found) < count and not isinstance(opened, BrokenPair):
                    caption = opened[0].captions[0]
                    found.setdefault(caption, Sample(image=opened[1], caption=caption))
            if len(found) == count:
                break
        return list(found.values())

    def lexicon(self) -> Sequence[str]:
        """The most frequent words of the training captions."""
        return self._lexicon

    @cached_property
    def _lexicon(self) -> list[str]:
        captions = self.store.captions(self.learned_from)
        counts = Counter(word.text.lower() for caption in captions for word in words(caption))
        return [word for word, _ in counts.most_common(_LEXICON_WORDS)]

    def _wrong_words(
        self, batch: PairBatch, raws: Sequence[RawPair], config: WrongWordsConfig, positions: range
    ) -> WrongWords:
        return replaced(
            batch,
            self.truths(batch, [raw.captions for raw in raws]),
            self.proposer(config),
            config,
            seeds=[(self.seed, position, 3) for position in positions],
        )

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return Vocabulary.of(self.text_transform.tokenizer)

    @cached_property
    def _synonyms(self) -> dict[int, frozenset[int]]:
        wrong_words = self.config.wrong_words
        file = wrong_words.synonyms if wrong_words is not None else None
        return {} if file is None else read_synonyms(Path(file), self.text_transform.tokenizer)

    def _number(self, position: int, attempt: int) -> int:
        """Which pair stands at a position of the sequence: after broken ones another, drawn for that place."""
        if attempt > 0:
            return int(self.train[np.random.default_rng((self.seed, position, attempt, 2)).integers(len(self.train))])
        epoch, at = divmod(position, len(self.train))
        if epoch not in self._orders:
            order = np.random.default_rng((self.seed, epoch, 1)).permutation(len(self.train))
            kept = {number: value for number, value in self._orders.items() if number == epoch - 1}
            self._orders = kept | {epoch: order}
        return int(self.train[self._orders[epoch][at]])

    def _opened(self, raw: RawPair | BrokenPair) -> tuple[RawPair, Image.Image] | BrokenPair:
        if isinstance(raw, BrokenPair):
            return raw
        try:
            for caption in raw.captions:
                check_text(caption)
            return raw, decode_image(raw.picture, target_px=self.image_transform.size_px)
        except InputError as error:
            return BrokenPair(name=raw.name, reason=str(error))
