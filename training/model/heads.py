"""Heads: from tokens to the joint space, to the matching logit and to masked words."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from training.model.transformer import LAYER_NORM_EPS, MASKED, initialise

_BATCHES_SEEN = 50
_LEAST_VARIANCE = 1e-6
_FARTHEST = 6.0


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


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanHeadConfig:
    """A head that averages first and projects afterwards, for tokens that are frozen."""

    hidden: int | None = None  # width of the hidden layer; None: a linear projection
    members: int = 1  # independent projections, each with its own slice of the joint space
    dropped_channels: float = 0.1
    dropped_hidden: float = 0.5
    drops_positions: bool = False  # in training the mean is over a random part of the positions, down to one

    def build(self, width: int, dim: int) -> "MeanProjection":
        """A fresh head with random weights (from torch's global generator)."""
        return MeanProjection(self, width, dim)


class MeanProjection(nn.Module):
    """Average the tokens, bring each channel to mean zero and spread one, then project into the joint space.

    Several members are an ensemble in one head: each is trained on its own contrast (`SeveralCaptionsConfig.members`),
    and the cosine of whole embeddings is the mean of the members' cosines. A single token goes through the same
    projection; the random part of the positions teaches it what a small part of a picture is.
    """

    def __init__(self, config: MeanHeadConfig, width: int, dim: int) -> None:
        super().__init__()
        if dim % config.members:
            raise ValueError(f"dim {dim} is not a multiple of {config.members} members")
        self.config = config
        self.standardise = Standardise(width)
        self.members = nn.ModuleList(self._member(width, dim // config.members) for _ in range(config.members))
        initialise(self)

    def _member(self, width: int, dim: int) -> nn.Module:
        config = self.config
        channels = nn.Dropout(config.dropped_channels)
        if config.hidden is None:
            return nn.Sequential(channels, nn.Linear(width, dim))
        hidden = nn.Linear(width, config.hidden), nn.GELU(), nn.Dropout(config.dropped_hidden)
        return nn.Sequential(channels, *hidden, nn.Linear(config.hidden, dim))

    def forward(
        self,
        tokens: Float[Tensor, "batch positions width"],
        mask: Bool[Tensor, "batch positions"] | None = None,
    ) -> tuple[Float[Tensor, "batch dim"], Float[Tensor, "batch positions dim"]]:
        """The embedding of the mean token and every token's own embedding, all of unit length.

        In training no token is embedded by itself, since nothing is learned from that: those embeddings are zeros.
        """
        weights = torch.ones(tokens.shape[:2], device=tokens.device) if mask is None else mask.float()
        if self.training and self.config.drops_positions:
            weights = weights * self._kept(weights)
        weights = weights / weights.sum(dim=1, keepdim=True)
        with torch.autocast(tokens.device.type, enabled=False):
            mean = torch.einsum("bp,bpw->bw", weights, tokens.float())
        if self.training:
            self.standardise.see(mean)
            embedding = self._embed(mean)
            return embedding, embedding.new_zeros(()).expand(*tokens.shape[:2], embedding.shape[-1])
        return self._embed(mean), self._embed(tokens.float())

    def _embed(self, tokens: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch dim"]:
        standardised = self.standardise(tokens)
        slices = [F.normalize(member(standardised).float(), dim=-1) for member in self.members]
        embedding: Tensor = torch.cat(slices, dim=-1) / len(slices) ** 0.5
        return embedding

    @staticmethod
    def _kept(weights: Tensor) -> Tensor:
        """A random part of the positions of each row; the parts are more often large than small."""
        draw = torch.rand_like(weights)
        share = torch.rand(len(weights), 2, device=weights.device).amax(dim=1, keepdim=True)
        return (draw <= torch.maximum(share, draw.amin(dim=1, keepdim=True))).float()


class Standardise(nn.Module):
    """Bring channels to mean zero and spread one by what was seen of them in training, far values cut.

    The stages of a frozen network and the colours differ widely in size, and the rare channels say most.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("mean_square", torch.ones(channels))
        self.register_buffer("num_seen", torch.zeros(()))
        self.mean: Tensor
        self.mean_square: Tensor
        self.num_seen: Tensor

    def forward(self, tokens: Float[Tensor, "*batch channels"]) -> Float[Tensor, "*batch channels"]:
        """The standardised tokens."""
        spread = (self.mean_square - self.mean.square()).clamp(min=_LEAST_VARIANCE).sqrt()
        standardised: Tensor = ((tokens - self.mean) / spread).clamp(-_FARTHEST, _FARTHEST)
        return standardised

    @torch.no_grad()
    def see(self, tokens: Float[Tensor, "batch channels"]) -> None:
        """Take a batch into the average over all that was seen, as long as that is not settled."""
        if self.num_seen >= _BATCHES_SEEN:
            return
        self.num_seen += 1
        self.mean.lerp_(tokens.mean(dim=0), 1 / self.num_seen)
        self.mean_square.lerp_(tokens.square().mean(dim=0), 1 / self.num_seen)


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
