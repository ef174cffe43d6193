"""AdamW with weight decay on matrices alone, and its moments by parameter name."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from training.config import OptimizerConfig


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """The optimizer over every trainable weight."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)


def moments(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as named tensors: `parameter/moment`."""
    named: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            named[f"{name}/{key}"] = torch.as_tensor(value)
    return named


def restore_moments(model: nn.Module, optimizer: torch.optim.Optimizer, named: Mapping[str, Tensor]) -> None:
    """Take back what `moments` gave."""
    for name, parameter in model.named_parameters():
        prefix = f"{name}/"
        state: dict[str, Any] = {}
        for key, value in named.items():
            moment = key.removeprefix(prefix)
            if moment == key or "/" in moment:
                continue
            # a moment must lie in memory as its parameter does: the fused step walks both side by side
            is_moment = value.shape == parameter.shape
            state[moment] = torch.empty_like(parameter).copy_(value) if is_moment else value.to(parameter.device)
        if state:
            optimizer.state[parameter] = state
