"""Drawn scenes as training pairs: rendered as they are needed, never repeated, nothing on disk."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer

import scenes
from runtime.preprocess.image import ImageTransform
from runtime.preprocess.text import TextTransform
from scenes.caption import caption_of
from scenes.draft import new_draft
from training.data.augmentation import NOTHING, AugmentationConfig, distorted, with_hidden_words
from training.data.batch import PairBatch, WrongWords
from training.data.candidates import Proposer
from training.data.collate import collate
from training.data.phrases import PhrasesConfig, phrases_of
from training.data.scene_truth import EDITED_SLOTS, EVERY_SLOT, SceneTruth, UniformInSlot
from training.data.short_queries import kind_query, short_query, shows
from training.data.source import Sample
from training.data.tokenizer import special_tokens, word_tokenizer
from training.data.wrong_words import WrongWordsConfig, replaced

_LANGUAGE_SEED = 2026
_REDRAWS_EACH = 6  # edits tried for each picture wanted: some come twice


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenePairsConfig:
    """Drawn scenes, without end."""

    size_px: int = 96
    world: str = "full"  # or "small": see `scenes.WORLDS`
    max_subwords: int = 48
    edited_share: float = 0.0  # of the captions that also come with an edited, wrong copy: `scenes.TRAINING_EDITS`
    edits_of_each: int = 1  # how many such copies
    edit_kinds: tuple[str, ...] | None = None  # of `scenes.EDIT_KINDS`, in place of those: what comes twice is drawn
    # twice as often; a kind that is edited in training is no longer one that a model can be tested on unseen
    twin_share: float = 0.0  # of the pairs that come as two whose pictures differ in one thing, one of the kinds of
    # edit, so that neither caption is true of the other picture; these are the first of a batch
    short_share: float = 0.0  # of the captions replaced by a short query; these are the last of a batch, so that
    # objectives over the first pairs alone (`max_pairs`) still see captions that are true of one picture only
    kind_share: float = 0.0  # of the short queries that ask for a kind of thing alone, also one that no caption names
    phrases: PhrasesConfig | None = None  # noun phrases of the captions as texts of their own: what LOUPE learns from
    wrong_words: WrongWordsConfig | None = None  # replace words of the whole captions: what ViLEM learns from
    augmentation: AugmentationConfig = NOTHING  # of pictures, and of the whole captions' words

    def tokenizer(self, data: Path | None) -> Tokenizer:
        """One id per word that a scene's caption can hold."""
        return word_tokenizer(scenes.vocabulary(scenes.world_named(self.world)))

    def open(self, data: Path | None, *, tokenizer: Tokenizer, batch_size: int, seed: int) -> "ScenePairs":
        """The source; it reads no files."""
        return ScenePairs(self, tokenizer, batch_size=batch_size, seed=seed)


class ScenePairs:
    """Batches of drawn scenes."""

    name = "drawn scenes"
    most_broken = 0

    def __init__(self, config: ScenePairsConfig, tokenizer: Tokenizer, *, batch_size: int, seed: int) -> None:
        self.config = config
        self.batch_size = batch_size
        self.seed = seed
        self.image_transform = ImageTransform(size_px=config.size_px)
        self.text_transform = TextTransform(tokenizer, max_subwords=config.max_subwords)
        self.special = special_tokens(tokenizer)
        self._proposer: Proposer | None = None

    def __getitem__(self, step: int) -> PairBatch:
        """The batch of a step: scenes numbered from step times batch size."""
        first = step * self.batch_size
        drawn = self._drawn(first)
        edits: list[tuple[int, str]] = []
        for row, scene in enumerate(drawn[: round(self.config.edited_share * self.batch_size)]):
            rng = np.random.default_rng((self.seed, first + row))
            edits += [
                (row, scenes.edit_caption(scene, rng, kinds=self._kinds).caption)
                for _ in range(self.config.edits_of_each)
            ]
        captions = [scene.caption for scene in drawn]
        whole = self.batch_size - round(self.config.short_share * self.batch_size)
        kinds: dict[int, str] = {}
        for row in range(whole, self.batch_size):
            rng = np.random.default_rng((self.seed, first + row, 1))
            if rng.random() < self.config.kind_share:
                captions[row], kinds[row] = kind_query(drawn[row], rng)
            else:
                captions[row] = short_query(drawn[row], rng)
        batch = collate(
            self._pictures(drawn, captions, edits, first),
            captions,
            image_transform=self.image_transform,
            text_transform=self.text_transform,
            special=self.special,
            edits=edits,
            sample_ids=[f"scene {self.seed}/{first + row}" for row in range(self.batch_size)],
        )
        if kinds:
            batch = replace(batch, true_of=_true_of(drawn, kinds))
        if self.config.phrases is not None:
            seeds = [(self.seed, first + row, 3) for row in range(self.batch_size)]
            batch = replace(batch, phrases=phrases_of(captions, self.config.phrases, self.text_transform, seeds=seeds))
        if self.config.wrong_words is not None:
            batch = replace(batch, wrong_words=self._wrong_words(batch, drawn[:whole], self.config.wrong_words, first))
        return with_hidden_words(
            batch,
            self.config.augmentation,
            seeds=[(self.seed, first + row, 5) for row in range(whole)],
            max_subwords=self.config.max_subwords,
        )

    def truths(self, scenes_of: Sequence[scenes.Scene]) -> list[SceneTruth]:
        """What may be made wrong in the scenes' captions."""
        offsets = self.text_transform.encode([scene.caption for scene in scenes_of]).offsets
        words = self.config.wrong_words
        slots = EVERY_SLOT if words is not None and words.every_kind else EDITED_SLOTS
        return [
            SceneTruth(scene, self.text_transform.tokenizer, row, slots=slots)
            for scene, row in zip(scenes_of, offsets, strict=True)
        ]

    def held_out(self, count: int) -> Sequence[Sample]:
        """Scenes of the validation split with different captions, each with an edited caption, boxes and neighbours."""
        found: dict[str, Sample] = {}
        index, before = 0, None
        while len(found) < count:
            scene = scenes.generate(self.seed, index, split="val", size_px=self.config.size_px, world=self._world)
            sample = Sample(
                image=scene.image,
                caption=scene.caption,
                edited=scenes.edit_caption(scene, np.random.default_rng((self.seed, index))).caption,
                phrases=tuple((phrase.text, phrase.box) for phrase in scene.phrases),
                absent=() if before is None else tuple(scenes.absent_phrases(scene, before)),
                redrawn=partial(_redrawn, scene, (self.seed, index)),
            )
            before = scene
            found.setdefault(scene.caption, sample)
            index += 1
        return list(found.values())

    def lexicon(self) -> Sequence[str]:
        """Every word that a caption can hold."""
        return [word for word in scenes.vocabulary(self._world) if word.isalpha()]

    def captions(self, count: int) -> list[str]:
        """Captions of training scenes that are drafted and not drawn: text is enough to learn language from.

        They are the same for every seed, so that runs of several seeds share a language model.
        """
        world, rng = self._world, np.random.default_rng(_LANGUAGE_SEED)
        return [caption_of(new_draft(rng, world=world, held_out=False), world).text for _ in range(count)]

    def _drawn(self, first: int) -> list[scenes.Scene]:
        """The scenes of a batch, by the number of its first; the second of each two twins is the first, edited."""
        found: list[scenes.Scene] = []
        twins = round(self.config.twin_share * self.batch_size) // 2 * 2
        for row in range(self.batch_size):
            if row < twins and row % 2:
                rng = np.random.default_rng((self.seed, first + row, 6))
                found.append(scenes.edit_image(found[-1], rng, kinds=self._kinds).scene)
            else:
                found.append(scenes.generate(self.seed, first + row, size_px=self.config.size_px, world=self._world))
        return found

    @property
    def _kinds(self) -> tuple[str, ...]:
        return self.config.edit_kinds or scenes.TRAINING_EDITS

    def _pictures(
        self, drawn: Sequence[scenes.Scene], captions: Sequence[str], edits: Sequence[tuple[int, str]], first: int
    ) -> list[Image.Image]:
        """The pictures, distorted so that captions stay true, and edited ones wrong; what they speak of stays whole."""
        return [
            distorted(
                scene.image,
                [captions[row], *(caption for of, caption in edits if of == row)],
                self.config.augmentation,
                seed=(self.seed, first + row, 4),
                keep=[phrase.box for phrase in scene.phrases],
            )
            for row, scene in enumerate(drawn)
        ]

    def _wrong_words(
        self, batch: PairBatch, drawn: Sequence[scenes.Scene], config: WrongWordsConfig, first: int
    ) -> WrongWords:
        truths = self.truths(drawn)
        return replaced(
            batch,
            [*truths, *[None] * (self.batch_size - len(truths))],
            self._proposer_of(config, truths),
            config,
            seeds=[(self.seed, first + row, 2) for row in range(self.batch_size)],
        )

    def _proposer_of(self, config: WrongWordsConfig, truths: Sequence[SceneTruth]) -> Proposer:
        """Made where the first batch is, which may be another process: a language model is not sent there."""
        if config.is_uniform:
            return UniformInSlot(truths)
        if self._proposer is None:
            self._proposer = config.proposer(
                self.text_transform.tokenizer,
                self.captions,
                source=f"drawn scenes, {self.config.world} world",
            )
        return self._proposer

    @property
    def _world(self) -> scenes.World:
        """Looked up by name, so that the source can be sent to another process."""
        return scenes.world_named(self.config.world)


def _true_of(drawn: Sequence[scenes.Scene], kinds: Mapping[int, str]) -> torch.Tensor:
    """Of which pictures the queries for a kind are true, [pairs, pairs]; rows of other texts are empty."""
    found = torch.zeros(len(drawn), len(drawn), dtype=torch.bool)
    for row, kind in kinds.items():
        found[row] = torch.tensor([shows(scene, kind) for scene in drawn])
    return found


def _redrawn(scene: scenes.Scene, seed: tuple[int, int], count: int) -> list[Image.Image]:
    """Draw up to so many pictures that differ from a scene in one thing, each in another."""
    found: dict[str, Image.Image] = {}
    for at in range(_REDRAWS_EACH * count):
        if len(found) == count:
            break
        edit = scenes.edit_image(scene, np.random.default_rng((*seed, 7, at)))
        found.setdefault(edit.caption, edit.scene.image)
    return list(found.values())
