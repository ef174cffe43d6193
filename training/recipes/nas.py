"""NAS's recipes: contrast, matching and masked words, and captions and pictures that are wrong in one thing.

vernier train --recipe training.recipes.nas:tiny --workdir runs/nas-tiny

The `ablation…` recipes are rows of the small world: each differs from `training.recipes.baseline:ablation`, which it
stands beside, in what its name says. The ladder is the baseline, `_nta`, `_vd`, `_vd_nva`, and `ablation` with all.

make ablation RECIPE=training.recipes.nas:ablation
"""

import dataclasses
from pathlib import Path

from training.config import TrainConfig
from training.data.listed_pairs import ListedPairsConfig
from training.data.scene_pairs import ScenePairsConfig
from training.data.wrong_words import WrongWordsConfig
from training.model.momentum import MomentumConfig
from training.model.visual_dictionary import VisualDictionaryConfig
from training.objectives.compose import WeightedObjective
from training.objectives.itc import ItcConfig
from training.objectives.nas import NasConfig, VisualAugmentationConfig
from training.recipes import baseline


def tiny() -> TrainConfig:
    """The demo's world with NAS, for a CPU; no momentum model: the model itself says which wrong pictures are right.

    vernier train --recipe training.recipes.nas:tiny --workdir runs/nas-tiny
    """
    nas = WeightedObjective(name="nas", objective=NasConfig(max_pairs=32), weight=0.5, start_step=1000)
    return _with_nas(baseline.tiny(), "tiny", VisualDictionaryConfig(size=512, start_step=800), nas)


def small() -> TrainConfig:
    """6 million parameters at 128 px: for a GPU or a night.

    vernier train --recipe training.recipes.nas:small --workdir runs/nas-small
    """
    whole = baseline.small()
    nas = WeightedObjective(
        name="nas",
        objective=NasConfig(momentum=_momentum_of(whole), max_pairs=64, augmentation=_narrowing_over(4000)),
        start_step=2000,
    )
    return _with_nas(whole, "small", VisualDictionaryConfig(size=512, start_step=1000), nas)


def base(data: Path | None = None) -> TrainConfig:
    """ALBEF's size: ViT-B/16 at 256 px, BERT-base, 2,048 codes.

    vernier train --recipe training.recipes.nas:base --data DIR --workdir runs/nas-base

    DIR is that of `training.recipes.baseline:base`. Wrong captions are made of wrong words, as ViLEM's are: by
    `DIR/candidates.npz` where that was written (scripts/candidates.py), else by the BERT in `DIR/towers/text`, else by
    a small model trained on the captions.
    """
    whole = baseline.base(data)
    text = data / "towers" / "text" if data is not None else None
    table = data / "candidates.npz" if data is not None else None
    assert isinstance(whole.data, ListedPairsConfig)
    words = WrongWordsConfig(
        share=0.1,
        most=1,
        public=str(text) if text is not None and text.is_dir() else None,
        table=str(table) if table is not None and table.is_file() else None,
    )
    nas = WeightedObjective(
        name="nas",
        objective=NasConfig(momentum=_momentum_of(whole), max_pairs=128, augmentation=_narrowing_over(20_000)),
        start_step=5000,
    )
    whole = dataclasses.replace(whole, data=dataclasses.replace(whole.data, wrong_words=words))
    return _with_nas(whole, "base", VisualDictionaryConfig(size=2048, start_step=1000), nas)


def ablation() -> TrainConfig:
    """Both: edited captions, and pictures with exchanged patches over a visual dictionary."""
    return _row("ablation", text=1.0, augmentation=_AUGMENTATION)


def ablation_nta() -> TrainConfig:
    """Edited captions alone, without a visual dictionary."""
    return _row("ablation_nta", text=1.0, augmentation=None)


def ablation_vd() -> TrainConfig:
    """A visual dictionary alone: fusion sees patches moved towards their codes."""
    whole = baseline.ablation()
    return dataclasses.replace(
        whole,
        recipe="training.recipes.nas:ablation_vd",
        model=dataclasses.replace(whole.model, visual_dictionary=_DICTIONARY),
    )


def ablation_vd_nva() -> TrainConfig:
    """Pictures with exchanged patches over a visual dictionary, without edited captions."""
    return _row("ablation_vd_nva", text=0.0, augmentation=_AUGMENTATION)


def ablation_quantised() -> TrainConfig:
    """The artefact's control: all, but exchanged patches are codes themselves, in right pictures too."""
    literal = dataclasses.replace(_AUGMENTATION, is_residual=False, quantised_positives=True)
    return _row("ablation_quantised", text=1.0, augmentation=literal)


_DICTIONARY = VisualDictionaryConfig(size=64, start_step=20)
"""Begins at once: the rows go on from trained weights, or are too short to wait for better ones. With 256 codes the
nearest ones look alike in the small world, and a picture changed by them is still right (docs/experiments.md)."""

_AUGMENTATION = VisualAugmentationConfig(curriculum_steps=150)

_WEIGHT = 0.5
"""Of the term: that of matching in the rows."""

_PAIRS = 32
"""Of a batch of 96: as many as matching asks about."""


_EDITS = 4
"""Wrong captions of each such pair, of which the hardest is asked about: with one, drawn among all kinds of edit alike,
a sixth were of the relations that the baseline does not tell apart (docs/experiments.md)."""


def _row(name: str, *, text: float, augmentation: VisualAugmentationConfig | None) -> TrainConfig:
    whole = baseline.ablation()
    config = NasConfig(
        text=text,
        visual=0.0 if augmentation is None else 1.0,
        augmentation=augmentation or VisualAugmentationConfig(),
        max_pairs=_PAIRS,
    )
    if text > 0.0:
        assert isinstance(whole.data, ScenePairsConfig)
        edited = dataclasses.replace(whole.data, edited_share=_PAIRS / whole.batch_size, edits_of_each=_EDITS)
        whole = dataclasses.replace(whole, data=edited)
    nas = WeightedObjective(name="nas", objective=config, weight=_WEIGHT)
    return _with_nas(whole, name, _DICTIONARY if augmentation is not None else None, nas)


def _with_nas(
    whole: TrainConfig, name: str, dictionary: VisualDictionaryConfig | None, nas: WeightedObjective
) -> TrainConfig:
    return dataclasses.replace(
        whole,
        recipe=f"training.recipes.nas:{name}",
        model=dataclasses.replace(whole.model, visual_dictionary=dictionary),
        objectives=(*whole.objectives, nas),
    )


def _narrowing_over(steps: int) -> VisualAugmentationConfig:
    return VisualAugmentationConfig(curriculum_steps=steps)


def _momentum_of(config: TrainConfig) -> MomentumConfig | None:
    """The momentum model that a recipe's contrast asks for: one copy serves the run."""
    (term,) = (term for term in config.objectives if isinstance(term.objective, ItcConfig))
    assert isinstance(term.objective, ItcConfig)
    return term.objective.momentum
