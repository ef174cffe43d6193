"""Image encoder over the grid of a frozen backbone: locked-image tuning with a small transformer on top.

Paper: LiT (Zhai et al., 2022): the image network stays as it was pretrained, the text side learns to read it.
Differs from the paper: a few layers over the frozen grid are trained too, since the pooled class features of a small
network have lost where things are.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from training.model.backbone import BackboneConfig, running_backbone
from training.model.transformer import LAYER_NORM_EPS, Block, initialise


@dataclass(frozen=True, slots=True, kw_only=True)
class GridEncoderConfig:
    """A projection of the grid and a transformer over it."""

    backbone: BackboneConfig
    width: int = 384
    depth: int = 1
    heads: int = 6
    mlp_ratio: float = 4.0
    dropped_patches: float = 0.4  # share of the patches left out in training: regularises, and saves that share of time

    def build(self) -> "GridEncoder":
        """A fresh encoder with random weights (from torch's global generator)."""
        return GridEncoder(self)


class GridEncoder(nn.Module):
    """Pixels, or the backbone's grid of them, to patch tokens that have seen each other."""

    def __init__(self, config: GridEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.width = config.width
        self.grid = (config.backbone.rows, config.backbone.columns)
        patches = config.backbone.rows * config.backbone.columns
        self.norm_grid = nn.LayerNorm(config.backbone.channels, eps=LAYER_NORM_EPS, elementwise_affine=False)
        self.project = nn.Linear(config.backbone.channels, config.width)
        self.position = nn.Parameter(torch.empty(patches, config.width))
        self.blocks = nn.ModuleList(Block(config.width, config.heads, config.mlp_ratio) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width, eps=LAYER_NORM_EPS)
        initialise(self)
        nn.init.normal_(self.position, std=0.02)

    def forward(self, pixels: Tensor) -> Float[Tensor, "images patches width"]:
        """The patch tokens, row-major over the grid; in training only those of a random share of the patches.

        Args:
            pixels: [images, 3, side, side] normalised pixels, or [images, patches, channels] grids already computed.
        """
        grids = self.grids(pixels) if pixels.ndim == 4 else pixels
        position = self.position.expand(len(grids), -1, -1)
        if self.training and self.config.dropped_patches > 0:
            kept = self._kept(grids)
            grids, position = _take(grids, kept), _take(position, kept)
        tokens = self.project(self.norm_grid(grids.to(self.project.weight.dtype))) + position
        for block in self.blocks:
            tokens = block(tokens)
        out: Tensor = self.norm(tokens)
        return out

    def grids(self, pixels: Float[Tensor, "images 3 side side"]) -> Float[Tensor, "images patches channels"]:
        """What the frozen backbone gives, without gradients."""
        backbone = running_backbone(self.config.backbone)
        return torch.from_numpy(backbone.grids(pixels.cpu().numpy())).to(pixels.device)

    def _kept(self, grids: Tensor) -> Tensor:
        images, patches = grids.shape[:2]
        count = max(1, round(patches * (1 - self.config.dropped_patches)))
        return torch.rand(images, patches, device=grids.device).argsort(dim=1)[:, :count]


def _take(rows: Tensor, kept: Tensor) -> Tensor:
    return rows.gather(1, kept[:, :, None].expand(-1, -1, rows.shape[-1]))
