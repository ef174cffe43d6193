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

_IMAGES_SEEN = 64  # of each batch, for the statistics of channels
_BATCHES_SEEN = 100
_LEAST_VARIANCE = 1e-4


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
        self.project = StandardisedLinear(config.backbone.channels, config.width)
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
        position: Tensor = self.position
        if self.training and self.config.dropped_patches > 0:
            kept = self._kept(grids)
            rows = torch.arange(grids.shape[0], device=grids.device)[:, None]
            grids, position = grids[rows, kept], self.position[kept]
        tokens = self.project(grids) + position
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


class StandardisedLinear(nn.Module):
    """A linear layer over channels brought to mean zero and spread one, by what was seen of them in training.

    The channels of a backbone's stages and of colours differ widely in size, and the rare ones say most. The statistics
    are folded into the weights, so the features themselves are never copied.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, width)
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("mean_square", torch.ones(channels))
        self.register_buffer("num_seen", torch.zeros(()))
        self.mean: Tensor
        self.mean_square: Tensor
        self.num_seen: Tensor

    def forward(self, features: Float[Tensor, "images patches channels"]) -> Float[Tensor, "images patches width"]:
        """The projected features."""
        if self.training:
            self._see(features[:_IMAGES_SEEN])
        scale = (self.mean_square - self.mean.square()).clamp(min=_LEAST_VARIANCE).rsqrt()
        weight = self.linear.weight * scale
        bias = self.linear.bias - weight @ self.mean
        if not torch.is_autocast_enabled(features.device.type):
            features = features.to(weight.dtype)
        return nn.functional.linear(features, weight, bias)

    @torch.no_grad()
    def _see(self, features: Tensor) -> None:
        """Take some features into the average over all that was seen, as long as that is not settled."""
        if self.num_seen >= _BATCHES_SEEN:
            return
        self.num_seen += 1
        seen = features.float().flatten(0, 1)
        self.mean.lerp_(seen.mean(dim=0), 1 / self.num_seen)
        self.mean_square.lerp_(seen.square().mean(dim=0), 1 / self.num_seen)
