"""Several processes as one: what objectives and the loop ask of the other processes of a run.

`torchrun` starts the processes; alone, every function here is the identity. The batch of a step is divided over the
processes in order of their rank, and the loss of the run is the mean of the processes' losses. An objective that
contrasts over the whole batch gathers what it contrasts with; an objective that looks at each pair alone needs nothing.
"""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor, distributed


def rank() -> int:
    """This process's number, counted from 0; 0 outside a distributed run."""
    return distributed.get_rank() if is_distributed() else 0


def world_size() -> int:
    """How many processes train together; 1 outside a distributed run."""
    return distributed.get_world_size() if is_distributed() else 1


def is_first() -> bool:
    """Whether this process is the one that writes and speaks."""
    return rank() == 0


def is_distributed() -> bool:
    """Whether this process is one of several."""
    return distributed.is_available() and distributed.is_initialized()


def own_rows(count: int) -> slice:
    """Where this process's `count` rows lie in what was gathered."""
    return slice(rank() * count, (rank() + 1) * count)


def gather_with_gradient(tensor: Shaped[Tensor, "rows *rest"]) -> Shaped[Tensor, "all_rows *rest"]:
    """Every process's rows, in order of rank.

    Every process must call it with the same shape, in the same order. The gradient that comes back to a row is the sum
    over all processes of the gradients of their losses. Together with the mean over processes that the trainer takes of
    every gradient, this is exactly the gradient of the mean of their losses, whether each computes the loss of its own
    rows or the whole.
    """
    if world_size() == 1:
        return tensor
    gathered: Tensor = _Gather.apply(tensor)  # type: ignore[no-untyped-call]
    return gathered


def gather_keys(tensor: Shaped[Tensor, "rows *rest"]) -> Shaped[Tensor, "all_rows *rest"]:
    """Every process's rows, in order of rank, without gradient.

    For caption keys, masks, momentum embeddings: what is only looked at. Shapes must be the same everywhere.
    """
    if world_size() == 1:
        return tensor.detach()
    return _gathered(tensor.detach())


def mean_over_processes(value: Tensor) -> Tensor:
    """The mean of a tensor over the processes, without gradient."""
    if world_size() == 1:
        return value.detach()
    total = value.detach().clone()
    distributed.all_reduce(total)
    return total / world_size()


def sum_over_processes(value: Tensor) -> Tensor:
    """The sum of a tensor over the processes, without gradient: counts, cluster sizes, sums of features."""
    if world_size() == 1:
        return value.detach()
    total = value.detach().clone()
    distributed.all_reduce(total)
    return total


def merged(mapping: Mapping[str, str]) -> dict[str, str]:
    """What any process has in its mapping."""
    if world_size() == 1:
        return dict(mapping)
    parts: list[dict[str, str]] = [{} for _ in range(world_size())]
    distributed.all_gather_object(parts, dict(mapping))
    return {name: value for part in parts for name, value in part.items()}


def wait_for_all() -> None:
    """Go on when every process has come here."""
    if world_size() > 1:
        distributed.barrier()


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:  # noqa: ANN401
        ctx.num_rows = len(tensor)
        return _gathered(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401
        total = gradient.contiguous().clone()
        distributed.all_reduce(total)
        return total[own_rows(ctx.num_rows)]


def _gathered(tensor: Tensor) -> Tensor:
    parts = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(world_size())]
    distributed.all_gather(parts, tensor.contiguous())
    return torch.cat(parts)
