"""Image encoder that is a frozen backbone: its grid of features are the patch tokens.

Paper: LiT (Zhai et al., 2022): the image network stays as it was pretrained, the text side learns to read it.
Differs from the paper: what is trained on the image side is the head (`training.model.heads.MeanProjection`), since a
small network's own summary has lost most of what captions speak of. A transformer over the grid was tried in the head's
place and learned less from a few thousand photos (docs/experiments.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from training.model.backbone import BackboneConfig, running_backbone


@dataclass(frozen=True, slots=True, kw_only=True)
class GridEncoderConfig:
    """The backbone's grid as it is."""

    backbone: BackboneConfig

    def build(self) -> "GridEncoder":
        """The encoder; it has no weights of its own."""
        return GridEncoder(self)


class GridEncoder(nn.Module):
    """Pixels, or the backbone's grid of them, to patch tokens."""

    has_summary = False
    depth = 1  # a frozen backbone shows one level

    def __init__(self, config: GridEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.width = config.backbone.channels
        self.grid = (config.backbone.rows, config.backbone.columns)

    def forward(self, pixels: Tensor) -> Float[Tensor, "images patches width"]:
        """The patch tokens, row-major over the grid.

        Args:
            pixels: [images, 3, side, side] normalised pixels, or [images, patches, channels] grids already computed.
        """
        return self.grids(pixels) if pixels.ndim == 4 else pixels.float()

    def with_levels(
        self, pixels: Tensor, blocks: Sequence[int]
    ) -> tuple[Float[Tensor, "images patches width"], list[Float[Tensor, "images patches width"]]]:
        """See `LayeredImageEncoder`: the only level, whichever is asked for."""
        tokens = self(pixels)
        return tokens, [tokens] * len(blocks)

    def grids(self, pixels: Float[Tensor, "images 3 side side"]) -> Float[Tensor, "images patches channels"]:
        """What the frozen backbone gives for the pictures and their mirror images, averaged; without gradients.

        Training sees one or the other: an average over both is calmer than what it learned from, and retrieves better
        (docs/experiments.md).
        """
        backbone = running_backbone(self.config.backbone)
        return torch.from_numpy(backbone.grids(pixels.cpu().numpy())).to(pixels.device)
