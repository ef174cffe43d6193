"""Word maps: for every subword of a text, which patches of the picture speak for the match through it.

The Grad-CAM of the matching logit with respect to the cross-attention of one fusion layer: how much each subword looks
at each patch, counted where looking more would raise the logit.

Papers: Grad-CAM (Selvaraju et al., 2017), equation 2; on cross-attention as in ALBEF (Li et al., 2021), section 6.6 and
appendix, and SoftMask++ (Park & Han, 2023), section 3.
Differs from the papers: the layer is the fusion encoder's own `relevance_layer` where none is named (ALBEF: the third
of six, which is what a `BertFusionConfig` says).
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from training.model.pair_model import Fused, PairModel


def word_maps(
    model: PairModel,
    word_tokens: Float[Tensor, "pairs subwords width"],
    mask: Bool[Tensor, "pairs subwords"],
    patch_tokens: Float[Tensor, "pairs patches image_width"],
    *,
    layer: int | None = None,
) -> Float[Tensor, "pairs subwords patches"]:
    """The relevance of each patch for each subword: at least 0, not normalised, a constant (no gradient flows through).

    With A the attention of the layer, [pairs, heads, subwords, patches], and s the matching logit (not its probability,
    whose gradient vanishes where the model is sure), the map is the mean over heads of A * relu(ds/dA).

    The backward pass is partial: it goes from the logit to A, through the layers above it alone, and computes the
    gradient of no weight. It needs no double backward, works under `torch.no_grad`, and gives the gradients that are
    waiting in the weights nothing. Rows at padding subwords are zero.

    Args:
        model: with a fusion encoder; in evaluation mode where the maps are to be repeatable.
        word_tokens: of the text encoder.
        mask: False marks padding.
        patch_tokens: of the image encoder, the picture of each text.
        layer: whose cross-attention, from 0; None: the fusion encoder's `relevance_layer`.

    Raises:
        ValueError: the model has no fusion encoder, or that none such layer.
    """
    encoder = model.fusion_encoder
    if encoder is None:
        raise ValueError("word maps are of the fusion encoder's attention, and this model has none")
    # in a compiled block nothing would lead from the attention that is shown to the tokens
    with torch.enable_grad(), torch.compiler.set_stance("force_eager"):
        tokens, attention = encoder.with_attention(
            word_tokens.detach().requires_grad_(),  # a graph, even where the weights are frozen
            mask,
            patch_tokens.detach(),
            layer=encoder.relevance_layer if layer is None else layer,
        )
        match = model.match(Fused(tokens=tokens, relevance=attention.mean(dim=1)))
        (slope,) = torch.autograd.grad(match.sum(), attention)
    maps = (attention.detach() * slope.clamp(min=0.0)).mean(dim=1)
    return maps.float() * mask[:, :, None]
