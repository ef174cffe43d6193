"""Fusion encoder above a trained dual encoder: narrow layers over words that know how far they are seen.

The tokens of a frozen text tower, joined from several of its layers, are wide. Layers of their width would be most of
the model; narrow ones learn as much from a few thousand pictures.
"""

from dataclasses import dataclass, field

from jaxtyping import Bool, Float
from torch import Tensor, nn

from training.model.aligned_words import AlignedWords
from training.model.fusion_encoder import FusionConfig, TransformerFusion
from training.model.transformer import LAYER_NORM_EPS


@dataclass(frozen=True, slots=True, kw_only=True)
class NarrowFusionConfig:
    """What fits the words, and fusion layers of that width."""

    width: int = 192
    members: int = 1  # of the joint space (`MeanHeadConfig.members`)
    layers: FusionConfig = field(default_factory=FusionConfig)

    def build(self, *, text_width: int, image_width: int) -> "NarrowFusion":
        """The layers with random weights (from torch's global generator)."""
        return NarrowFusion(self, text_width=text_width, image_width=image_width)


class NarrowFusion(nn.Module):
    """Words with their embeddings and embeddings of patches to narrow tokens that know both; see `FusionEncoder`."""

    def __init__(self, config: NarrowFusionConfig, *, text_width: int, image_width: int) -> None:
        super().__init__()
        self.width = config.width
        self.words = AlignedWords(text_width, image_width, config.members, config.width)
        self.norm_patches = nn.LayerNorm(image_width, eps=LAYER_NORM_EPS)  # of unit length they would hardly be seen
        self.layers = TransformerFusion(config.layers, text_width=config.width, image_width=image_width)

    @property
    def relevance_layer(self) -> int:
        """See `FusionEncoder`."""
        return self.layers.relevance_layer

    def forward(
        self,
        word_tokens: Float[Tensor, "pairs subwords text_width"],
        mask: Bool[Tensor, "pairs subwords"],
        patch_tokens: Float[Tensor, "pairs patches image_width"],
    ) -> tuple[Float[Tensor, "pairs subwords width"], Float[Tensor, "pairs subwords patches"]]:
        """See `FusionEncoder`."""
        found: tuple[Tensor, Tensor] = self.layers(*self._fitted(word_tokens, mask, patch_tokens))
        return found

    def with_attention(
        self,
        word_tokens: Float[Tensor, "pairs subwords text_width"],
        mask: Bool[Tensor, "pairs subwords"],
        patch_tokens: Float[Tensor, "pairs patches image_width"],
        *,
        layer: int,
    ) -> tuple[Float[Tensor, "pairs subwords width"], Float[Tensor, "pairs heads subwords patches"]]:
        """See `FusionEncoder`."""
        return self.layers.with_attention(*self._fitted(word_tokens, mask, patch_tokens), layer=layer)

    def _fitted(self, word_tokens: Tensor, mask: Tensor, patch_tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.words(word_tokens, patch_tokens), mask, self.norm_patches(patch_tokens)
