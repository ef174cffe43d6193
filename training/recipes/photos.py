"""Real photos on a CPU: a frozen image backbone, and small layers that learn to match its grids with captions.

`lit` starts the text side from a frozen text tower in the transformers format; `lit_from_nothing` learns words from the
captions alone. Both read the data directory to see what backbone, how many photos and which tower there are
(`training.data.photo_folder`), so a user with photos, captions and a backbone of their own trains the same recipe:

    vernier train --recipe training.recipes.photos:lit --data DIR --workdir runs/photos

`heads` goes on from `lit`: it matches word by word, and finds and corrects words that are wrong for a photo.
"""

import dataclasses
from pathlib import Path

from runtime.errors import DataError
from training.config import OptimizerConfig, TrainConfig
from training.data.edited_captions import EditedCaptionsConfig
from training.data.learned_guesser import LearnedGuesserConfig
from training.data.photo_folder import PhotoFolder, find_parts, find_tower
from training.data.photo_pairs import PhotoPairsConfig, divided
from training.data.wrong_words import WrongWordsConfig
from training.model.backbone import BackboneConfig, describe_backbone
from training.model.frozen_reader import FrozenReaderConfig
from training.model.grid_encoder import GridEncoderConfig
from training.model.heads import MeanHeadConfig
from training.model.narrow_fusion import NarrowFusionConfig
from training.model.pair_model import ModelConfig, TextConfig
from training.model.pretrained_text import PretrainedTextConfig, describe_tower
from training.model.text_encoder import TextEncoderConfig
from training.objectives.compose import WeightedObjective
from training.objectives.itm import ItmConfig
from training.objectives.several_captions import SeveralCaptionsConfig
from training.objectives.vilem import VilemConfig

BATCH_SIZE = 512
EPOCHS = 30
MEMBERS = 3
HEADS_BATCH_SIZE = 64
HEADS_STEPS = 400
HEADS_MATCH_COSINE = 20.0
"""About one over the temperature of `lit`: its fusion encoder's wrong partners are drawn in proportion to the
exponential of the cosine over the temperature, so what it learns is what the cosine leaves open."""
_TEXT_STAGES = 3
_DIM = 256  # of each member


def lit(data: Path | None = None) -> TrainConfig:
    """Photos with a frozen text tower: the one that `photos.toml` names, or the installed MiniLM."""
    folder, data = _parts(data)
    tower = find_tower(data, folder)
    return _config(
        "training.recipes.photos:lit",
        data,
        folder,
        text=describe_tower(tower, stages=_TEXT_STAGES),
        text_tower=str(tower),
    )


def lit_from_nothing(data: Path | None = None) -> TrainConfig:
    """Photos with a small text encoder that knows nothing but the training captions."""
    folder, data = _parts(data)
    return _config(
        "training.recipes.photos:lit_from_nothing",
        data,
        folder,
        text=TextEncoderConfig(width=256, depth=2, heads=4),
        text_tower=None,
    )


def heads(data: Path | None = None) -> TrainConfig:
    """What stands above the frozen towers of `lit`; it alone learns, the dual encoder stays as it is.

    vernier train --recipe training.recipes.photos:heads --data DIR --workdir runs/photos/heads
        --start-from runs/photos/work/checkpoints/step-0000330

    A fusion encoder matches (ALBEF's hard partners, NAS's captions wrong in one thing) and a proof-reader finds and
    corrects wrong words (ViLEM). Wrong words are guessed by a small language model of the training captions: MiniLM has
    no head that guesses words.
    """
    whole = lit(data)
    assert isinstance(whole.data, PhotoPairsConfig)
    assert isinstance(whole.model.text, PretrainedTextConfig)
    return dataclasses.replace(
        whole,
        recipe="training.recipes.photos:heads",
        model=dataclasses.replace(
            whole.model,
            text=dataclasses.replace(whole.model.text, learns_from_bf16=True),
            heads_above=True,
            fusion=NarrowFusionConfig(members=MEMBERS),
            guesses_words=False,
            match_cosine=HEADS_MATCH_COSINE,
            proof_reader=FrozenReaderConfig(members=MEMBERS),
        ),
        data=dataclasses.replace(
            whole.data,
            wrong_words=WrongWordsConfig(guesser=LearnedGuesserConfig(num_steps=300)),
            edits=EditedCaptionsConfig(),
            most_captions=1,
        ),
        objectives=(
            WeightedObjective(name="itm", objective=ItmConfig(use_edits=True)),
            WeightedObjective(name="vilem", objective=VilemConfig()),
        ),
        optimizer=dataclasses.replace(whole.optimizer, warmup_steps=HEADS_STEPS // 20),
        batch_size=min(HEADS_BATCH_SIZE, whole.batch_size),
        num_steps=HEADS_STEPS,
        checkpoint_every=HEADS_STEPS // 10,
        validate_every=None,
    )


def _parts(data: Path | None) -> tuple[PhotoFolder, Path]:
    if data is None:
        raise DataError(
            "this recipe reads a directory of photos with captions; name it with --data.", code="data_missing"
        )
    return find_parts(data), data.resolve()


def _config(recipe: str, data: Path, folder: PhotoFolder, *, text: TextConfig, text_tower: str | None) -> TrainConfig:
    backbone = _backbone(data, folder)
    pairs = PhotoPairsConfig(backbone=backbone, captions=folder.captions, images=folder.images, text_tower=text_tower)
    train, _ = divided(pairs, data)
    batch_size = min(BATCH_SIZE, max(2, len(train) // 2))
    num_steps = EPOCHS * (len(train) // batch_size)
    return TrainConfig(
        recipe=recipe,
        model=ModelConfig(
            image=GridEncoderConfig(backbone=backbone),
            text=text,
            fusion=None,
            dim=MEMBERS * _DIM,
            image_head=MeanHeadConfig(
                hidden=2048, members=MEMBERS, dropped_channels=0.4, dropped_hidden=0.6, drops_positions=True
            ),
            text_head=MeanHeadConfig(members=MEMBERS),
            initial_temperature=0.05,
        ),
        data=pairs,
        objectives=(
            WeightedObjective(name="itc", objective=SeveralCaptionsConfig(label_smoothing=0.05, members=MEMBERS)),
        ),
        optimizer=OptimizerConfig(
            learning_rate=1e-3, final_learning_rate=1e-6, warmup_steps=max(1, num_steps // 20), weight_decay=0.05
        ),
        batch_size=batch_size,
        num_steps=num_steps,
        precision="bf16",
        ema_decay=0.98,
        num_workers=0,
        checkpoint_every=max(1, num_steps // 8),
        keep_checkpoints=1,
        validate_every=max(1, num_steps // 8),
    )


def _backbone(data: Path, folder: PhotoFolder) -> BackboneConfig:
    return describe_backbone(
        data / folder.backbone,
        outputs=folder.grid,
        size_px=folder.size_px,
        mean=folder.mean,
        std=folder.std,
    )
