"""The whole of a run in one frozen value: a recipe is a function that returns it."""

from dataclasses import dataclass
from typing import Literal

from runtime.errors import UsageError
from training.data.source import DataConfig
from training.model.pair_model import ModelConfig
from training.objectives.compose import WeightedObjective

Precision = Literal["fp32", "bf16"]
Parallel = Literal["ddp", "fsdp"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerConfig:
    """AdamW, a linear warm-up and a cosine to the final rate."""

    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-5
    warmup_steps: int = 200
    weight_decay: float = 0.05  # of matrices; vectors and scalars do not decay
    betas: tuple[float, float] = (0.9, 0.98)
    clip_norm: float = 1.0  # of all gradients together
    public_share: float = 1.0  # of the rate, for weights that a public checkpoint gave
    public_waits: int = 0  # steps in which those stay as they are, while what is new finds its place

    def public_rate(self, rate: float, *, step: int) -> float:
        """The rate of weights that a public checkpoint gave, at a step counted from 0."""
        return 0.0 if step < self.public_waits else self.public_share * rate


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """A run."""

    recipe: str  # its name, for people and the bundle's provenance
    model: ModelConfig
    data: DataConfig
    objectives: tuple[WeightedObjective, ...]
    optimizer: OptimizerConfig = OptimizerConfig()
    batch_size: int = 128  # pairs of a step, over all processes
    num_steps: int = 1000
    seed: int = 0
    start_from: str | None = None  # the checkpoint whose weights it begins with (`training.start`)
    precision: Precision = "fp32"  # bf16: autocast, with float32 weights
    encode_in_parts: int = 1  # the encoders see a process's pairs in so many parts (`training.encoding`)
    recompute_blocks: bool = False  # gradient checkpointing: activations inside a block are computed again
    compile_backend: str | None = None  # torch.compile of every block, such as inductor
    parallel: Parallel = "ddp"  # where there are several processes: weights copied (ddp) or divided (fsdp: FSDP2)
    ema_decay: float | None = None  # exponential moving average of the weights, which is then what is exported
    num_workers: int = 1  # processes that make batches, for each process that trains; 0: in the training process
    checkpoint_every: int = 500  # steps
    keep_checkpoints: int = 2  # the newest so many
    report_every: int = 20  # steps
    validate_every: int | None = None  # steps
    validation_pairs: int = 500

    def __post_init__(self) -> None:
        if min(self.batch_size, self.encode_in_parts, self.keep_checkpoints) < 1:
            raise ValueError("batch_size, encode_in_parts and keep_checkpoints are at least 1")

    def pairs_per_process(self, num_processes: int) -> int:
        """How many of a step's pairs each process reads.

        Raises:
            UsageError: the pairs cannot be divided equally, or not into the parts that are encoded at once.
        """
        pairs, left = divmod(self.batch_size, num_processes)
        if left or pairs % self.encode_in_parts:
            raise UsageError(
                f"a batch of {self.batch_size} pairs cannot be divided over {num_processes} processes in "
                f"{self.encode_in_parts} equal parts each; choose a multiple of {num_processes * self.encode_in_parts}."
            )
        return pairs
