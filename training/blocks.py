"""The repeated blocks of a model: what is recomputed, compiled and divided over processes, one at a time.

They are modules that are called as such, whoever calls them, and they hold nearly all weights and activations.
"""

import functools

from torch import nn
from torch.utils.checkpoint import checkpoint


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """The repeated blocks of a model: the members of its outermost lists of modules that have weights to train."""
    found: list[nn.Module] = []
    for child in model.children():
        members = child.children() if isinstance(child, nn.ModuleList) else blocks_of(child)
        found += [member for member in members if any(weight.requires_grad for weight in member.parameters())]
    return found


def recompute_blocks(model: nn.Module) -> None:
    """Keep no activations inside the blocks of a model; the backward pass computes them again.

    Paper: Training Deep Nets with Sublinear Memory Cost (gradient checkpointing; Chen et al., 2016), section 4.
    """
    for block in blocks_of(model):
        block.forward = functools.partial(checkpoint, block.forward, use_reentrant=False)


def compile_blocks(model: nn.Module, backend: str) -> None:
    """Compile the blocks of a model one by one, so that equal ones are compiled once."""
    for block in blocks_of(model):
        block.compile(backend=backend)
