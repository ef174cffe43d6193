"""What the encoders give: the values that heads, objectives and exported graphs share."""

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFeatures:
    """The image encoder's view of a batch of pictures."""

    tokens: Float[Tensor, "images patches width"]  # row-major over the patch grid
    patch_embeddings: Float[Tensor, "images patches dim"]  # unit length, in the joint space
    embedding: Float[Tensor, "images dim"]  # unit length

    def take(self, rows: Tensor) -> "ImageFeatures":
        """The features of some rows, in the order asked; a row may come twice."""
        return ImageFeatures(
            tokens=self.tokens[rows],
            patch_embeddings=self.patch_embeddings[rows],
            embedding=self.embedding[rows],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TextFeatures:
    """The text encoder's view of a batch of texts."""

    tokens: Float[Tensor, "texts subwords width"]
    mask: Bool[Tensor, "texts subwords"]  # False marks padding
    embedding: Float[Tensor, "texts dim"]  # unit length


@dataclass(frozen=True, slots=True, kw_only=True)
class PairFeatures:
    """One forward pass over a batch of matching (image, text) pairs: row i of everything is pair i."""

    image_tokens: Float[Tensor, "pairs patches width"]
    patch_embeddings: Float[Tensor, "pairs patches dim"]  # unit length
    text_tokens: Float[Tensor, "pairs subwords width"]
    text_mask: Bool[Tensor, "pairs subwords"]  # False marks padding
    image_embedding: Float[Tensor, "pairs dim"]  # unit length
    text_embedding: Float[Tensor, "pairs dim"]  # unit length
    temperature: Float[Tensor, ""]
    edited: TextFeatures | None = None  # of the batch's edited captions, where an objective uses them
