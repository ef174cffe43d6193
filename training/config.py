"""The whole of a run in one frozen value: a recipe is a function that returns it."""

from dataclasses import dataclass
from typing import Literal

from training.data.source import DataConfig
from training.model.pair_model import ModelConfig
from training.objectives.compose import WeightedObjective

Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerConfig:
    """AdamW, a linear warm-up and a cosine to the final rate."""

    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-5
    warmup_steps: int = 200
    weight_decay: float = 0.05  # of matrices; vectors and scalars do not decay
    betas: tuple[float, float] = (0.9, 0.98)
    clip_norm: float = 1.0  # of all gradients together


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """A run."""

    recipe: str  # its name, for people and the bundle's provenance
    model: ModelConfig
    data: DataConfig
    objectives: tuple[WeightedObjective, ...]
    optimizer: OptimizerConfig = OptimizerConfig()
    batch_size: int = 128
    num_steps: int = 1000
    seed: int = 0
    precision: Precision = "fp32"  # bf16: autocast, with float32 weights
    ema_decay: float | None = None  # exponential moving average of the weights, which is then what is exported
    num_workers: int = 1  # processes that make batches; 0: in the training process
    checkpoint_every: int = 500  # steps
    keep_checkpoints: int = 2  # the newest so many
    report_every: int = 20  # steps
    validate_every: int | None = None  # steps
    validation_pairs: int = 500
