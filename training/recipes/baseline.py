"""The plain recipes: contrast, matching and masked words, which every paper's recipe is measured against.

vernier train --recipe training.recipes.baseline:tiny --workdir runs/tiny
"""

import dataclasses
from pathlib import Path

from training.config import OptimizerConfig, TrainConfig
from training.data.jsonl_pairs import JsonlPairsConfig
from training.data.scene_pairs import ScenePairsConfig
from training.model.bert_fusion import BertFusionConfig, describe_fusion
from training.model.fusion_encoder import FusionConfig
from training.model.image_encoder import ConvPatchConfig
from training.model.momentum import MomentumConfig
from training.model.pair_model import ModelConfig
from training.model.public import architecture
from training.model.public_heads import FirstTokenConfig
from training.model.text_encoder import TextEncoderConfig
from training.model.text_tower import TextTowerConfig, describe_text
from training.model.vision_tower import VisionTowerConfig, describe_vision
from training.objectives.compose import WeightedObjective
from training.objectives.itc import ItcConfig
from training.objectives.itm import ItmConfig
from training.objectives.mlm import MlmConfig


def tiny() -> TrainConfig:
    """A small model of drawn scenes for a CPU: the demo bundle's recipe.

    vernier train --recipe training.recipes.baseline:tiny --workdir runs/tiny

    No momentum model: its passes cost 70 % of a step on a CPU (docs/experiments.md).
    """
    return TrainConfig(
        recipe="training.recipes.baseline:tiny",
        model=ModelConfig(
            image=ConvPatchConfig(depth=3),
            text=TextEncoderConfig(),
            fusion=FusionConfig(depth=3),
            initial_temperature=0.1,
        ),
        # The first half of a batch's 128 captions come with an edited copy: things and colours alone tell the pictures
        # of a batch apart, so nothing else asks for relations, counts and sizes. The last quarter are short queries,
        # true of several pictures: matching and masked words keep to the pairs before them.
        data=ScenePairsConfig(edited_share=0.5, short_share=0.25),
        objectives=(
            WeightedObjective(name="itc", objective=ItcConfig(use_edits=True)),
            # masked words name each thing in the picture: they teach the image encoder shapes from the first step on
            WeightedObjective(name="mlm", objective=MlmConfig(max_pairs=64, masked_share=0.25), weight=0.5),
            # hard partners only mean something once the contrast has begun to sort
            WeightedObjective(name="itm", objective=ItmConfig(max_pairs=48, use_edits=True), start_step=500),
        ),
        optimizer=OptimizerConfig(learning_rate=1.5e-3),
        batch_size=128,
        num_steps=6000,
        precision="bf16",
        ema_decay=0.999,
        validate_every=250,
        checkpoint_every=250,
    )


def small() -> TrainConfig:
    """6 million parameters, 128 px, 256 patches: for a GPU or a night.

    vernier train --recipe training.recipes.baseline:small --workdir runs/small
    """
    momentum = MomentumConfig(decay=0.995, soft_share=0.4, soft_warmup_steps=1000)
    return TrainConfig(
        recipe="training.recipes.baseline:small",
        model=ModelConfig(
            image=ConvPatchConfig(
                size_px=128,
                stem_channels=(32, 64, 128),
                stem_strides=(2, 2, 2),
                stem_blocks=(0, 1, 1),
                width=192,
                depth=6,
                heads=3,
                mlp_ratio=4.0,
            ),
            text=TextEncoderConfig(width=192, depth=3, heads=3, mlp_ratio=4.0),
            fusion=FusionConfig(depth=3, heads=3, mlp_ratio=4.0),
            initial_temperature=0.07,
        ),
        data=ScenePairsConfig(size_px=128, edited_share=0.25, short_share=0.125),
        objectives=(
            WeightedObjective(name="itc", objective=ItcConfig(use_edits=True, momentum=momentum, queue_size=2048)),
            WeightedObjective(name="mlm", objective=MlmConfig(max_pairs=192, momentum=momentum)),
            WeightedObjective(name="itm", objective=ItmConfig(max_pairs=128, use_edits=True), start_step=1000),
        ),
        optimizer=OptimizerConfig(learning_rate=5e-4, warmup_steps=500, weight_decay=0.02),
        batch_size=256,
        num_steps=20_000,
        precision="bf16",
        ema_decay=0.9995,
        num_workers=4,
        validate_every=1000,
        checkpoint_every=1000,
    )


def base(data: Path | None = None) -> TrainConfig:
    """ALBEF's own size: ViT-B/16 at 256 px, BERT-base cut into 6 layers of text encoder and 6 of fusion encoder.

    vernier train --recipe training.recipes.baseline:base --data DIR --workdir runs/base

    DIR holds `captions.jsonl` and `images/`. Public weights to start from lie in `DIR/towers/image` (a ViT or Swin) and
    `DIR/towers/text` (a BERT with its tokenizer.json); without them training starts from nothing.
    """
    image, text = _tower(data, "image"), _tower(data, "text")
    momentum = MomentumConfig(decay=0.995, soft_share=0.4, soft_warmup_steps=10_000)
    bert = architecture("bert")
    vision = describe_vision(image) if image else VisionTowerConfig(architecture=architecture("vit", image_size=256))
    return TrainConfig(
        recipe="training.recipes.baseline:base",
        model=ModelConfig(
            image=vision,
            text=describe_text(text, depth=6) if text else TextTowerConfig(architecture=bert, depth=6),
            fusion=describe_fusion(text) if text else BertFusionConfig(architecture=bert),
            dim=256,
            image_head=FirstTokenConfig() if vision.has_summary else None,
            text_head=FirstTokenConfig(),
            initial_temperature=0.07,
            temperature_range=(0.001, 0.5),
        ),
        data=JsonlPairsConfig(
            size_px=vision.size_px, max_subwords=30, tokenizer_file=f"{text}/tokenizer.json" if text else None
        ),
        objectives=(
            WeightedObjective(name="itc", objective=ItcConfig(momentum=momentum, queue_size=65_536)),
            WeightedObjective(name="itm", objective=ItmConfig()),
            WeightedObjective(name="mlm", objective=MlmConfig(momentum=momentum)),
        ),
        optimizer=OptimizerConfig(
            learning_rate=1e-4, final_learning_rate=1e-5, warmup_steps=2000, weight_decay=0.02, betas=(0.9, 0.999)
        ),
        batch_size=512,
        num_steps=300_000,
        precision="bf16",
        recompute_blocks=True,
        num_workers=8,
        validate_every=5000,
        checkpoint_every=5000,
    )


def _tower(data: Path | None, name: str) -> str | None:
    """The directory of a public checkpoint beside the data, where there is one."""
    folder = data / "towers" / name if data is not None else None
    return str(folder) if folder is not None and folder.is_dir() else None


def ablation() -> TrainConfig:
    """The small world at 64 px, in minutes: what `make ablation` compares other recipes with.

    vernier train --recipe training.recipes.baseline:ablation --workdir runs/ablation
    """
    return TrainConfig(
        recipe="training.recipes.baseline:ablation",
        model=ModelConfig(
            image=ConvPatchConfig(
                size_px=64,
                stem_channels=(16, 32, 64),
                stem_strides=(2, 2, 2),
                stem_blocks=(0, 1, 1),
                width=96,
                depth=2,
                heads=3,
            ),
            text=TextEncoderConfig(width=96, depth=2, heads=3),
            fusion=FusionConfig(depth=2, heads=3),
            dim=96,
            initial_temperature=0.1,
        ),
        data=ScenePairsConfig(world="small", size_px=64),
        objectives=(
            WeightedObjective(name="itc", objective=ItcConfig()),
            WeightedObjective(name="mlm", objective=MlmConfig(max_pairs=64, masked_share=0.25), weight=0.5),
            WeightedObjective(name="itm", objective=ItmConfig(max_pairs=32), weight=0.5, start_step=300),
        ),
        optimizer=OptimizerConfig(learning_rate=2e-3, warmup_steps=100),
        batch_size=96,
        num_steps=1500,
        precision="bf16",
        ema_decay=0.995,
        checkpoint_every=500,
        keep_checkpoints=1,
    )


def ablation_itc() -> TrainConfig:
    """The same with contrast alone: the baseline of papers about dual encoders.

    make ablation RECIPE=training.recipes.baseline:ablation BASELINE=training.recipes.baseline:ablation_itc
    """
    return dataclasses.replace(contrast_alone(ablation()), recipe="training.recipes.baseline:ablation_itc")


def contrast_alone(config: TrainConfig) -> TrainConfig:
    """A recipe without all objectives but contrast."""
    return dataclasses.replace(config, objectives=tuple(term for term in config.objectives if term.name == "itc"))
