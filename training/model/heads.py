"""Heads: from tokens to the joint space, to the matching logit and to masked words."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from training.model.transformer import LAYER_NORM_EPS, MASKED, initialise


class PooledProjection(nn.Module):
    """Project every token into the joint space, then pool the projections by learned attention.

    The joint space is split into as many slices as there are pools, and each slice is pooled with its own weights: one
    part of the embedding may follow the colours while another follows the places. A token's own projection lives in the
    same space as the pooled embedding, which is what lets a phrase be compared with a single patch.
    """

    def __init__(self, width: int, dim: int, *, pools: int = 8) -> None:
        super().__init__()
        if dim % pools:
            raise ValueError(f"dim {dim} is not a multiple of {pools} pools")
        self.pools = pools
        self.project = nn.Linear(width, dim)
        self.attend = nn.Linear(width, pools)
        initialise(self)

    def forward(
        self,
        tokens: Float[Tensor, "batch positions width"],
        mask: Bool[Tensor, "batch positions"] | None = None,
    ) -> tuple[Float[Tensor, "batch dim"], Float[Tensor, "batch positions dim"]]:
        """The pooled embedding and every token's own embedding, all of unit length."""
        projected = self.project(tokens)
        scores = self.attend(tokens).float()
        if mask is not None:
            scores = scores + (~mask).to(torch.float32)[:, :, None] * MASKED
        weights = torch.softmax(scores, dim=1).to(projected.dtype)
        sliced = projected.unflatten(-1, (self.pools, -1))
        pooled = (weights[..., None] * sliced).sum(dim=1).flatten(1)
        return F.normalize(pooled.float(), dim=-1), F.normalize(projected.float(), dim=-1)


class MatchHead(nn.Module):
    """One logit from the fused first token: does this text belong to this picture?

    Differs from ALBEF: one logit in place of two classes, which is the same model with one weight vector.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 1))
        initialise(self)

    def forward(self, fused: Float[Tensor, "pairs subwords width"]) -> Float[Tensor, " pairs"]:
        """The logit; positive means a match."""
        logit: Tensor = self.score(fused[:, 0]).squeeze(-1)
        return logit


class MaskedWordHead(nn.Module):
    """Logits over the vocabulary at every position, tied to the text encoder's word vectors."""

    def __init__(self, width: int, vocab_size: int) -> None:
        super().__init__()
        self.transform = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width, eps=LAYER_NORM_EPS))
        self.bias = nn.Parameter(torch.zeros(vocab_size))
        initialise(self)

    def forward(
        self,
        fused: Float[Tensor, "*positions width"],
        word_vectors: Float[Tensor, "vocabulary width"],
    ) -> Float[Tensor, "*positions vocabulary"]:
        """The logits; meaningful where the word was masked."""
        return F.linear(self.transform(fused), word_vectors, self.bias)
