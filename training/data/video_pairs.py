"""Moving scenes as training pairs: a few frames of each, drawn as they are needed, with captions of what moves where.

The words for motion are added to the tokenizer that a run starts with, behind its own: ids that it knows stay.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer

import scenes
from runtime.preprocess.image import ImageTransform
from runtime.preprocess.text import TextTransform
from scenes.moving import MovingScene
from training.data.batch import PairBatch
from training.data.collate import collate
from training.data.source import Sample
from training.data.tokenizer import special_tokens, word_tokenizer

MOTION_WORDS = ("moves", "stays", "still", "left", "right", "up", "down")


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoPairsConfig:
    """Moving scenes, without end."""

    num_frames: int = 4  # of each, the first and the last among them
    size_px: int = 96
    world: str = "full"  # or "small": see `scenes.WORLDS`
    max_subwords: int = 48
    turned_share: float = 0.5  # of the captions that also come with a copy in which one thing goes the other way

    def tokenizer(self, data: Path | None) -> Tokenizer:
        """One id per word that a caption can hold."""
        return word_tokenizer(scenes.vocabulary(scenes.world_named(self.world)))

    def open(self, data: Path | None, *, tokenizer: Tokenizer, batch_size: int, seed: int) -> "VideoPairs":
        """The source; it reads no files."""
        known = tokenizer.get_vocab()
        tokenizer.add_tokens([AddedToken(word, single_word=True) for word in MOTION_WORDS if word not in known])
        return VideoPairs(self, tokenizer, batch_size=batch_size, seed=seed)


class VideoPairs:
    """Batches of moving scenes; pixels are [pairs, frames, 3, side, side]."""

    name = "drawn moving scenes"
    most_broken = 0

    def __init__(self, config: VideoPairsConfig, tokenizer: Tokenizer, *, batch_size: int, seed: int) -> None:
        self.config = config
        self.batch_size = batch_size
        self.seed = seed
        self.image_transform = ImageTransform(size_px=config.size_px)
        self.text_transform = TextTransform(tokenizer, max_subwords=config.max_subwords)
        self.special = special_tokens(tokenizer)

    def __getitem__(self, step: int) -> PairBatch:
        """The batch of a step: scenes numbered from step times batch size."""
        first = step * self.batch_size
        drawn = [self._scene(first + row, split="train") for row in range(self.batch_size)]
        frames = [scene.frames(self.config.num_frames) for scene in drawn]
        turned = round(self.config.turned_share * self.batch_size)
        batch = collate(
            [pictures[0] for pictures in frames],
            [scene.caption for scene in drawn],
            image_transform=self.image_transform,
            text_transform=self.text_transform,
            special=self.special,
            edits=[(row, scene.reversed_caption) for row, scene in enumerate(drawn[:turned])],
            sample_ids=[f"moving scene {self.seed}/{first + row}" for row in range(self.batch_size)],
        )
        pixels = np.stack([[self.image_transform.apply(picture) for picture in pictures] for pictures in frames])
        return replace(batch, pixels=torch.from_numpy(pixels))

    def held_out(self, count: int) -> Sequence[Sample]:
        """The middle frames of scenes of the validation split, with different captions: what one picture shows."""
        found: dict[str, Sample] = {}
        for index in itertools.count():
            scene = self._scene(index, split="val")
            found.setdefault(scene.caption, Sample(image=scene.frame(0.5), caption=scene.caption))
            if len(found) == count:
                break
        return list(found.values())

    def lexicon(self) -> Sequence[str]:
        """Every word that a caption can hold."""
        words = dict.fromkeys((*scenes.vocabulary(scenes.world_named(self.config.world)), *MOTION_WORDS))
        return [word for word in words if word.isalpha()]

    def _scene(self, index: int, *, split: str) -> MovingScene:
        world = scenes.world_named(self.config.world)
        return scenes.generate_moving(self.seed, index, split=split, size_px=self.config.size_px, world=world)
