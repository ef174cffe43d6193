"""What the encoders give: the values that heads, objectives and exported graphs share."""

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLevels:
    """What a proof-reader looks at in a batch of pictures."""

    levels: Float[Tensor, "images levels patches width"]  # patch tokens after evenly chosen blocks, first to last
    summary: Float[Tensor, "images summary_width"]  # one vector for the whole picture


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFeatures:
    """The image encoder's view of a batch of pictures."""

    tokens: Float[Tensor, "images patches width"]  # row-major over the patch grid
    patch_embeddings: Float[Tensor, "images patches dim"]  # unit length, in the joint space
    embedding: Float[Tensor, "images dim"]  # unit length
    levels: ImageLevels | None = None  # of models with a proof-reader
    codes: Int[Tensor, "images patches"] | None = None  # of models with a visual dictionary
    continuous_tokens: Float[Tensor, "images patches width"] | None = None  # likewise: as they were before it


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
    image_levels: Float[Tensor, "pairs levels patches width"] | None = None  # of models with a proof-reader
    image_summary: Float[Tensor, "pairs summary_width"] | None = None  # likewise
    codes: Int[Tensor, "pairs patches"] | None = None  # of models with a visual dictionary
    continuous_tokens: Float[Tensor, "pairs patches width"] | None = None  # likewise: as they were before it
    edited: TextFeatures | None = None  # of the batch's edited captions, where an objective uses them
