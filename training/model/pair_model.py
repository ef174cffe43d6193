"""The pair model: both encoders, the fusion encoder and the heads, with one method per question."""

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from training.model.features import ImageFeatures, ImageLevels, PairFeatures, TextFeatures
from training.model.fusion_encoder import FusionEncoder
from training.model.heads import MaskedWordHead, MatchHead, PooledProjection
from training.model.image_encoder import ImageEncoder
from training.model.interaction_network import InteractionNetwork, InteractionNetworkConfig
from training.model.proof_reader import (
    LayeredImageEncoder,
    Proofread,
    ProofReader,
    ReaderConfig,
)
from training.model.region_head import RegionHead, RegionHeadConfig, Regions
from training.model.text_encoder import TextEncoder
from training.model.visual_dictionary import Looked, VisualDictionary, VisualDictionaryConfig

_VIDEO_DIMS = 5


@runtime_checkable
class ImageConfig(Protocol):
    """The description of an image encoder; `build` makes it."""

    def build(self) -> ImageEncoder:
        """A fresh encoder."""
        ...


@runtime_checkable
class TextConfig(Protocol):
    """The description of a text encoder; `build` makes it."""

    def build(self, vocab_size: int) -> TextEncoder:
        """A fresh encoder for a vocabulary of that size."""
        ...


@runtime_checkable
class FusionEncoderConfig(Protocol):
    """The description of a fusion encoder; `build` makes it."""

    def build(self, *, text_width: int, image_width: int) -> FusionEncoder:
        """A fresh encoder for tokens of these widths."""
        ...


@runtime_checkable
class HeadConfig(Protocol):
    """The description of a projection into the joint space; `build` makes it.

    Called with tokens and their mask it gives one embedding of all of them and one of each, all of unit length.
    """

    def build(self, width: int, dim: int) -> nn.Module:
        """A fresh head."""
        ...


@runtime_checkable
class Pretrainable(Protocol):
    """A part of the model whose config may name public weights to start from."""

    def load_pretrained(self) -> None:
        """Take them, where it does."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Everything needed to build a pair model, except the size of the vocabulary, which the tokenizer knows."""

    image: ImageConfig
    text: TextConfig
    fusion: FusionEncoderConfig | None  # None: two encoders only
    dim: int = 128  # of the joint space
    pools: int = 8  # slices of the joint space that are pooled separately
    image_head: HeadConfig | None = None  # None: pooled by learned attention
    text_head: HeadConfig | None = None  # likewise
    heads_above: bool = False  # heads look at what a trained dual encoder makes of words and patches; it stays as it is
    guesses_words: bool = True  # the fusion encoder, where there is one, guesses masked words beside matching
    match_cosine: float = 0.0  # served, this much of a pair's cosine is added to the fusion encoder's logit
    proof_reader: ReaderConfig | None = None  # None: the model judges no single words by itself
    region_head: RegionHeadConfig | None = None  # None: the model draws no boxes by itself
    visual_dictionary: VisualDictionaryConfig | None = None  # None: patches have no codes
    interaction_network: InteractionNetworkConfig | None = None  # of training with a region head; see LOUPE
    num_frames: int | None = None  # of the longest video that it is trained on; None: of pictures alone
    initial_temperature: float = 0.07
    temperature_range: tuple[float, float] = (0.01, 0.5)

    def build(self, vocab_size: int) -> "PairModel":
        """A fresh model with random weights (from torch's global generator)."""
        return PairModel(self, vocab_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fused:
    """What the fusion encoder says about each pair."""

    tokens: Float[Tensor, "pairs subwords width"]
    relevance: Float[Tensor, "pairs subwords patches"]  # where each subword looks; rows sum to one


class PairModel(nn.Module):
    """Pictures and texts into one space, and pairs of them through the fusion encoder."""

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        self.image_encoder: ImageEncoder = config.image.build()
        self.text_encoder: TextEncoder = config.text.build(vocab_size)
        image_width, text_width = self.image_encoder.width, self.text_encoder.width
        self.image_projection = _projection(config.image_head, config, image_width)
        self.text_projection = _projection(config.text_head, config, text_width)
        if config.heads_above:
            image_width, text_width = config.dim, text_width + config.dim
        self.temperature_logit = nn.Parameter(torch.tensor(_temperature_logit(config)))
        self.fusion_encoder: FusionEncoder | None = None
        if config.fusion is not None:
            self.fusion_encoder = config.fusion.build(text_width=text_width, image_width=image_width)
            self.match_head = MatchHead(self.fusion_encoder.width)
            if config.guesses_words:
                self.masked_word_head = MaskedWordHead(self.fusion_encoder.width, vocab_size)
        self.proof_reader: ProofReader | None = None
        if config.proof_reader is not None:
            self.proof_reader = config.proof_reader.build(
                image_encoder=self.image_encoder,
                text_encoder=self.text_encoder,
                image_width=image_width,
                text_width=text_width,
                summary_width=image_width if self.image_encoder.has_summary else config.dim,
                vocab_size=vocab_size,
            )
        self.region_head: RegionHead | None = None
        if config.region_head is not None:
            self.region_head = config.region_head.build(image_width, self.image_encoder.grid)
        self.visual_dictionary: VisualDictionary | None = None
        if config.visual_dictionary is not None:
            self.visual_dictionary = config.visual_dictionary.build(image_width)
        self.interaction_network: InteractionNetwork | None = None
        if config.interaction_network is not None:
            self.interaction_network = config.interaction_network.build(config.dim)

        self.frame_vectors: nn.Parameter | None = None
        if config.num_frames is not None:
            self.frame_vectors = nn.Parameter(0.02 * torch.randn(config.num_frames, image_width))

    def load_pretrained(self) -> None:
        """Let every part start from the public weights that its config names; the others stay as they are.

        Raises:
            DataError: `tower_invalid` when they cannot be read or are of another architecture.
        """
        for part in self.children():
            if isinstance(part, Pretrainable):
                part.load_pretrained()

    def train(self, mode: bool = True) -> "PairModel":
        """As for every module; but a dual encoder that heads stand above stays as it is served."""
        super().train(mode)
        if self.config.heads_above:
            self.image_projection.eval()
            self.text_projection.eval()
        return self

    @property
    def temperature(self) -> Float[Tensor, ""]:
        """What cosines are divided by.

        Held within the configured range by a sigmoid on its logarithm rather than by clipping, so that it can always
        come back from either end.
        """
        low, high = self.config.temperature_range
        share = torch.sigmoid(self.temperature_logit)
        return torch.exp(math.log(low) + (math.log(high) - math.log(low)) * share)

    def encode_images(self, pixels: Tensor) -> ImageFeatures:
        """Patch tokens and embeddings of pictures, and what a proof-reader looks at where there is one.

        With a visual dictionary, tokens have moved towards their codes; embeddings are made of them as they were.
        Pixels [videos, frames, 3, side, side] are of videos: their embedding is the mean of the frames', their tokens
        are those of all frames, one after the other, each with its frame's vector.
        """
        if pixels.ndim == _VIDEO_DIMS and self.frame_vectors is not None:
            return self._encode_videos(pixels, self.frame_vectors)
        encoder, blocks = self.image_encoder, None
        if self.proof_reader is not None:
            assert isinstance(encoder, LayeredImageEncoder)
            tokens, blocks = encoder.with_levels(pixels, (*self.proof_reader.blocks, encoder.depth - 1))
        else:
            tokens = encoder(pixels)
        with self._below_heads():
            embedding, patch_embeddings = self.image_projection(tokens)
        first = int(encoder.has_summary)  # the summary leads the patches
        if self.config.heads_above:
            tokens, blocks = patch_embeddings, blocks and [patch_embeddings] * len(blocks)
        levels = None
        if blocks is not None:
            levels = ImageLevels(
                levels=torch.stack([block[:, first:] for block in blocks[:-1]], dim=1),
                summary=blocks[-1][:, 0] if encoder.has_summary else embedding,
            )
        features = ImageFeatures(
            tokens=tokens[:, first:],
            patch_embeddings=patch_embeddings[:, first:],
            embedding=embedding,
            levels=levels,
        )
        if self.visual_dictionary is None:
            return features
        looked: Looked = self.visual_dictionary(features.tokens)
        return replace(features, tokens=looked.tokens, codes=looked.codes, continuous_tokens=features.tokens)

    def _encode_videos(self, pixels: Tensor, frame_vectors: Tensor) -> ImageFeatures:
        if self.proof_reader is not None or self.visual_dictionary is not None:
            raise ValueError("videos are read without proof-reader and visual dictionary; leave them out of the recipe")
        videos, count = pixels.shape[:2]
        frames = self.encode_images(pixels.flatten(0, 1))
        tokens = frames.tokens.reshape(videos, count, *frames.tokens.shape[1:]) + frame_vectors[:count, None]
        mean = frames.embedding.reshape(videos, count, -1).mean(dim=1)
        return ImageFeatures(
            tokens=tokens.flatten(1, 2),
            patch_embeddings=frames.patch_embeddings.reshape(videos, -1, mean.shape[-1]),
            embedding=F.normalize(mean, dim=-1),
        )

    def encode_texts(self, ids: Int[Tensor, "texts subwords"], mask: Bool[Tensor, "texts subwords"]) -> TextFeatures:
        """Word tokens and embeddings of texts."""
        tokens = self.text_encoder(ids, mask)
        if self.text_encoder.has_summary:
            embedding, _ = self.text_projection(tokens, torch.cat([torch.ones_like(mask[:, :1]), mask], dim=1))
            tokens = tokens[:, 1:]
        else:
            with self._below_heads():
                embedding, words = self.text_projection(tokens, mask)
            tokens = torch.cat([tokens, words], dim=-1) if self.config.heads_above else tokens
        return TextFeatures(tokens=tokens, mask=mask, embedding=embedding)

    def encode_pairs(
        self, pixels: Tensor, ids: Int[Tensor, "pairs subwords"], mask: Bool[Tensor, "pairs subwords"]
    ) -> PairFeatures:
        """One pass of both encoders over matching pairs: what every objective shares."""
        image, text = self.encode_images(pixels), self.encode_texts(ids, mask)
        return PairFeatures(
            image_tokens=image.tokens,
            patch_embeddings=image.patch_embeddings,
            text_tokens=text.tokens,
            text_mask=mask,
            image_embedding=image.embedding,
            text_embedding=text.embedding,
            temperature=self.temperature,
            image_levels=image.levels.levels if image.levels else None,
            image_summary=image.levels.summary if image.levels else None,
            codes=image.codes,
            continuous_tokens=image.continuous_tokens,
        )

    def fuse(
        self,
        word_tokens: Float[Tensor, "pairs subwords width"],
        mask: Bool[Tensor, "pairs subwords"],
        patch_tokens: Float[Tensor, "pairs patches image_width"],
    ) -> Fused:
        """Let every word look at the picture. A model without fusion encoder cannot: `ValueError`."""
        if self.fusion_encoder is None:
            raise ValueError("this model has no fusion encoder: give ModelConfig a FusionConfig")
        tokens, relevance = self.fusion_encoder(word_tokens, mask, patch_tokens)
        return Fused(tokens=tokens, relevance=relevance)

    def match(self, fused: Fused) -> Float[Tensor, " pairs"]:
        """The matching logit of each fused pair."""
        logit: Tensor = self.match_head(fused.tokens)
        return logit

    def masked_words(self, fused_tokens: Float[Tensor, "*positions width"]) -> Float[Tensor, "*positions vocabulary"]:
        """Vocabulary logits at the given fused positions. A model that guesses no words cannot: `ValueError`."""
        if not self.config.guesses_words:
            raise ValueError("this model guesses no masked words: leave ModelConfig.guesses_words True")
        logits: Tensor = self.masked_word_head(fused_tokens, self.text_encoder.word_vectors)
        return logits

    def proof_tokens(
        self, ids: Int[Tensor, "texts subwords"], mask: Bool[Tensor, "texts subwords"], image: ImageLevels
    ) -> dict[str, Float[Tensor, "texts subwords width"]]:
        """Word tokens of each branch of the proof-reader, `local` and `global`; `ValueError` where there is none."""
        has_own = self._proof_reader().own_layers is not None
        tokens = self.encode_texts(ids, mask).tokens if has_own else None
        return self._proof_reader().branches(self.text_encoder, ids, mask, image, tokens=tokens)

    def word_errors(self, proof_tokens: Float[Tensor, "texts subwords width"]) -> Float[Tensor, "texts subwords"]:
        """The logit of each subword of one branch; positive means wrong."""
        logits: Tensor = self._proof_reader().error_head(proof_tokens)
        return logits

    def corrections(self, proof_tokens: Float[Tensor, "*positions width"]) -> Float[Tensor, "*positions vocabulary"]:
        """Vocabulary logits of what should stand at the given positions of one branch."""
        logits: Tensor = self._proof_reader().correction_head(proof_tokens, self.text_encoder.word_vectors)
        return logits

    def proofread(
        self, ids: Int[Tensor, "texts subwords"], mask: Bool[Tensor, "texts subwords"], image: ImageLevels
    ) -> Proofread:
        """What all branches together say of each subword; `ValueError` where there is no proof-reader."""
        tokens = self.proof_tokens(ids, mask, image)
        return self._proof_reader().judge(list(tokens.values()), self.text_encoder.word_vectors)

    def regions(
        self, patch_tokens: Float[Tensor, "images patches width"], patch_embeddings: Float[Tensor, "images patches dim"]
    ) -> Regions:
        """The box of every patch; the head's `best` keeps a few. `ValueError` where there is no region head."""
        if self.region_head is None:
            raise ValueError("this model has no region head: give ModelConfig a RegionHeadConfig")
        found: Regions = self.region_head(patch_tokens, patch_embeddings)
        return found

    def _below_heads(self) -> AbstractContextManager[object]:
        """In training no gradient reaches a dual encoder that heads stand above."""
        return torch.no_grad() if self.training and self.config.heads_above else nullcontext()

    def _proof_reader(self) -> ProofReader:
        if self.proof_reader is None:
            raise ValueError("this model has no proof-reader: give ModelConfig a ProofReaderConfig")
        return self.proof_reader


def _projection(head: HeadConfig | None, config: ModelConfig, width: int) -> nn.Module:
    if head is not None:
        return head.build(width, config.dim)
    return PooledProjection(width, config.dim, pools=config.pools)


def _temperature_logit(config: ModelConfig) -> float:
    low, high = config.temperature_range
    if not low < config.initial_temperature < high:
        raise ValueError(f"initial_temperature {config.initial_temperature} is not between {low} and {high}")
    share = math.log(config.initial_temperature / low) / math.log(high / low)
    return math.log(share / (1 - share))
