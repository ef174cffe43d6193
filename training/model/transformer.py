"""Transformer parts shared by the three encoders: attention, feed-forward, pre-norm blocks.

Written out (rather than `nn.TransformerEncoderLayer`) so that the exported graph is the trained graph and so that one
cross-attention layer can show where it looks.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

MASKED = -1e4  # added to the score of a padding key: finite, so that fp16 graphs stay finite
LAYER_NORM_EPS = 1e-5  # BERT's 1e-12 is zero in fp16

Crossing = Callable[[Tensor], Tensor]
"""What is passed between a block's attention and its feed-forward: tokens to tokens of the same shape."""


def key_bias(mask: Bool[Tensor, "batch keys"]) -> Float[Tensor, "batch 1 1 keys"]:
    """What is added to attention scores so that padding keys are not looked at."""
    return (~mask).to(torch.float32)[:, None, None, :] * MASKED


class Attention(nn.Module):
    """Multi-head attention of queries onto a memory (the queries themselves for self-attention)."""

    def __init__(self, width: int, heads: int, *, memory_width: int | None = None) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of {heads} heads")
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(memory_width or width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(
        self,
        queries: Float[Tensor, "batch queries width"],
        memory: Float[Tensor, "batch keys memory_width"],
        bias: Float[Tensor, "batch 1 1 keys"] | None = None,
    ) -> Float[Tensor, "batch queries width"]:
        """What each query gathers from the memory.

        On a GPU by the library's fused attention, which never holds the weights. Not on a CPU, where in bfloat16 its
        backward pass took longer than the rest of the step together (torch 2.13, 64 patches), and where graphs are
        exported.
        """
        if queries.device.type == "cpu":
            return self.with_weights(queries, memory, bias)[0]
        return self.fused(queries, memory, bias)

    def fused(
        self,
        queries: Float[Tensor, "batch queries width"],
        memory: Float[Tensor, "batch keys memory_width"],
        bias: Float[Tensor, "batch 1 1 keys"] | None = None,
    ) -> Float[Tensor, "batch queries width"]:
        """The same by `scaled_dot_product_attention`."""
        query, key, value = self._heads(queries, memory)
        mask = None if bias is None else bias.to(query.dtype)
        return self._merge(F.scaled_dot_product_attention(query, key, value, attn_mask=mask))

    def with_weights(
        self,
        queries: Float[Tensor, "batch queries width"],
        memory: Float[Tensor, "batch keys memory_width"],
        bias: Float[Tensor, "batch 1 1 keys"] | None = None,
    ) -> tuple[Float[Tensor, "batch queries width"], Float[Tensor, "batch heads queries keys"]]:
        """The same, with the attention weights: rows that sum to one.

        The softmax is written out, so that the weights can be seen and differentiated.
        """
        query, key, value = self._heads(queries, memory)
        scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5)
        if bias is not None:
            scores = scores + bias
        weights = torch.softmax(scores, dim=-1)
        return self._merge(weights.to(value.dtype) @ value), weights

    def _heads(self, queries: Tensor, memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query = self.query(queries).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        key, value = self.key_value(memory).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return query, key, value

    def _merge(self, gathered: Tensor) -> Tensor:
        merged: Tensor = self.out(gathered.transpose(1, 2).flatten(2))
        return merged


class FeedForward(nn.Sequential):
    """Two linear layers with a GELU between."""

    def __init__(self, width: int, ratio: float) -> None:
        hidden = int(width * ratio)
        super().__init__(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))


class Block(nn.Module):
    """A pre-norm self-attention block, for either encoder."""

    def __init__(self, width: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.attention = Attention(width, heads)
        self.norm_feed = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.feed = FeedForward(width, mlp_ratio)

    def forward(
        self,
        tokens: Float[Tensor, "batch positions width"],
        bias: Float[Tensor, "batch 1 1 positions"] | None = None,
        crossing: Crossing | None = None,
    ) -> Float[Tensor, "batch positions width"]:
        """The tokens, each having looked at the others, and at what lies at the crossing where there is one."""
        normed = self.norm_attention(tokens)
        tokens = tokens + self.attention(normed, normed, bias)
        if crossing is not None:
            tokens = crossing(tokens)
        out: Tensor = tokens + self.feed(self.norm_feed(tokens))
        return out


def initialise(module: nn.Module) -> None:
    """Small normal weights and zero biases for linear layers and embeddings, as BERT and ViT have them."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.trunc_normal_(part.weight, std=part.in_features**-0.5)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.Embedding):
            nn.init.normal_(part.weight, std=0.02)
