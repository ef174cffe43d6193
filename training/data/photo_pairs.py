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
from runtime.preprocess.text import TextBatch, TextTransform, words
from training.data.augmentation import may_be_flipped
from training.data.batch import EditedTexts, OtherCaptions, PairBatch, WrongWords, caption_key
from training.data.candidates import Proposer
from training.data.edited_captions import EditedCaptionsConfig, PhraseStock, edited, said_longer
from training.data.grid_cache import GridCache, fill_cache
from training.data.jsonl_pairs import Line, read_lines
from training.data.source import Sample
from training.data.tokenizer import special_tokens, subword_tokenizer
from training.data.wrong_words import Vocabulary, WrongWordsConfig, replaced, truths_of
from training.model.backbone import BackboneConfig
from training.progress import counted_on

_LEXICON_WORDS = 400
_LEXICON_LEAST_LETTERS = 3
_WRONG_WORDS_SHARE = 0.5  # of the captions that have wrong words: their wrong text is that, and no edited one


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
    edits: EditedCaptionsConfig | None = None  # captions wrong in one thing, for a fusion encoder: NAS's

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
        self.config = config
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
        captions = [self._said(several, (self.seed, step, row, 5)) for row, several in enumerate(shuffled)]
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
        return self._with_more(batch, shuffled, step)

    def _with_more(self, batch: PairBatch, captions: Sequence[Sequence[str]], step: int) -> PairBatch:
        """The batch with what objectives beside the contrast learn from."""
        wanted, seeds = self.config, [(self.seed, step, row) for row in range(self.batch_size)]
        if wanted.wrong_words is not None:
            words = self._wrong_words(batch, captions, wanted.wrong_words, seeds=[(*seed, 4) for seed in seeds])
            batch = replace(batch, wrong_words=words)
        if wanted.edits is not None:
            batch = replace(batch, edits=self._edits(batch, captions, seeds=[(*seed, 7) for seed in seeds]))
        return _of_one_length(batch)

    def _said(self, captions: Sequence[str], seed: tuple[int, ...]) -> str:
        """The first caption; longer by what another names, where captions are edited, now and then."""
        if self.config.edits is None:
            return captions[0]
        rng = np.random.default_rng(seed)
        longer = said_longer(captions[0], captions[1:], rng) if rng.random() < self.config.edits.longer_share else None
        return longer or captions[0]

    def _edits(
        self, batch: PairBatch, captions: Sequence[Sequence[str]], *, seeds: Sequence[tuple[int, ...]]
    ) -> EditedTexts | None:
        """One wrong text of each caption: an edited one, or, of every other, that with wrong words."""
        rows, texts = [], []
        for row, (caption, seed) in enumerate(zip(batch.texts, seeds, strict=True)):
            rng = np.random.default_rng(seed)
            has_wrong_words = batch.wrong_words is not None and bool(batch.wrong_words.is_wrong[row].any())
            if has_wrong_words and rng.random() < _WRONG_WORDS_SHARE:
                continue
            text = edited(caption, captions[row], self._stock, rng)
            if text is not None:
                rows.append(row)
                texts.append(text)
        encoded = self.text_transform.encode(texts) if texts else None
        return _edited_texts(batch, rows, encoded)

    @cached_property
    def _stock(self) -> PhraseStock:
        return PhraseStock.of([caption for line in self.train for caption in line.captions])

    def _wrong_words(
        self,
        batch: PairBatch,
        captions: Sequence[Sequence[str]],
        config: WrongWordsConfig,
        *,
        seeds: Sequence[tuple[int, ...]],
    ) -> WrongWords:
        truths = truths_of(batch, captions, self.text_transform, self._vocabulary)
        return replaced(batch, truths, self._proposer, config, seeds=seeds)

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return Vocabulary.of(self.text_transform.tokenizer)

    @cached_property
    def _proposer(self) -> Proposer:
        assert self.config.wrong_words is not None
        said = [caption for line in self.train for caption in line.captions]
        mixed = np.random.default_rng(0).permutation(len(said))

        def captions(count: int) -> list[str]:
            return [said[at] for at in mixed[:count]]

        source = f"{self.name}, {len(self.train)} photos"
        return self.config.wrong_words.proposer(self.text_transform.tokenizer, captions, source=source)

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


def _edited_texts(batch: PairBatch, rows: Sequence[int], encoded: TextBatch | None) -> EditedTexts | None:
    """Edited texts and, of the pairs that have none, captions with wrong words, all of one length."""
    wrong = batch.wrong_words
    others = [] if wrong is None else wrong.is_wrong.any(dim=1).nonzero()[:, 0].tolist()
    others = [row for row in others if row not in set(rows)]
    ids, mask = [], []
    if encoded is not None:
        ids, mask = [torch.from_numpy(encoded.ids)], [torch.from_numpy(encoded.mask).bool()]
    if wrong is not None and others:
        ids, mask = [*ids, wrong.ids[others]], [*mask, batch.mask[others]]
    if not ids:
        return None
    length = max(part.shape[1] for part in ids)
    return EditedTexts(
        ids=torch.cat([_padded(part, length, batch.special.pad) for part in ids]),
        mask=torch.cat([_padded(part, length, 0) for part in mask]),
        rows=torch.tensor([*rows, *others]),
    )


def _of_one_length(batch: PairBatch) -> PairBatch:
    """The batch with its captions, and those with wrong words, as long as its edited ones, or these as long as they."""
    if batch.edits is None:
        return batch
    length, pad, edits, wrong = max(batch.ids.shape[1], batch.edits.ids.shape[1]), batch.special.pad, batch.edits, None
    if batch.wrong_words is not None:
        words = batch.wrong_words
        wrong = replace(words, ids=_padded(words.ids, length, pad), is_wrong=_padded(words.is_wrong, length, 0))
    return replace(
        batch,
        ids=_padded(batch.ids, length, pad),
        mask=_padded(batch.mask, length, 0),
        wrong_words=wrong,
        edits=replace(edits, ids=_padded(edits.ids, length, pad), mask=_padded(edits.mask, length, 0)),
    )


def _padded(part: torch.Tensor, length: int, value: int) -> torch.Tensor:
    return torch.nn.functional.pad(part, (0, length - part.shape[1]), value=value)


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
