"""SoftMask++'s recipes: matching of softly masked pictures, focal contrast, and augmentation that keeps captions true.

vernier train --recipe training.recipes.soft_mask:tiny --workdir runs/soft-mask-tiny

The `ablation…` recipes are rows of the small world beside `training.recipes.baseline:ablation`: each differs from it in
what its name says, and `ablation` is all of it together.

make ablation RECIPE=training.recipes.soft_mask:ablation
"""

import dataclasses
from pathlib import Path

from training.config import TrainConfig
from training.data.augmentation import NOTHING, AugmentationConfig
from training.data.listed_pairs import ListedPairsConfig
from training.data.scene_pairs import ScenePairsConfig
from training.objectives.compose import WeightedObjective
from training.objectives.itc import ItcConfig
from training.objectives.itm import ItmConfig
from training.objectives.soft_mask import SoftMaskConfig
from training.recipes import baseline

GAMMA = 1.0
"""The paper's is not known; 0.5 to 2 are its likely range."""

SCENES = AugmentationConfig(distorted_share=0.5, masked_share=0.15)
"""Every caption of a drawn scene names a colour, so what is left is flips, blur, noise, a little light, some crops."""

PHOTOS = AugmentationConfig(distorted_share=0.8, masked_share=0.15)

_LATE = 0.1
"""Masks begin so large a share of the steps after matching: the maps of a model that cannot match yet are noise."""

_ROW_LATE_STEPS = 30
"""The same in a row, which goes on for a few hundred steps from a model that matches already."""


def tiny() -> TrainConfig:
    """The demo's world with soft masks, for a CPU.

    vernier train --recipe training.recipes.soft_mask:tiny --workdir runs/soft-mask-tiny
    """
    return _with(baseline.tiny(), "tiny", soft=SoftMaskConfig(max_pairs=48), gamma=GAMMA, augmentation=SCENES)


def small() -> TrainConfig:
    """The paper's objectives at 128 px, momentum model and queue: for a GPU or a night.

    vernier train --recipe training.recipes.soft_mask:small --workdir runs/soft-mask-small
    """
    return _with(baseline.small(), "small", soft=SoftMaskConfig(max_pairs=128), gamma=GAMMA, augmentation=SCENES)


def base(data: Path | None = None) -> TrainConfig:
    """The paper's size, on ALBEF: ViT-B/16 at 256 px, BERT-base in two halves, momentum model and queue.

    vernier train --recipe training.recipes.soft_mask:base --data DIR --workdir runs/soft-mask-base

    DIR is that of `training.recipes.baseline:base`.
    """
    return _with(baseline.base(data), "base", soft=SoftMaskConfig(), gamma=GAMMA, augmentation=PHOTOS)


def ablation() -> TrainConfig:
    """Soft masks, focal contrast, masked texts and distorted pictures."""
    return _row("ablation", soft=_ROW_MASK, gamma=GAMMA, augmentation=SCENES)


def ablation_mask() -> TrainConfig:
    """Soft masks alone."""
    return _row("ablation_mask", soft=_ROW_MASK)


def ablation_blob() -> TrainConfig:
    """All of it, with masks of the same values laid around a random patch: what the words add is what this lacks."""
    return _row("ablation_blob", soft=dataclasses.replace(_ROW_MASK, shape="blob"), gamma=GAMMA, augmentation=SCENES)


def ablation_focal() -> TrainConfig:
    """All of it but the focal factor: plain contrast, gamma 0."""
    return _row("ablation_focal", soft=_ROW_MASK, augmentation=SCENES)


def ablation_augmented() -> TrainConfig:
    """The baseline with the same masked texts and distorted pictures, and nothing else."""
    return _row("ablation_augmented", augmentation=SCENES)


_ROW_MASK = SoftMaskConfig(max_pairs=32)


def _row(
    name: str, *, soft: SoftMaskConfig | None = None, gamma: float = 0.0, augmentation: AugmentationConfig = NOTHING
) -> TrainConfig:
    return _with(
        baseline.ablation(), name, soft=soft, gamma=gamma, augmentation=augmentation, late_steps=_ROW_LATE_STEPS
    )


def _with(
    whole: TrainConfig,
    name: str,
    *,
    soft: SoftMaskConfig | None,
    gamma: float,
    augmentation: AugmentationConfig,
    late_steps: int | None = None,
) -> TrainConfig:
    """A recipe with soft masks as heavy as its matching, a focal factor, and augmentation."""
    assert isinstance(whole.data, ScenePairsConfig | ListedPairsConfig)
    (matching,) = (term for term in whole.objectives if isinstance(term.objective, ItmConfig))
    objectives = tuple(
        dataclasses.replace(term, objective=dataclasses.replace(term.objective, focal_gamma=gamma))
        if isinstance(term.objective, ItcConfig)
        else term
        for term in whole.objectives
    )
    if soft is not None:
        masked = WeightedObjective(
            name="soft_mask",
            objective=soft,
            weight=matching.weight,
            start_step=matching.start_step + (int(_LATE * whole.num_steps) if late_steps is None else late_steps),
        )
        objectives = (*objectives, masked)
    return dataclasses.replace(
        whole,
        recipe=f"training.recipes.soft_mask:{name}",
        data=dataclasses.replace(whole.data, augmentation=augmentation),
        objectives=objectives,
    )
