"""How a run is spread over the processes that `torchrun` started: weights copied (DDP) or divided (FSDP2).

Objectives call the model's parts and never `model.forward`, so the gradients of copied weights are averaged here, once
per step after the last backward pass, in place of hooks on `forward`. Divided are the repeated blocks of the model,
which are modules called as such and hold nearly all of its weights; the rest stays copied.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from training.blocks import blocks_of
from training.distributed import is_distributed, mean_over_processes, sum_over_processes, world_size

_NUMBERS_AT_ONCE = 1 << 25  # gradients averaged in one go: 128 MiB of float32


@contextmanager
def joined() -> Iterator[None]:
    """Join the other processes for the length of a run; nothing where `torchrun` started none."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or is_distributed():
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def divide(model: nn.Module, device: torch.device) -> None:
    """Divide the weights of every block over the processes (FSDP2); a momentum copy stays whole in each of them.

    Paper: PyTorch FSDP (Zhao et al., 2023), per-parameter sharding.
    """
    mesh = init_device_mesh(device.type, (world_size(),))
    for block in blocks_of(model):
        fully_shard(block, mesh=mesh)


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Give the gradient of every copied weight its mean over the processes; divided ones have theirs already.

    A weight without gradient on some processes counts as zero there; without gradient on all, it keeps none.
    """
    if world_size() == 1:
        return
    copied = [parameter for parameter in parameters if not isinstance(parameter, DTensor)]
    has = torch.tensor([float(parameter.grad is not None) for parameter in copied], device=copied[0].device)
    anywhere = (sum_over_processes(has) > 0).tolist()
    for parameter, wanted in zip(copied, anywhere, strict=True):
        if wanted and parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    for part in _parts([parameter.grad for parameter in copied if parameter.grad is not None]):
        mean = mean_over_processes(torch.cat([gradient.reshape(-1) for gradient in part]))
        means = torch.split(mean, [gradient.numel() for gradient in part])
        for gradient, its_mean in zip(part, means, strict=True):
            gradient.copy_(its_mean.view(gradient.shape))


def clip_gradients(parameters: Sequence[nn.Parameter], most: float) -> Tensor:
    """Scale all gradients together so that their norm is at most `most`; gives the norm before."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    copied = [gradient for gradient in gradients if not isinstance(gradient, DTensor)]
    divided = [gradient.to_local() for gradient in gradients if isinstance(gradient, DTensor)]
    norm: Tensor = torch.nn.utils.get_total_norm(copied)
    if divided:
        own = torch.nn.utils.get_total_norm(divided)
        norm = (norm.square() + sum_over_processes(own.square())).sqrt()
    torch._foreach_mul_([*copied, *divided], (most / (norm + 1e-6)).clamp(max=1.0))
    return norm


def whole(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with the divided ones put together; every process must ask at the same time."""
    return {name: value.full_tensor() if isinstance(value, DTensor) else value for name, value in tensors.items()}


def as_kept(value: Tensor, like: Tensor) -> Tensor:
    """A whole tensor on the device of `like`, divided where `like` is."""
    value = value.to(like.device)
    if not isinstance(like, DTensor):
        return value
    return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)


def load_whole(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give a model the weights that `whole` put together."""
    kept = model.state_dict()
    model.load_state_dict({name: as_kept(value, kept[name]) for name, value in tensors.items() if name in kept})


def _parts(gradients: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    part: list[Tensor] = []
    for gradient in gradients:
        part.append(gradient)
        if sum(tensor.numel() for tensor in part) >= _NUMBERS_AT_ONCE:
            yield part
            part = []
    if part:
        yield part
