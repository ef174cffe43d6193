"""Image encoder for small pictures, from nothing: a convolutional stem cuts patches, a transformer relates them.

The stem's overlapping convolutions see edges and shapes soon, which a linear cut into patches has to learn from far
more pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from training.model.transformer import LAYER_NORM_EPS, Block, initialise


@runtime_checkable
class ImageEncoder(Protocol):
    """What every image encoder is: an `nn.Module` from its input (usually pixels) to patch tokens."""

    width: int  # of a patch token
    grid: tuple[int, int]  # rows, columns; patches are row-major over it
    has_summary: bool  # whether a token for the whole picture leads the patches

    def __call__(self, pixels: Tensor) -> Float[Tensor, "images tokens width"]:
        """The patch tokens, behind the summary where there is one."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvPatchConfig:
    """A convolutional stem and a transformer over its patches."""

    size_px: int = 96
    stem_channels: tuple[int, ...] = (24, 64, 128)  # of each stage, which begins with a convolution
    stem_strides: tuple[int, ...] = (2, 2, 3)  # of that convolution; their product is the side of a patch in pixels
    stem_blocks: tuple[int, ...] = (0, 1, 1)  # residual blocks that end each stage
    width: int = 128
    depth: int = 2
    heads: int = 4
    mlp_ratio: float = 3.0

    @property
    def patch_px(self) -> int:
        """The side of the square of pixels that one patch stands for."""
        side = 1
        for stride in self.stem_strides:
            side *= stride
        return side

    def build(self) -> "ConvPatchEncoder":
        """A fresh encoder with random weights (from torch's global generator)."""
        return ConvPatchEncoder(self)


class ConvPatchEncoder(nn.Module):
    """Pixels (already normalised) to patch tokens that have seen each other."""

    has_summary = False

    def __init__(self, config: ConvPatchConfig) -> None:
        super().__init__()
        if not len(config.stem_channels) == len(config.stem_strides) == len(config.stem_blocks):
            raise ValueError("stem_channels, stem_strides and stem_blocks must have the same length")
        if config.size_px % config.patch_px:
            raise ValueError(f"size_px {config.size_px} is not a multiple of the patch side {config.patch_px}")
        side = config.size_px // config.patch_px
        self.width = config.width
        self.depth = config.depth
        self.grid = (side, side)
        self.stem = _stem(config)
        self.project = nn.Linear(config.stem_channels[-1], config.width)
        self.position = nn.Parameter(torch.empty(side * side, config.width))
        self.blocks = nn.ModuleList(Block(config.width, config.heads, config.mlp_ratio) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width, eps=LAYER_NORM_EPS)
        initialise(self)
        nn.init.normal_(self.position, std=0.3)

    def forward(self, pixels: Float[Tensor, "images 3 side side"]) -> Float[Tensor, "images patches width"]:
        """The patch tokens, row-major over the grid."""
        return self.with_levels(pixels, ())[0]

    def with_levels(
        self, pixels: Float[Tensor, "images 3 side side"], blocks: Sequence[int]
    ) -> tuple[Float[Tensor, "images patches width"], list[Float[Tensor, "images patches width"]]]:
        """The same, and the tokens after each of these blocks, counted from 0."""
        features = self.stem(pixels)
        tokens = self.project(features.flatten(2).transpose(1, 2)) + self.position
        after: list[Tensor] = []
        for block in self.blocks:
            tokens = block(tokens)
            after.append(tokens)
        return self.norm(tokens), [after[number] for number in blocks]


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around which the input passes unchanged."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _norm(channels), _conv(channels, channels), nn.ReLU(), _norm(channels), _conv(channels, channels)
        )

    def forward(self, features: Float[Tensor, "images channels rows columns"]) -> Tensor:
        """Features of the same shape."""
        out: Tensor = features + self.layers(features)
        return out


def _stem(config: ConvPatchConfig) -> nn.Sequential:
    stages: list[nn.Module] = []
    previous = 3
    for channels, stride, blocks in zip(config.stem_channels, config.stem_strides, config.stem_blocks, strict=True):
        stages += [_conv(previous, channels, stride=stride), nn.ReLU()]
        stages += [ResidualBlock(channels) for _ in range(blocks)]
        previous = channels
    return nn.Sequential(*stages)


def _conv(channels_in: int, channels_out: int, *, stride: int = 1) -> nn.Conv2d:
    """A convolution whose outputs are centred on the squares of `stride` pixels that they stand for.

    That takes a kernel of `stride + 2`. With the usual 3, every patch would look half a patch too far up and to the
    left, and every box drawn from patches would lie half a patch too far down and to the right.
    """
    convolution = nn.Conv2d(channels_in, channels_out, kernel_size=stride + 2, stride=stride, padding=1)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
    return convolution


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(max(1, channels // 16), channels, eps=LAYER_NORM_EPS)
