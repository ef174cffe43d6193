"""SoftMask++: a caption still matches its picture when what one of its words speaks of has faded.

Paper: SoftMask++, Multi-Modal Representation Learning with Text-Driven Soft Masks (Park & Han, CVPR 2023), section 3:
the Grad-CAM of the matching logit for one random word of the text, brought to 0..1, fades the picture's patch tokens,
and the pair stays a match. With m = 1 - c for the map c of the word,

    L = mean over pairs of  CE(match(text, m * patches), 1)  and  CE(match(wrong text, m * patches), 0)

so the model has to find the other words' evidence too. The map is a constant: nothing is learned through it.
Differs from the paper: as many masked wrong pairs as masked right ones (a term of right pairs alone is solved by
"always 1"), wrong texts drawn as matching draws them; the mask has a floor (a text of one thing would be left without
any evidence); the word is one that names something (`SpecialTokens.contentless` tells) where the text has such a word;
optionally only the first pairs of the batch are masked. The layer and the floor are not known of the paper.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from training.data.batch import PairBatch, SpecialTokens
from training.model.features import PairFeatures
from training.model.pair_model import PairModel
from training.model.word_maps import word_maps
from training.objectives.base import ObjectiveOutput
from training.objectives.itc import same_caption
from training.objectives.itm import draw_partners, itm_loss, partner_weights

LEAST_SPREAD = 1e-6
"""A map whose greatest and least value are closer than this says nothing: nothing is masked."""

Shape = Literal["word", "blob"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftMaskConfig:
    """Matching of pairs whose picture is softly masked."""

    floor: float = 0.25  # what is left of a patch at least, in 0..1
    max_pairs: int | None = None  # only so many pairs of the batch (None: all)
    layer: int | None = None  # of the fusion encoder, whose cross-attention is asked; None: its relevance layer
    shape: Shape = "word"  # blob: the control, the same values laid around a random patch

    def build(self, model: PairModel) -> "SoftMask":
        """The objective.

        Raises:
            ValueError: the model has no fusion encoder, or the floor is not in 0..1.
        """
        if model.fusion_encoder is None:
            raise ValueError("soft masks need a model with a fusion encoder")
        if not 0.0 <= self.floor <= 1.0:
            raise ValueError(f"floor is {self.floor}; it is in 0..1")
        return SoftMask(self, model.image_encoder.grid)


def draw_words(
    ids: Int[Tensor, "texts subwords"],
    mask: Bool[Tensor, "texts subwords"],
    special: SpecialTokens,
    *,
    hidden: Bool[Tensor, "texts subwords"] | None = None,
) -> Int[Tensor, " texts"]:
    """The position of one random word of each text.

    Uniform among the words that name something; among all words where there is none. Never padding, a special token, or
    a position of `hidden` (what was masked does not speak of the picture); a text without any word gives 0. Draws from
    torch's global generator.
    """
    is_word = mask & ~special.are_among(ids)
    if hidden is not None:
        is_word &= ~hidden
    has_content = is_word & ~torch.isin(ids, torch.tensor(special.contentless, dtype=ids.dtype, device=ids.device))
    eligible = torch.where(has_content.any(dim=1, keepdim=True), has_content, is_word)
    return torch.rand(ids.shape, device=ids.device).masked_fill(~eligible, -1.0).argmax(dim=1) * eligible.any(dim=1)


def soft_mask(relevance: Float[Tensor, "pairs patches"], *, floor: float) -> Float[Tensor, "pairs patches"]:
    """What is left of each patch: 1 where the word does not look, `floor` where it looks most, linear between.

    A row that is flat masks nothing.

    Paper: SoftMask++ (2023), the soft mask 1 - c. Differs from the paper: the floor, and the case of a flat row.
    """
    least, most = relevance.amin(dim=1, keepdim=True), relevance.amax(dim=1, keepdim=True)
    spread = most - least
    normalised = (relevance - least) / spread.clamp(min=LEAST_SPREAD)
    return 1.0 - (1.0 - floor) * torch.where(spread < LEAST_SPREAD, torch.zeros_like(normalised), normalised)


def as_blob(mask: Float[Tensor, "pairs patches"], *, grid: tuple[int, int]) -> Float[Tensor, "pairs patches"]:
    """The same values of each row, the lowest at a random patch and the others around it by distance.

    As much is taken away as by the mask, to the last value, in one round spot that no word has chosen. Draws from
    torch's global generator.
    """
    rows, columns = grid
    across, down = torch.arange(columns, device=mask.device), torch.arange(rows, device=mask.device)
    places = torch.stack([down.repeat_interleave(columns), across.repeat(rows)], dim=1).float()
    centre = places[torch.randint(len(places), (len(mask),), device=mask.device)]
    distance = (centre[:, None] - places[None]).square().sum(dim=-1)
    order = (distance + 0.5 * torch.rand_like(distance)).argsort(dim=1)  # equally far patches in random order
    return torch.empty_like(mask).scatter_(1, order, mask.sort(dim=1).values)


class SoftMask:
    """The matching objective over softly masked pictures."""

    def __init__(self, config: SoftMaskConfig, grid: tuple[int, int]) -> None:
        self.config = config
        self.grid = grid

    def __call__(self, model: PairModel, batch: PairBatch, features: PairFeatures) -> ObjectiveOutput:
        """The loss, the share judged rightly, how much the masks take away, and the share of masks that are flat."""
        count = min(len(batch.ids), self.config.max_pairs or len(batch.ids))
        mask = self._mask(model, batch, features, count)
        words, shown = features.text_tokens[:count], features.text_mask[:count]
        images = features.image_tokens[:count] * mask[..., None].to(features.image_tokens.dtype)
        rows, wrong = self._draw(batch, features, count)
        fused = model.fuse(
            torch.cat([words, words[wrong]]), torch.cat([shown, shown[wrong]]), torch.cat([images, images[rows]])
        )
        logits = model.match(fused).float()
        is_match = torch.zeros_like(logits)
        is_match[:count] = 1.0
        return ObjectiveOutput(
            loss=itm_loss(logits, is_match),
            report={
                "right": ((logits > 0) == (is_match > 0)).float().mean().detach(),
                "taken": (1 - mask).mean(),
                "flat": (mask.amin(dim=1) == 1).float().mean(),
            },
        )

    @torch.no_grad()
    def _mask(
        self, model: PairModel, batch: PairBatch, features: PairFeatures, count: int
    ) -> Float[Tensor, "pairs patches"]:
        maps = word_maps(
            model,
            features.text_tokens[:count],
            features.text_mask[:count],
            features.image_tokens[:count],
            layer=self.config.layer,
        )
        hidden = None if batch.hidden is None else batch.hidden.chosen[:count]
        chosen = draw_words(batch.ids[:count], batch.mask[:count], batch.special, hidden=hidden)
        mask = soft_mask(maps[torch.arange(count, device=maps.device), chosen], floor=self.config.floor)
        return as_blob(mask, grid=self.grid) if self.config.shape == "blob" else mask

    @torch.no_grad()
    def _draw(self, batch: PairBatch, features: PairFeatures, count: int) -> tuple[Tensor, Tensor]:
        """Pictures that have a wrong text in the batch, and a hard one for each."""
        image, text = features.image_embedding[:count].float(), features.text_embedding[:count].float()
        similarity = image @ text.T / features.temperature.float()
        return draw_partners(partner_weights(similarity, ~same_caption(batch.caption_keys[:count])))
