"""Coloured squares with captions: data of tests that are about the loop and not about data."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from tokenizers import Tokenizer

from runtime.preprocess.image import ImageTransform
from runtime.preprocess.text import TextTransform
from training.config import OptimizerConfig, TrainConfig
from training.data.batch import PairBatch
from training.data.collate import collate
from training.data.source import Sample
from training.data.tokenizer import special_tokens, word_tokenizer
from training.model import ConvPatchConfig, FusionConfig, ModelConfig, TextEncoderConfig
from training.objectives import ItcConfig, WeightedObjective

MODEL = ModelConfig(
    image=ConvPatchConfig(
        size_px=32, stem_channels=(8, 16), stem_strides=(2, 4), stem_blocks=(0, 1), width=16, depth=2, heads=2
    ),
    text=TextEncoderConfig(max_subwords=32, width=16, depth=1, heads=2),
    fusion=FusionConfig(depth=2, heads=2),
    dim=8,
    pools=2,
)

COLOURS = (
    "black",
    "navy",
    "blue",
    "green",
    "teal",
    "lime",
    "purple",
    "olive",
    "gray",
    "red",
    "orange",
    "pink",
    "white",
)
SIZES = ("small", "large", "tall", "wide")


def plain_config(**changes: object) -> TrainConfig:
    """A run whose objective draws nothing at random, so that any division of its batches has the same losses."""
    values: dict[str, object] = {
        "recipe": "tests",
        "model": MODEL,
        "data": PlainPairsConfig(),
        "objectives": (WeightedObjective(name="itc", objective=ItcConfig()),),
        "optimizer": OptimizerConfig(warmup_steps=2, learning_rate=3e-3),
        "batch_size": 8,
        "num_steps": 4,
        "num_workers": 0,
        "checkpoint_every": 4,
        "report_every": 1,
    }
    return TrainConfig(**(values | changes))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainPairsConfig:
    def tokenizer(self, data: Path | None) -> Tokenizer:
        return word_tokenizer(["a", "square", *COLOURS, *SIZES])

    def open(self, data: Path | None, *, tokenizer: Tokenizer, batch_size: int, seed: int) -> "PlainPairs":
        return PlainPairs(tokenizer, batch_size)


class PlainPairs:
    name = "coloured squares"
    most_broken = 0

    def __init__(self, tokenizer: Tokenizer, batch_size: int) -> None:
        self.batch_size = batch_size
        self.image_transform = ImageTransform(size_px=32)
        self.text_transform = TextTransform(tokenizer, max_subwords=32)
        self.special = special_tokens(tokenizer)

    def __getitem__(self, step: int) -> PairBatch:
        numbers = range(step * self.batch_size, (step + 1) * self.batch_size)
        images, captions = zip(*map(self._pair, numbers), strict=True)
        return collate(
            images,
            captions,
            image_transform=self.image_transform,
            text_transform=self.text_transform,
            special=self.special,
            sample_ids=[f"square {number}" for number in numbers],
        )

    def _pair(self, number: int) -> tuple[Image.Image, str]:
        colour, size = COLOURS[number % len(COLOURS)], SIZES[number * 7 // 3 % len(SIZES)]
        image = Image.new("RGB", (32, 32), "silver")
        width, height = {"small": (10, 10), "large": (30, 30), "tall": (8, 28), "wide": (28, 8)}[size]
        image.paste(Image.new("RGB", (width, height), colour), (number % 3, number % 2))
        return image, f"a {size} {colour} square"

    def held_out(self, count: int) -> Sequence[Sample]:
        return [Sample(image=image, caption=caption) for image, caption in map(self._pair, range(min(count, 40)))]

    def lexicon(self) -> Sequence[str]:
        return [*COLOURS, *SIZES]
