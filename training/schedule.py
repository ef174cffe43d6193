"""The learning rate over the steps."""

import math

from training.config import OptimizerConfig


def learning_rate(config: OptimizerConfig, *, step: int, num_steps: int) -> float:
    """The rate of a step, counted from 0: linear up over the warm-up, then a half cosine down to the final rate."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    left = max(1, num_steps - config.warmup_steps)
    share = min(1.0, (step - config.warmup_steps) / left)
    span = config.learning_rate - config.final_learning_rate
    return config.final_learning_rate + span * 0.5 * (1 + math.cos(math.pi * share))
