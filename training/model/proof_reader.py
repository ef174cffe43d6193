"""Proof-reader: the text encoder's own layers look at the picture and say which words are wrong, and the right ones.

Paper: ViLEM (CVPR 2023), the local and the global branch and their two heads.
Differs from the paper: the layers are all of the text encoder's, which is the lower half of a split text tower (the
fusion encoder is the upper half, as in ALBEF), and not the lower six of twelve that also embed. Each word looks at the
picture through a layer norm in front of the cross-attention, so a tower whose own layers norm afterwards starts
undisturbed. The patches are normed too: between pre-norm blocks they are tens of times as large as words, and
attention to them would begin saturated. The summary of a picture is the image tower's class token before the last norm;
a tower without one gives its embedding instead, and in both cases a linear layer fits it to the word vectors. One logit
takes the place of the two classes right and wrong, and its sign is turned: positive means wrong.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from training.model.features import ImageLevels
from training.model.heads import MaskedWordHead
from training.model.image_encoder import ImageEncoder
from training.model.text_encoder import TextEncoder
from training.model.transformer import LAYER_NORM_EPS, Attention, Crossing, initialise

MOST_CORRECTIONS = 16
"""Corrections that are given for each subword, or as many as there are words."""


@runtime_checkable
class LayeredImageEncoder(ImageEncoder, Protocol):
    """An image encoder whose blocks can be looked into."""

    depth: int  # how many blocks

    def with_levels(
        self, pixels: Tensor, blocks: Sequence[int]
    ) -> tuple[Float[Tensor, "images tokens width"], list[Float[Tensor, "images tokens width"]]]:
        """What calling it gives, and the tokens after each of these blocks, counted from 0."""
        ...


@runtime_checkable
class LayeredTextEncoder(TextEncoder, Protocol):
    """A text encoder, reading in both directions, into whose layers something can be put."""

    depth: int  # how many layers

    def crossed(
        self,
        ids: Int[Tensor, "texts subwords"],
        mask: Bool[Tensor, "texts subwords"],
        *,
        crossings: Sequence[Crossing] | None = None,
        added: Float[Tensor, "texts width"] | None = None,
    ) -> Float[Tensor, "texts subwords width"]:
        """What calling it gives, if between attention and feed-forward of each layer its crossing is passed.

        `added` is added to every word vector first.
        """
        ...


class ReaderConfig(Protocol):
    """The description of a proof-reader; `build` makes it."""

    def build(
        self,
        *,
        image_encoder: ImageEncoder,
        text_encoder: TextEncoder,
        image_width: int,
        text_width: int,
        summary_width: int,
        vocab_size: int,
    ) -> "ProofReader":
        """A fresh one for these encoders; `image_width` and `text_width` are those of the tokens that it is given."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofReaderConfig:
    """Two branches into the same layers: through patches of several levels, and through the picture's summary."""

    heads: int = 4  # of the cross-attention
    has_local: bool = True  # each layer looks at the patches of one image block
    has_global: bool = True  # the picture's summary is added to every word vector

    def build(
        self,
        *,
        image_encoder: ImageEncoder,
        text_encoder: TextEncoder,
        image_width: int,
        text_width: int,
        summary_width: int,
        vocab_size: int,
    ) -> "ProofReader":
        """A fresh proof-reader for these encoders (random weights from torch's global generator).

        Raises:
            ValueError: one of the encoders cannot be looked into, or there is no branch.
        """
        if not isinstance(image_encoder, LayeredImageEncoder):
            raise ValueError(
                f"a proof-reader looks at the blocks of the image encoder, and {type(image_encoder).__name__} shows "
                "none; take a ConvPatchEncoder or a ViT, DeiT, CLIP or SigLIP tower"
            )
        if not isinstance(text_encoder, LayeredTextEncoder) or text_encoder.has_summary:
            raise ValueError(
                f"a proof-reader puts cross-attention into text layers that read in both directions, and "
                f"{type(text_encoder).__name__} has none that can take it; take a SubwordEncoder or a BERT tower"
            )
        if not self.has_local and not self.has_global:
            raise ValueError("a proof-reader has at least one branch: has_local or has_global")
        depth = text_encoder.depth
        return ProofReader(
            has_local=self.has_local,
            has_global=self.has_global,
            heads=self.heads,
            depth=depth,
            blocks=tuple(layer * image_encoder.depth // depth for layer in range(depth)),
            image_width=image_width,
            width=text_width,
            token_width=text_width,
            summary_width=summary_width,
            vocab_size=vocab_size,
        )


class LayersAbove(Protocol):
    """Layers of a proof-reader's own, above a text encoder that cannot be crossed."""

    def over(
        self,
        tokens: Float[Tensor, "texts subwords text_width"],
        mask: Bool[Tensor, "texts subwords"],
        patches: Float[Tensor, "texts patches image_width"],
    ) -> Callable[..., Float[Tensor, "texts subwords token_width"]]:
        """Read tokens once; what comes back takes `crossings` or `added` as `LayeredTextEncoder.crossed` does."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Proofread:
    """What the proof-reader says of each subword."""

    word_error: Float[Tensor, "texts subwords"]  # logit; positive means wrong
    correction_ids: Int[Tensor, "texts subwords corrections"]  # best first
    correction_scores: Float[Tensor, "texts subwords corrections"]  # log-probabilities over the vocabulary


_FIRST_LOOK = 0.1
"""How much less than other layers a look says at first: it joins text layers that may have been trained without it."""


class CrossAttention(nn.Module):
    """Words look at patches: what they gather is added to them."""

    def __init__(self, width: int, image_width: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.norm_patches = nn.LayerNorm(image_width, eps=LAYER_NORM_EPS)
        self.attention = Attention(width, heads, memory_width=image_width)

    def forward(
        self, tokens: Float[Tensor, "texts subwords width"], patches: Float[Tensor, "texts patches image_width"]
    ) -> Float[Tensor, "texts subwords width"]:
        """The words, each having looked at the patches."""
        out: Tensor = tokens + self.attention(self.norm(tokens), self.norm_patches(patches))
        return out


_PRIOR = math.log(0.15 / 0.85)
"""What the error head says before it has learnt anything: training makes 15 % of the words wrong."""


class ErrorHead(nn.Module):
    """One logit per subword: is it wrong?"""

    def __init__(self, width: int) -> None:
        super().__init__()
        last = nn.Linear(width, 1)
        self.score = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width, eps=LAYER_NORM_EPS), last)
        initialise(self)
        nn.init.constant_(last.bias, _PRIOR)

    def forward(self, tokens: Float[Tensor, "texts subwords width"]) -> Float[Tensor, "texts subwords"]:
        """The logits; positive means wrong."""
        logits: Tensor = self.score(tokens).squeeze(-1)
        return logits


class ProofReader(nn.Module):
    """What proof-reading adds to the two encoders: cross-attention, the fit of the summary, and the heads."""

    def __init__(
        self,
        *,
        has_local: bool,
        has_global: bool,
        heads: int,
        depth: int,
        blocks: tuple[int, ...],
        image_width: int,
        width: int,
        token_width: int,
        summary_width: int,
        vocab_size: int,
        own_layers: LayersAbove | None = None,
        trains_encoders: bool = True,
    ) -> None:
        """Build it with random weights.

        Args:
            has_local: whether words look at patches.
            has_global: whether the picture's summary is added to every word vector.
            heads: of the cross-attention.
            depth: how many layers are crossed.
            blocks: the image blocks whose patches they look at, the last of them for all that are left.
            image_width: of patches.
            width: of the layers that are crossed.
            token_width: of what these layers give, and of the word vectors.
            summary_width: of a picture's summary.
            vocab_size: how many subwords there are.
            own_layers: what is crossed in place of the text encoder.
            trains_encoders: whether its gradient goes on into the encoders.
        """
        super().__init__()
        self.blocks = blocks
        self.own_layers = own_layers
        self.trains_encoders = trains_encoders
        self.error_head = ErrorHead(token_width)
        self.correction_head = MaskedWordHead(token_width, vocab_size)
        self.crossings = nn.ModuleList()
        if has_local:
            self.crossings.extend(CrossAttention(width, image_width, heads) for _ in range(depth))
        self.fit_summary = nn.Linear(summary_width, width) if has_global else None
        initialise(self.crossings)
        for crossing in self.crossings:
            assert isinstance(crossing, CrossAttention)
            crossing.attention.out.weight.data.mul_(_FIRST_LOOK)
        if self.fit_summary is not None:
            initialise(self.fit_summary)

    def branches(
        self,
        text_encoder: TextEncoder,
        ids: Int[Tensor, "texts subwords"],
        mask: Bool[Tensor, "texts subwords"],
        image: ImageLevels,
        *,
        tokens: Float[Tensor, "texts subwords text_width"] | None = None,
    ) -> dict[str, Float[Tensor, "texts subwords width"]]:
        """The word tokens of every branch there is, by name.

        `local`: layer i has looked at level i. `global`: every word vector has the picture's summary in it.
        """
        if not self.trains_encoders:
            image = ImageLevels(levels=image.levels.detach(), summary=image.summary.detach())
        if self.own_layers is not None:
            assert tokens is not None
            tokens = tokens if self.trains_encoders else tokens.detach()
            read = self.own_layers.over(tokens, mask, image.levels[:, -1])
        else:
            assert isinstance(text_encoder, LayeredTextEncoder)
            read = partial(text_encoder.crossed, ids, mask)
        found: dict[str, Tensor] = {}
        if self.crossings:
            levels = image.levels.unbind(1)
            looks = [
                partial(_call, crossing, levels[min(at, len(levels) - 1)]) for at, crossing in enumerate(self.crossings)
            ]
            found["local"] = read(crossings=looks)
        if self.fit_summary is not None:
            found["global"] = read(added=self.fit_summary(image.summary))
        return found

    def judge(
        self, tokens: Sequence[Float[Tensor, "texts subwords width"]], word_vectors: Float[Tensor, "vocabulary width"]
    ) -> Proofread:
        """Average the branches' probabilities, of errors and of corrections."""
        errors = [self.error_head(branch).float() for branch in tokens]
        corrections = [torch.log_softmax(self.correction_head(branch, word_vectors).float(), -1) for branch in tokens]
        wrong = torch.stack([F.logsigmoid(logit) for logit in errors]).logsumexp(0)
        right = torch.stack([F.logsigmoid(-logit) for logit in errors]).logsumexp(0)
        mean = torch.stack(corrections).logsumexp(0) - math.log(len(tokens))
        scores, ids = mean.topk(min(MOST_CORRECTIONS, mean.shape[-1]), dim=-1)
        return Proofread(word_error=wrong - right, correction_ids=ids, correction_scores=scores)


def _call(crossing: nn.Module, patches: Tensor, tokens: Tensor) -> Tensor:
    out: Tensor = crossing(tokens, patches)
    return out
