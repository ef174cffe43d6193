"""Interaction network: guesses what a region's Shapley interaction would come out as, and how far off it may be.

Paper: LOUPE (NeurIPS 2022), section 3.4, the uncertainty-aware neural Shapley interaction network.
Differs from the paper, whose layers are not known here: three layers over the region's embedding, those of the picture
and the caption, their products with it, and the box. It learns from detached embeddings: its loss trains nothing else.
Needed in training only; no graph of a bundle has it.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from training.model.transformer import initialise

LEAST_DOUBT, MOST_DOUBT = 0.02, 0.98
"""Where the uncertainty is held, or one over it would blow up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InteractionNetworkConfig:
    """A small network over what is known of a region."""

    hidden: int = 128
    first_doubt: float = 0.95  # what it says of itself before it has learned anything

    def build(self, dim: int) -> "InteractionNetwork":
        """A fresh network for embeddings of that size (random weights from torch's global generator)."""
        return InteractionNetwork(self, dim)


class InteractionNetwork(nn.Module):
    """From regions with their pictures and captions to interactions and how doubtful they are."""

    def __init__(self, config: InteractionNetworkConfig, dim: int) -> None:
        super().__init__()
        hidden = config.hidden
        self.layers = nn.Sequential(
            nn.Linear(5 * dim + 6, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, 2),
        )
        initialise(self)
        share = (config.first_doubt - LEAST_DOUBT) / (MOST_DOUBT - LEAST_DOUBT)
        nn.init.constant_(self.layers[-1].bias[1:], torch.logit(torch.tensor(share)).item())  # type: ignore[index]

    def forward(
        self,
        regions: Float[Tensor, "images regions dim"],
        boxes: Float[Tensor, "images regions 4"],
        image: Float[Tensor, "images dim"],
        text: Float[Tensor, "images dim"],
    ) -> tuple[Float[Tensor, "images regions"], Float[Tensor, "images regions"]]:
        """The guessed interaction, in standard deviations of what was sampled, and its doubt, 0..1."""
        image, text = image[:, None].expand_as(regions), text[:, None].expand_as(regions)
        sides = boxes[..., 2:] - boxes[..., :2]
        seen = torch.cat([regions, image, text, regions * image, regions * text, boxes, sides], dim=-1)
        guess, doubt = self.layers(seen.detach().float()).unbind(dim=-1)
        return guess, LEAST_DOUBT + (MOST_DOUBT - LEAST_DOUBT) * torch.sigmoid(doubt)
