"""AdamW with weight decay on matrices alone, and its moments by parameter name."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from training.config import OptimizerConfig
from training.parallel import as_kept


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """The optimizer over every trainable weight."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    public = _public(model)
    # a fused step takes either copied weights or divided ones, so each group holds one kind
    groups = [
        {
            "params": [
                parameter
                for parameter in trainable
                if (parameter.ndim >= 2) == decays
                and isinstance(parameter, DTensor) == is_divided
                and (parameter in public) == is_public
            ],
            "weight_decay": config.weight_decay if decays else 0.0,
            "is_public": is_public,  # whose rate is its own: `OptimizerConfig.public_rate`
        }
        for is_public in (False, True)
        for is_divided in (False, True)
        for decays in (True, False)
    ]
    given = [group for group in groups if group["params"]]
    return torch.optim.AdamW(given, lr=config.learning_rate, betas=config.betas, fused=True)


def _public(model: nn.Module) -> set[nn.Parameter]:
    """The weights of parts that say which public checkpoint they start from."""
    started = (part for part in model.modules() if getattr(getattr(part, "config", None), "weights", None) is not None)
    return {weight for part in started for weight in part.parameters()}


def moments(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as named tensors: `parameter/moment`."""
    named: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            named[f"{name}/{key}"] = torch.as_tensor(value)
    return named


def restore_moments(model: nn.Module, optimizer: torch.optim.Optimizer, named: Mapping[str, Tensor]) -> None:
    """Take back what `moments` gave, put together where weights are divided over processes."""
    by_parameter: dict[str, dict[str, Tensor]] = {}
    for key, value in named.items():
        name, _, moment = key.rpartition("/")
        by_parameter.setdefault(name, {})[moment] = value
    for name, parameter in model.named_parameters():
        state: dict[str, Any] = {}
        for moment, value in by_parameter.get(name, {}).items():
            # a moment must lie in memory as its parameter does: the fused step walks both side by side
            if value.shape == parameter.shape:
                value = torch.empty_like(parameter).copy_(as_kept(value, parameter))
            state[moment] = value.to(parameter.device)
        if state:
            optimizer.state[parameter] = state
