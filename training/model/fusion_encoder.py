"""Fusion encoder: text tokens that look at each other and at the patches.

Its own bidirectional layers: a library decoder with cross-attention would make the text causal.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from training.model.transformer import LAYER_NORM_EPS, Attention, FeedForward, initialise, key_bias


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionConfig:
    """Layers of self-attention, cross-attention onto the patches, and feed-forward."""

    depth: int = 2
    heads: int = 4
    mlp_ratio: float = 3.0
    relevance_layer: int = 0  # the layer whose cross-attention is shown as relevance

    def build(self, *, text_width: int, image_width: int) -> "TransformerFusion":
        """The layers with random weights (from torch's global generator)."""
        return TransformerFusion(self, text_width=text_width, image_width=image_width)


@runtime_checkable
class FusionEncoder(Protocol):
    """What every fusion encoder is: an `nn.Module` over word tokens and patch tokens."""

    width: int  # of a fused token

    def __call__(
        self,
        word_tokens: Float[Tensor, "pairs subwords width"],
        mask: Bool[Tensor, "pairs subwords"],
        patch_tokens: Float[Tensor, "pairs patches image_width"],
    ) -> tuple[Float[Tensor, "pairs subwords width"], Float[Tensor, "pairs subwords patches"]]:
        """The fused tokens, and where each subword looks: rows that sum to one, the mean over one layer's heads."""
        ...

    @property
    def relevance_layer(self) -> int:
        """The layer whose cross-attention is shown as relevance, counted from 0."""
        ...

    def with_attention(
        self,
        word_tokens: Float[Tensor, "pairs subwords width"],
        mask: Bool[Tensor, "pairs subwords"],
        patch_tokens: Float[Tensor, "pairs patches image_width"],
        *,
        layer: int,
    ) -> tuple[Float[Tensor, "pairs subwords width"], Float[Tensor, "pairs heads subwords patches"]]:
        """The fused tokens, and the cross-attention's weights of one layer that the tokens were computed from."""
        ...


class TransformerFusion(nn.Module):
    """Word tokens and patch tokens to word tokens that know the picture."""

    def __init__(self, config: FusionConfig, *, text_width: int, image_width: int) -> None:
        super().__init__()
        if not 0 <= config.relevance_layer < config.depth:
            raise ValueError(f"relevance_layer {config.relevance_layer} is not one of {config.depth} layers")
        self.width = text_width
        self.relevance_layer = config.relevance_layer
        self.layers = nn.ModuleList(
            FusionLayer(text_width, image_width, config.heads, config.mlp_ratio) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(text_width, eps=LAYER_NORM_EPS)
        initialise(self)

    def forward(
        self,
        word_tokens: Float[Tensor, "pairs subwords width"],
        mask: Bool[Tensor, "pairs subwords"],
        patch_tokens: Float[Tensor, "pairs patches image_width"],
    ) -> tuple[Float[Tensor, "pairs subwords width"], Float[Tensor, "pairs subwords patches"]]:
        """The fused tokens, and where each subword looks: rows that sum to one, the mean over one layer's heads."""
        tokens, weights = self.with_attention(word_tokens, mask, patch_tokens, layer=self.relevance_layer)
        return tokens, torch.mean(weights, dim=1)

    def with_attention(
        self,
        word_tokens: Float[Tensor, "pairs subwords width"],
        mask: Bool[Tensor, "pairs subwords"],
        patch_tokens: Float[Tensor, "pairs patches image_width"],
        *,
        layer: int,
    ) -> tuple[Float[Tensor, "pairs subwords width"], Float[Tensor, "pairs heads subwords patches"]]:
        """The fused tokens, and the cross-attention's weights of one layer that the tokens were computed from."""
        bias = key_bias(mask)
        tokens, shown = word_tokens, None
        for number, part in enumerate(self.layers):
            tokens, weights = part(tokens, bias, patch_tokens, show=number == layer)
            shown = weights if weights is not None else shown
        if shown is None:
            raise ValueError(f"layer {layer} is not one of {len(self.layers)} fusion layers")
        return self.norm(tokens), shown


class FusionLayer(nn.Module):
    """Pre-norm: look at the text, look at the picture, think."""

    def __init__(self, width: int, image_width: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.norm_self = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.self_attention = Attention(width, heads)
        self.norm_cross = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.cross_attention = Attention(width, heads, memory_width=image_width)
        self.norm_feed = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.feed = FeedForward(width, mlp_ratio)

    def forward(
        self,
        tokens: Float[Tensor, "pairs subwords width"],
        bias: Float[Tensor, "pairs 1 1 subwords"],
        patch_tokens: Float[Tensor, "pairs patches image_width"],
        *,
        show: bool = False,
    ) -> tuple[Float[Tensor, "pairs subwords width"], Float[Tensor, "pairs heads subwords patches"] | None]:
        """The new tokens, with the cross-attention's weights when they are to be shown."""
        normed = self.norm_self(tokens)
        tokens = tokens + self.self_attention(normed, normed, bias)
        normed = self.norm_cross(tokens)
        weights: Tensor | None = None
        if show:
            looked, weights = self.cross_attention.with_weights(normed, patch_tokens)
        else:
            looked = self.cross_attention(normed, patch_tokens)
        tokens = tokens + looked
        return tokens + self.feed(self.norm_feed(tokens)), weights
