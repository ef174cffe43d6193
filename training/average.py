"""A moving average of the weights, which often retrieves better than the weights themselves.

Buffers, such as a visual dictionary, are copied: they are averages of their own, and may begin in the middle of a run.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from training.parallel import as_kept


class WeightAverage:
    """Exponential moving average of a model's weights."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move a little towards the model; early on by more, so that the random start is soon forgotten."""
        decay = min(self.decay, (1 + step) / (10 + step))
        buffers = {name for name, _ in model.named_buffers()}
        for name, value in model.state_dict().items():
            if value.is_floating_point() and name not in buffers:
                self.weights[name].lerp_(value, 1 - decay)
            else:
                self.weights[name].copy_(value)

    def restore(self, weights: Mapping[str, Tensor]) -> None:
        """Take back saved averages, put together where weights are divided over processes."""
        for name, value in weights.items():
            self.weights[name].copy_(as_kept(value, self.weights[name]))
