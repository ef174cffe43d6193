"""Heads of public models: from a tower's tokens to the joint space as ALBEF, CLIP and SigLIP do it.

Papers: ALBEF (Li et al., 2021), section 3.1; CLIP (Radford et al., 2021); SigLIP (Zhai et al., 2023).
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from training.model.public import build_tower, copy_weights, read_weights
from training.model.transformer import initialise


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstTokenConfig:
    """The first token, projected: a class token, [CLS], or the summary that a tower puts in front."""

    bias: bool = True
    weights: str | None = None  # the public checkpoint that training starts from; None: from nothing
    weights_name: str = ""  # of the linear layer in it, such as visual_projection

    def build(self, width: int, dim: int) -> "FirstTokenProjection":
        """The head with random weights (from torch's global generator)."""
        return FirstTokenProjection(self, width, dim)


class FirstTokenProjection(nn.Module):
    """A linear layer on every token; the first one's result is the embedding."""

    def __init__(self, config: FirstTokenConfig, width: int, dim: int) -> None:
        super().__init__()
        self.config = config
        self.project = nn.Linear(width, dim, bias=config.bias)
        initialise(self)

    def forward(
        self, tokens: Float[Tensor, "batch positions width"], mask: Bool[Tensor, "batch positions"] | None = None
    ) -> tuple[Float[Tensor, "batch dim"], Float[Tensor, "batch positions dim"]]:
        """The embedding and every token's own embedding, all of unit length."""
        each = F.normalize(self.project(tokens).float(), dim=-1)
        return each[:, 0], each

    def load_pretrained(self) -> None:
        """Take the weights that the config names. Raises `DataError` (`tower_invalid`)."""
        if self.config.weights is not None:
            public = read_weights(self.config.weights)
            copy_weights(self.project, public.get_submodule(self.config.weights_name).state_dict(), self.config.weights)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionPoolConfig:
    """SigLIP's image head: a learned query gathers from the patches, then a feed-forward."""

    architecture: str  # of the vision tower
    weights: str | None = None  # the public checkpoint that training starts from; None: from nothing

    def build(self, width: int, dim: int) -> "AttentionPool":
        """The head with random weights (from torch's global generator)."""
        if width != dim:
            raise ValueError(f"SigLIP's image head does not change the width: dim must be {width}, not {dim}")
        return AttentionPool(self)


class AttentionPool(nn.Module):
    """The head of SigLIP's vision tower. A patch's own embedding is what the head gives for that patch alone."""

    def __init__(self, config: AttentionPoolConfig) -> None:
        super().__init__()
        self.config = config
        self.head: Any = build_tower(config.architecture, "vision", num_hidden_layers=0).head

    def forward(
        self, tokens: Float[Tensor, "batch positions width"], mask: Bool[Tensor, "batch positions"] | None = None
    ) -> tuple[Float[Tensor, "batch dim"], Float[Tensor, "batch positions dim"]]:
        """The embedding and every token's own embedding, all of unit length."""
        pooled = self._finish(self._gather(tokens))
        alone = self.head.attention.out_proj(F.linear(tokens, *self._value_weights()))
        return F.normalize(pooled.float(), dim=-1), F.normalize(self._finish(alone).float(), dim=-1)

    def load_pretrained(self) -> None:
        """Take the weights that the config names. Raises `DataError` (`tower_invalid`)."""
        if self.config.weights is not None:
            public = read_weights(self.config.weights)
            head = getattr(public, "vision_model", public).head
            copy_weights(self.head, head.state_dict(), self.config.weights)

    def _gather(self, tokens: Tensor) -> Tensor:
        """Attention of the learned query onto the tokens, written out so that it can be exported."""
        attention, probe = self.head.attention, self.head.probe
        width, heads = probe.shape[-1], attention.num_heads
        key_weight, key_bias = attention.in_proj_weight[width : 2 * width], attention.in_proj_bias[width : 2 * width]
        query = F.linear(probe[0], attention.in_proj_weight[:width], attention.in_proj_bias[:width])
        query, keys, values = (
            _by_head(part, heads)
            for part in (query[None], F.linear(tokens, key_weight, key_bias), F.linear(tokens, *self._value_weights()))
        )
        weights = torch.softmax(query @ keys.transpose(-2, -1) * query.shape[-1] ** -0.5, dim=-1)
        gathered: Tensor = attention.out_proj((weights @ values).transpose(1, 2).flatten(2))
        return gathered[:, 0]

    def _finish(self, gathered: Tensor) -> Tensor:
        out: Tensor = gathered + self.head.mlp(self.head.layernorm(gathered))
        return out

    def _value_weights(self) -> tuple[Tensor, Tensor]:
        attention = self.head.attention
        return attention.in_proj_weight.chunk(3)[2], attention.in_proj_bias.chunk(3)[2]


def _by_head(tokens: Float[Tensor, "batch positions width"], heads: int) -> Float[Tensor, "batch heads positions part"]:
    parted: Tensor = tokens.unflatten(-1, (heads, -1))  # type: ignore[no-untyped-call]
    return parted.transpose(1, 2)
