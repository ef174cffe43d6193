"""From a public CLIP or SigLIP: its two towers, and above them fusion, proof-reader, boxes and the four papers.

vernier train --recipe training.recipes.from_clip:base --data DIR --workdir runs/from-clip

DIR holds captions in any layout that training knows (`training.data.found`: JSON lines, COCO's own annotations, …) and
the checkpoint in the public format, with its tokenizer.json, in `DIR/towers/clip`; or its name on the hub as the one
line of `DIR/towers/clip.txt`.

What is new learns at ten times the towers' rate, and begins alone (`OptimizerConfig.public_share`, `public_waits`).
Words are masked by a [MASK] that the tokenizer gets; a small language model of the captions guesses wrong words. CLIP's
text tower reads forwards and SigLIP's into one place, so ViLEM's words look at the picture in layers above them
(`training.model.frozen_reader`). A momentum model and its queue are left out: a batch is contrasted as CLIP's is.

Differs from how such checkpoints are prepared: CLIP's pictures are squashed to a square and not cropped, so that boxes
reach the whole picture. SigLIP's contrast over a batch is CLIP's.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import DataError
from training.config import OptimizerConfig, Precision, TrainConfig
from training.data.jsonl_pairs import JsonlPairsConfig
from training.data.learned_guesser import LearnedGuesserConfig
from training.data.phrases import PhrasesConfig
from training.data.wrong_words import WrongWordsConfig
from training.model.frozen_reader import FrozenReaderConfig
from training.model.fusion_encoder import FusionConfig
from training.model.interaction_network import InteractionNetworkConfig
from training.model.pair_model import ModelConfig
from training.model.public import fetched, public_config
from training.model.public_dual import PublicDual, describe_dual
from training.model.region_head import RegionHeadConfig
from training.model.text_tower import TextTowerConfig
from training.model.vision_tower import VisionTowerConfig
from training.model.visual_dictionary import VisualDictionaryConfig
from training.model.word_guesser import SmallGuesserConfig
from training.objectives.box_game import BoxGameConfig
from training.objectives.compose import WeightedObjective
from training.objectives.itc import ItcConfig
from training.objectives.itm import ItmConfig
from training.objectives.loupe import LoupeConfig
from training.objectives.mlm import MlmConfig
from training.objectives.nas import NasConfig, VisualAugmentationConfig
from training.objectives.soft_mask import SoftMaskConfig
from training.objectives.token_interactions import TokenInteractionConfig
from training.objectives.vilem import VilemConfig
from training.recipes import baseline

_BOX_SHARE = 0.25
"""Of a picture's side: what boxes begin with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scale:
    """How large what stands above the towers is, how much of a batch each term sees, and for how long."""

    depth: int  # of fusion
    reader_width: int
    codes: int
    batch_size: int
    matched: int  # pairs of masked words and matching
    dear: int  # pairs of the papers' terms
    num_steps: int
    waits: int  # steps until the towers learn
    precision: Precision
    num_workers: int


_BASE = _Scale(
    depth=6,
    reader_width=512,
    codes=2048,
    batch_size=512,
    matched=256,
    dear=128,
    num_steps=20_000,
    waits=500,
    precision="bf16",
    num_workers=8,
)
_SMALL = _Scale(
    depth=2,
    reader_width=192,
    codes=64,
    batch_size=32,
    matched=32,
    dear=16,
    num_steps=1000,
    waits=50,
    precision="fp32",
    num_workers=0,
)


def base(data: Path | None = None) -> TrainConfig:
    """Everything, for GPUs and some hundred thousand captioned pictures such as COCO's.

    vernier train --recipe training.recipes.from_clip:base --data DIR --workdir runs/from-clip
    """
    return _config("base", data, _BASE)


def small(data: Path | None = None) -> TrainConfig:
    """Everything with few layers and batches of 32: to see on a CPU that it runs with one's own data.

    vernier train --recipe training.recipes.from_clip:small --data DIR --workdir runs/from-clip-small
    """
    return _config("small", data, _SMALL)


def contrast(data: Path | None = None) -> TrainConfig:
    """The two towers alone, trained on by contrast; all of it at the towers' rate.

    vernier train --recipe training.recipes.from_clip:contrast --data DIR --workdir runs/clip
    """
    whole = baseline.contrast_alone(_config("contrast", data, _BASE))
    dual = _dual(data)
    return dataclasses.replace(
        whole,
        model=dual.model,
        data=dataclasses.replace(_data(dual), adds_mask=False),
        optimizer=dataclasses.replace(
            whole.optimizer, learning_rate=1e-5, final_learning_rate=1e-7, public_share=1.0, public_waits=0
        ),
    )


def _config(name: str, data: Path | None, scale: _Scale) -> TrainConfig:
    dual = _dual(data)
    late = scale.num_steps // 10
    words = WrongWordsConfig(
        guesser=LearnedGuesserConfig(model=SmallGuesserConfig(max_subwords=dual.max_subwords)),
    )
    return TrainConfig(
        recipe=f"training.recipes.from_clip:{name}",
        model=_model(dual, scale, late=late),
        data=dataclasses.replace(_data(dual), wrong_words=words, phrases=PhrasesConfig(most=2)),
        objectives=_objectives(scale, late=late),
        optimizer=OptimizerConfig(
            learning_rate=1e-4,
            final_learning_rate=1e-6,
            warmup_steps=scale.waits,
            weight_decay=0.05,
            public_share=0.1,
            public_waits=scale.waits,
        ),
        batch_size=scale.batch_size,
        num_steps=scale.num_steps,
        precision=scale.precision,
        recompute_blocks=scale is _BASE,
        num_workers=scale.num_workers,
        validate_every=late,
        checkpoint_every=late,
    )


def _dual(data: Path | None) -> PublicDual:
    folder = data / "towers" if data is not None else Path("towers")
    named = folder / "clip.txt"
    if (folder / "clip").is_dir():
        return describe_dual(str(folder / "clip"))
    if not named.is_file():
        raise DataError(
            "this recipe starts from a public CLIP or SigLIP; put its checkpoint (config.json, model.safetensors, "
            "tokenizer.json) into towers/clip of the directory that --data names, or its name on the hub into "
            "towers/clip.txt.",
            code="data_missing",
        )
    return describe_dual(str(fetched(named.read_text(encoding="utf-8").strip())))


def _data(dual: PublicDual) -> JsonlPairsConfig:
    assert isinstance(dual.model.text, TextTowerConfig)
    return JsonlPairsConfig(
        size_px=dual.size_px,
        mean=dual.mean,
        std=dual.std,
        max_subwords=dual.max_subwords,
        tokenizer_file=f"{dual.model.text.weights}/tokenizer.json",
        adds_mask=True,
    )


def _model(dual: PublicDual, scale: _Scale, *, late: int) -> ModelConfig:
    image, text = dual.model.image, dual.model.text
    assert isinstance(image, VisionTowerConfig)
    assert isinstance(text, TextTowerConfig)
    heads = public_config(text.architecture, "text").num_attention_heads
    side = dual.size_px // public_config(image.architecture, "vision").patch_size
    return dataclasses.replace(
        dual.model,
        text=dataclasses.replace(text, added_subwords=1),  # [MASK]
        fusion=FusionConfig(depth=scale.depth, heads=heads, mlp_ratio=4.0, relevance_layer=scale.depth // 2 - 1),
        proof_reader=FrozenReaderConfig(width=scale.reader_width, heads=scale.reader_width // 64, trains_encoders=True),
        region_head=RegionHeadConfig(hidden=scale.reader_width, first_side=max(1.0, _BOX_SHARE * side)),
        interaction_network=InteractionNetworkConfig(),
        visual_dictionary=VisualDictionaryConfig(size=scale.codes, start_step=late),
    )


def _objectives(scale: _Scale, *, late: int) -> tuple[WeightedObjective, ...]:
    """Contrast from the first step, matching when partners mean something, what is drawn from matching after it."""
    loupe = LoupeConfig(
        boxes=BoxGameConfig(pairs=scale.dear // 2),
        token_game=TokenInteractionConfig(images=2, guessed_images=8, samples=1),
        semantic_images=scale.dear,
    )
    nas = NasConfig(max_pairs=scale.dear, augmentation=VisualAugmentationConfig(curriculum_steps=2 * late))
    return (
        WeightedObjective(name="itc", objective=ItcConfig()),
        WeightedObjective(name="mlm", objective=MlmConfig(max_pairs=scale.matched), weight=0.5),
        WeightedObjective(name="itm", objective=ItmConfig(max_pairs=scale.matched), start_step=scale.waits),
        WeightedObjective(name="vilem", objective=VilemConfig(max_pairs=scale.matched), weight=0.25),
        WeightedObjective(
            name="soft_mask", objective=SoftMaskConfig(max_pairs=scale.dear), weight=0.25, start_step=2 * late
        ),
        WeightedObjective(name="loupe", objective=loupe, weight=0.2, start_step=scale.waits),
        WeightedObjective(name="nas", objective=nas, weight=0.25, start_step=2 * late),
    )
