"""Objectives: one file each, in the same order: paper, config, pure functions, a small class."""

from training.objectives.base import (
    MomentumObjectiveConfig,
    Objective,
    ObjectiveConfig,
    ObjectiveOutput,
    StatefulObjective,
)
from training.objectives.compose import ComposedObjective, WeightedObjective
from training.objectives.itc import ItcConfig
from training.objectives.itm import ItmConfig
from training.objectives.loupe import LoupeConfig
from training.objectives.mlm import MlmConfig
from training.objectives.nas import NasConfig
from training.objectives.soft_mask import SoftMaskConfig
from training.objectives.vilem import VilemConfig

__all__ = [
    "ComposedObjective",
    "ItcConfig",
    "ItmConfig",
    "LoupeConfig",
    "MlmConfig",
    "MomentumObjectiveConfig",
    "NasConfig",
    "Objective",
    "ObjectiveConfig",
    "ObjectiveOutput",
    "SoftMaskConfig",
    "StatefulObjective",
    "VilemConfig",
    "WeightedObjective",
]
