"""Image encoder that is a public tower: ViT, Swin, or the vision side of CLIP or SigLIP.

Papers: ViT (Dosovitskiy et al., 2021), Swin (Liu et al., 2021), CLIP (Radford et al., 2021), SigLIP (Zhai et al.,
2023).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from training.model.public import build_tower, copy_weights, public_config, read_architecture, read_weights


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionTowerConfig:
    """A public vision tower."""

    architecture: str  # `public.architecture` or `public.read_architecture`
    weights: str | None = None  # the public checkpoint that training starts from; None: from nothing

    @property
    def size_px(self) -> int:
        """The side of the square input."""
        return int(public_config(self.architecture, "vision").image_size)

    @property
    def has_summary(self) -> bool:
        """Whether the tower has a class token, which leads the patches."""
        return public_config(self.architecture, "vision").model_type in ("vit", "clip_vision_model")

    def build(self) -> "VisionTower":
        """The tower with random weights (from torch's global generator)."""
        return VisionTower(self)


def describe_vision(source: str) -> VisionTowerConfig:
    """The vision tower of a public ViT, Swin, CLIP or SigLIP checkpoint: a local directory or a name.

    Raises:
        DataError: `tower_invalid`.
    """
    return VisionTowerConfig(architecture=read_architecture(source, "vision"), weights=source)


class VisionTower(nn.Module):
    """Pixels (already normalised) to the tower's tokens.

    ViT and CLIP have a class token, which leads the patches (`has_summary`). Swin and SigLIP have none.
    """

    def __init__(self, config: VisionTowerConfig) -> None:
        super().__init__()
        self.config = config
        self.tower: Any = build_tower(config.architecture, "vision")
        public = self.tower.config
        self.kind: str = public.model_type
        if self.kind == "siglip_vision_model":
            self.tower.use_head, self.tower.head = False, None  # it pools: `heads.AttentionPoolConfig`
        self.has_summary = config.has_summary
        shrinks = 2 ** (len(public.depths) - 1) if self.kind == "swin" else 1
        self.width: int = public.embed_dim * shrinks if self.kind == "swin" else public.hidden_size
        side = public.image_size // (public.patch_size * shrinks)
        self.grid = (side, side)

    def forward(self, pixels: Float[Tensor, "images 3 side side"]) -> Float[Tensor, "images tokens width"]:
        """The class token where there is one, then the patch tokens, row-major over the grid."""
        tokens: Tensor = self.tower(pixel_values=pixels).last_hidden_state
        return self.tower.post_layernorm(tokens) if self.kind == "clip_vision_model" else tokens

    @property
    def depth(self) -> int:
        """How many blocks, all of one width.

        Raises:
            ValueError: the tower is a Swin, whose stages have grids and widths of their own.
        """
        if self.kind == "swin":
            raise ValueError(
                "a Swin's stages have grids and widths of their own, so words cannot look at its blocks; take a ViT, "
                "DeiT, CLIP or SigLIP tower under a proof-reader"
            )
        return int(self.tower.config.num_hidden_layers)

    def with_levels(
        self, pixels: Float[Tensor, "images 3 side side"], blocks: Sequence[int]
    ) -> tuple[Float[Tensor, "images tokens width"], list[Float[Tensor, "images tokens width"]]]:
        """What calling it gives, and the tokens after each of these blocks, counted from 0, before any last norm."""
        found = self.tower(pixel_values=pixels, output_hidden_states=True)
        tokens = found.last_hidden_state
        if self.kind == "clip_vision_model":
            tokens = self.tower.post_layernorm(tokens)
        return tokens, [found.hidden_states[number + 1] for number in blocks]

    def load_pretrained(self) -> None:
        """Take the weights that the config names. Raises `DataError` (`tower_invalid`)."""
        source = self.config.weights
        if source is not None:
            public = read_weights(source)
            copy_weights(self.tower, getattr(public, "vision_model", public).state_dict(), source)
