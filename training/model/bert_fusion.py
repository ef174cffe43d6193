"""Fusion encoder that is the upper layers of BERT, with cross-attention put between attention and feed-forward.

Paper: ALBEF (Li et al., 2021), section 3.1: layers 6 to 11 of BERT-base; the cross-attention starts from nothing.
Differs from the paper: the words look at the patches, not also at the image's class token; a linear layer fits patches
of another width (Swin) to the words'. The library would make these layers a decoder's, that is causal; here every word
sees the words on both sides.
"""

import re
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from training.model.public import build_tower, copy_weights, padding_bias, read_architecture, read_weights


@dataclass(frozen=True, slots=True, kw_only=True)
class BertFusionConfig:
    """The upper layers of a BERT."""

    architecture: str  # `public.architecture("bert", …)` or `public.read_architecture`
    first_layer: int = 6  # of the BERT: those before it are the text encoder's
    relevance_layer: int = 2  # whose cross-attention is shown as relevance, counted from first_layer
    weights: str | None = None  # the public checkpoint that training starts from; None: from nothing

    def build(self, *, text_width: int, image_width: int) -> "BertFusion":
        """The layers with random weights (from torch's global generator)."""
        return BertFusion(self, text_width=text_width, image_width=image_width)


def describe_fusion(source: str, *, first_layer: int = 6, relevance_layer: int = 2) -> BertFusionConfig:
    """The upper layers of a public BERT checkpoint: a local directory or a name.

    Raises:
        DataError: `tower_invalid`.
    """
    return BertFusionConfig(
        architecture=read_architecture(source, "text"),
        first_layer=first_layer,
        relevance_layer=relevance_layer,
        weights=source,
    )


class BertFusion(nn.Module):
    """Word tokens and patch tokens to word tokens that know the picture."""

    def __init__(self, config: BertFusionConfig, *, text_width: int, image_width: int) -> None:
        super().__init__()
        self.config = config
        bert: Any = build_tower(config.architecture, "text", is_decoder=True, add_cross_attention=True)
        layers = bert.encoder.layer[config.first_layer :]
        if not 0 <= config.relevance_layer < len(layers):
            raise ValueError(f"relevance_layer {config.relevance_layer} is not one of {len(layers)} layers")
        width = bert.config.hidden_size
        if width != text_width:
            raise ValueError(f"the text encoder's tokens are {text_width} wide and these layers {width}")
        self.width = width
        self.fit_patches = nn.Identity() if image_width == width else nn.Linear(image_width, width)
        self.layers = nn.ModuleList(BertFusionLayer(layer) for layer in layers)

    def forward(
        self,
        word_tokens: Float[Tensor, "pairs subwords width"],
        mask: Bool[Tensor, "pairs subwords"],
        patch_tokens: Float[Tensor, "pairs patches image_width"],
    ) -> tuple[Float[Tensor, "pairs subwords width"], Float[Tensor, "pairs subwords patches"]]:
        """The fused tokens, and where each subword looks: rows that sum to one, the mean over one layer's heads."""
        tokens, weights = self.with_attention(word_tokens, mask, patch_tokens, layer=self.relevance_layer)
        return tokens, torch.mean(weights, dim=1)

    @property
    def relevance_layer(self) -> int:
        """The layer whose cross-attention is shown as relevance, counted from 0."""
        return self.config.relevance_layer

    def with_attention(
        self,
        word_tokens: Float[Tensor, "pairs subwords width"],
        mask: Bool[Tensor, "pairs subwords"],
        patch_tokens: Float[Tensor, "pairs patches image_width"],
        *,
        layer: int,
    ) -> tuple[Float[Tensor, "pairs subwords width"], Float[Tensor, "pairs heads subwords patches"]]:
        """The fused tokens, and the cross-attention's weights of one layer that the tokens were computed from."""
        bias, patches = padding_bias(mask), self.fit_patches(patch_tokens)
        tokens, shown = word_tokens, None
        for number, part in enumerate(self.layers):
            tokens, weights = part(tokens, bias, patches)
            shown = weights if number == layer else shown
        if shown is None:
            raise ValueError(f"layer {layer} is not one of {len(self.layers)} fusion layers")
        return tokens, shown

    def load_pretrained(self) -> None:
        """Take the weights that the config names, all but the cross-attention's.

        Raises:
            DataError: `tower_invalid`.
        """
        source = self.config.weights
        if source is None:
            return
        given = read_weights(source).encoder.layer[self.config.first_layer :].state_dict()
        own = self.layers.state_dict()
        renamed = {re.sub(r"^(\d+)\.", r"\1.layer.", name): value for name, value in given.items()}
        crossing = {name: value for name, value in own.items() if ".crossattention." in name}
        copy_weights(self.layers, renamed | crossing, source)


class BertFusionLayer(nn.Module):
    """One layer of BERT: look at the text, look at the picture, think; each followed by its layer norm."""

    def __init__(self, layer: Any) -> None:  # noqa: ANN401 - a layer of the library
        super().__init__()
        self.layer = layer

    def forward(
        self,
        tokens: Float[Tensor, "pairs subwords width"],
        bias: Float[Tensor, "pairs 1 subwords subwords"],
        patches: Float[Tensor, "pairs patches width"],
    ) -> tuple[Float[Tensor, "pairs subwords width"], Float[Tensor, "pairs heads subwords patches"]]:
        """The new tokens and the cross-attention's weights."""
        tokens = self.layer.attention(tokens, bias)[0]
        tokens, weights = self.layer.crossattention(tokens, None, patches, None)
        out: Tensor = self.layer.feed_forward_chunk(tokens)
        return out, weights
