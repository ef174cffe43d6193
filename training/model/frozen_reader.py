"""Proof-reader with layers of its own, above text towers that cannot be crossed: frozen ones, CLIP's, SigLIP's.

Paper: ViLEM (CVPR 2023), its two branches and two heads.
Differs from the paper: both branches go through a few layers above the text tower's tokens, not through the tower; of
a frozen backbone, which shows one level of patches, the local branch looks at the same ones in every layer. Above a
dual encoder that is trained already (`ModelConfig.heads_above`) these are the patches' embeddings, and every word is
told how alike it is to them (`training.model.aligned_words`). Where the encoders are frozen no gradient reaches them:
only the reader learns, the dual encoder gains nothing, and crossed momentum passes would have no image side to train.
Above a public tower that learns (`trains_encoders`) both sides do.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from jaxtyping import Bool, Float
from torch import Tensor, nn

from training.model.aligned_words import AlignedWords
from training.model.image_encoder import ImageEncoder
from training.model.pretrained_text import PretrainedTextEncoder
from training.model.proof_reader import LayeredImageEncoder, ProofReader
from training.model.text_encoder import TextEncoder
from training.model.transformer import LAYER_NORM_EPS, Block, Crossing, initialise, key_bias


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenReaderConfig:
    """A small transformer between the encoders' tokens and the proof-reader's heads."""

    width: int = 192
    depth: int = 2
    heads: int = 4
    mlp_ratio: float = 3.0
    members: int = 0  # of the joint space that words are aligned in (`MeanHeadConfig.members`); 0: they are not
    has_local: bool = True  # each layer looks at the patches
    has_global: bool = True  # the picture's summary is added to every word token
    trains_encoders: bool = False  # their gradient goes on into the encoders, which then are no frozen ones

    def build(
        self,
        *,
        image_encoder: ImageEncoder,
        text_encoder: TextEncoder,
        image_width: int,
        text_width: int,
        summary_width: int,
        vocab_size: int,
    ) -> ProofReader:
        """A fresh proof-reader for these encoders (random weights from torch's global generator).

        Raises:
            ValueError: the image encoder shows no patches, the text encoder can be crossed itself, or there is no
                branch.
        """
        is_frozen = isinstance(text_encoder, PretrainedTextEncoder)
        if not isinstance(image_encoder, LayeredImageEncoder) or not (is_frozen or text_encoder.has_summary):
            raise ValueError(
                "this proof-reader stands above a text tower that cannot be crossed (frozen, CLIP's, SigLIP's) and "
                f"looks at the blocks of an image encoder, and has {type(text_encoder).__name__} and "
                f"{type(image_encoder).__name__}; take a ProofReaderConfig"
            )
        if not self.has_local and not self.has_global:
            raise ValueError("a proof-reader has at least one branch: has_local or has_global")
        depth = image_encoder.depth
        each = [max(0, (layer + 1) * depth // self.depth - 1) for layer in range(self.depth)]
        out_width = text_encoder.word_vectors.shape[1]
        return ProofReader(
            has_local=self.has_local,
            has_global=self.has_global,
            heads=self.heads,
            depth=self.depth,
            blocks=tuple(dict.fromkeys(each)),
            image_width=image_width,
            width=self.width,
            token_width=out_width,
            summary_width=summary_width,
            vocab_size=vocab_size,
            own_layers=OwnLayers(self, text_width=text_width, image_width=image_width, out_width=out_width),
            trains_encoders=self.trains_encoders,
        )


class FittedWords(nn.Module):
    """Word tokens to those of another width; the patches are not looked at."""

    def __init__(self, text_width: int, width: int) -> None:
        super().__init__()
        self.fit = nn.Sequential(nn.LayerNorm(text_width, eps=LAYER_NORM_EPS), nn.Linear(text_width, width))
        initialise(self)

    def forward(
        self,
        words: Float[Tensor, "texts subwords text_width"],
        patches: Float[Tensor, "texts patches image_width"],
    ) -> Float[Tensor, "texts subwords width"]:
        """The tokens, in the same order."""
        del patches
        out: Tensor = self.fit(words)
        return out


class OwnLayers(nn.Module):
    """Layers above a text tower's tokens, which can be crossed as those of a text encoder can."""

    def __init__(self, config: FrozenReaderConfig, *, text_width: int, image_width: int, out_width: int) -> None:
        super().__init__()
        self.words = (
            AlignedWords(text_width, image_width, config.members, config.width)
            if config.members
            else FittedWords(text_width, config.width)
        )
        self.blocks = nn.ModuleList(Block(config.width, config.heads, config.mlp_ratio) for _ in range(config.depth))
        self.out = nn.Sequential(nn.LayerNorm(config.width, eps=LAYER_NORM_EPS), nn.Linear(config.width, out_width))
        initialise(self.blocks)
        initialise(self.out)

    def over(
        self,
        tokens: Float[Tensor, "texts subwords text_width"],
        mask: Bool[Tensor, "texts subwords"],
        patches: Float[Tensor, "texts patches image_width"],
    ) -> Callable[..., Float[Tensor, "texts subwords out_width"]]:
        """See `LayersAbove`."""
        return partial(self.crossed, self.words(tokens, patches), mask)

    def crossed(
        self,
        inner: Float[Tensor, "texts subwords width"],
        mask: Bool[Tensor, "texts subwords"],
        *,
        crossings: Sequence[Crossing] | None = None,
        added: Float[Tensor, "texts width"] | None = None,
    ) -> Float[Tensor, "texts subwords out_width"]:
        """What the heads read, of what the text encoder says; see `LayeredTextEncoder.crossed`."""
        if added is not None:
            inner = inner + added[:, None]
        bias = key_bias(mask)
        for number, block in enumerate(self.blocks):
            inner = block(inner, bias, crossings[number] if crossings else None)
        out: Tensor = self.out(inner)
        return out
