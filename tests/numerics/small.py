"""Small models, batches and sources that tests of training share."""

import dataclasses

import torch
from tokenizers import Tokenizer

from training.config import OptimizerConfig, TrainConfig
from training.data.batch import PairBatch, caption_key
from training.data.scene_pairs import ScenePairsConfig
from training.data.tokenizer import special_tokens, word_tokenizer
from training.model import ConvPatchConfig, FusionConfig, ModelConfig, PairModel, TextEncoderConfig
from training.objectives import ItcConfig, ItmConfig, MlmConfig, WeightedObjective

CAPTIONS = ("a red circle", "a blue star above a circle", "a red circle", "two green stars")
WORDS = sorted({word for caption in CAPTIONS for word in caption.split()})

MODEL = ModelConfig(
    image=ConvPatchConfig(
        size_px=32, stem_channels=(8, 16), stem_strides=(2, 4), stem_blocks=(0, 1), width=16, depth=1, heads=2
    ),
    text=TextEncoderConfig(max_subwords=32, width=16, depth=1, heads=2),
    fusion=FusionConfig(depth=2, heads=2),
    dim=8,
    pools=2,
)


def small_tokenizer() -> Tokenizer:
    return word_tokenizer(WORDS)


def small_model(seed: int = 0) -> PairModel:
    torch.manual_seed(seed)
    return MODEL.build(small_tokenizer().get_vocab_size())


def small_batch(captions: tuple[str, ...] = CAPTIONS, seed: int = 0) -> PairBatch:
    tokenizer = small_tokenizer()
    encodings = [tokenizer.encode(caption).ids for caption in captions]
    length = max(map(len, encodings))
    special = special_tokens(tokenizer)
    ids = torch.tensor([row + [special.pad] * (length - len(row)) for row in encodings])
    generator = torch.Generator().manual_seed(seed)
    return PairBatch(
        pixels=torch.randn(len(captions), 3, 32, 32, generator=generator),
        ids=ids,
        mask=ids != special.pad,
        caption_keys=torch.tensor([caption_key(caption) for caption in captions]),
        special=special,
        texts=captions,
    )


def small_config(**changes: object) -> TrainConfig:
    """Everything of a real run, in a size that takes moments."""
    config = TrainConfig(
        recipe="tests",
        model=MODEL,
        data=ScenePairsConfig(size_px=32, max_subwords=32),
        objectives=(
            WeightedObjective(name="itc", objective=ItcConfig()),
            WeightedObjective(name="itm", objective=ItmConfig(max_pairs=4)),
            WeightedObjective(name="mlm", objective=MlmConfig(max_pairs=4), weight=0.5, start_step=1),
        ),
        optimizer=OptimizerConfig(warmup_steps=2),
        batch_size=8,
        num_steps=6,
        num_workers=0,
        checkpoint_every=2,
        report_every=1,
    )
    return dataclasses.replace(config, **changes)  # type: ignore[arg-type]
