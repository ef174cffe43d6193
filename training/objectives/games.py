"""The two games that LOUPE plays with a picture and its caption.

Paper: LOUPE (NeurIPS 2022), section 3.2 (the token-level game, of patches and words) and section 3.3 (the
semantics-level game, of regions and phrases).
Differs from the paper, which leaves open where a token is hidden: a patch that does not play is painted over with the
middle of the pixels' range before the picture is encoded, and a word that does not play is not attended to by any
other. Hiding tokens behind the encoders, where all that is left is an average, would make the game linear, and every
interaction zero.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from training.data.batch import SpecialTokens
from training.model.pair_model import PairModel


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenGame:
    """What a coalition of patches and words is worth: the cosine of the picture and the caption that they leave.

    The players are the patches, row by row, and then the subwords; special ones always take part. It is played without
    gradients and in evaluation mode, many coalitions in one pass.
    """

    model: PairModel
    pixels: Float[Tensor, "games 3 height side"]
    ids: Int[Tensor, "games subwords"]
    mask: Bool[Tensor, "games subwords"]
    special: SpecialTokens
    pass_size: int = 256  # coalitions that are encoded at once

    @property
    def is_player(self) -> Bool[Tensor, "games players"]:
        """Which players there are: every patch, and every subword that is no padding and not special."""
        rows, columns = self.model.image_encoder.grid
        patches = torch.ones(len(self.ids), rows * columns, dtype=torch.bool, device=self.ids.device)
        return torch.cat([patches, self.mask & ~self._is_special()], dim=1)

    @torch.no_grad()
    def __call__(self, coalitions: Bool[Tensor, "games coalitions players"]) -> Float[Tensor, "games coalitions"]:
        """What each coalition is worth."""
        games, count = coalitions.shape[:2]
        game = torch.arange(games, device=coalitions.device).repeat_interleave(count)
        flat = coalitions.flatten(0, 1)
        was_training = self.model.training
        self.model.eval()
        try:
            parts = [
                self._values(game[at : at + self.pass_size], flat[at : at + self.pass_size])
                for at in range(0, len(flat), self.pass_size)
            ]
        finally:
            self.model.train(was_training)
        return torch.cat(parts).reshape(games, count)

    def _values(self, game: Int[Tensor, " n"], coalitions: Bool[Tensor, "n players"]) -> Float[Tensor, " n"]:
        rows, columns = self.model.image_encoder.grid
        patches, words = coalitions[:, : rows * columns], coalitions[:, rows * columns :]
        pixels = self.pixels[game]
        shown = F.interpolate(patches.reshape(-1, 1, rows, columns).to(pixels.dtype), size=pixels.shape[2:])
        image = self.model.encode_images((pixels * shown).contiguous(memory_format=torch.channels_last)).embedding
        is_special = self.mask & self._is_special()
        text = self.model.encode_texts(self.ids[game], is_special[game] | (words & self.mask[game])).embedding
        return (image.float() * text.float()).sum(dim=-1)

    def _is_special(self) -> Bool[Tensor, "games subwords"]:
        return torch.isin(self.ids, torch.tensor(self.special.all, device=self.ids.device))


@dataclass(frozen=True, slots=True, kw_only=True)
class SemanticsGame:
    """What a coalition of regions and phrases is worth: how surely each finds a partner in it.

    Paper: LOUPE (2022), section 3.3: the mean over regions of the best phrase's share of a softmax over all phrases,
    the same the other way, and the mean of both. Differs from the paper: a coalition without regions or without phrases
    is worth nothing.
    """

    to_phrases: Float[Tensor, "games regions phrases"]  # each region's softmax over the phrases
    to_regions: Float[Tensor, "games regions phrases"]  # each phrase's softmax over the regions

    def __call__(self, coalitions: Bool[Tensor, "games coalitions players"]) -> Float[Tensor, "games coalitions"]:
        """What each coalition is worth; the players are the regions and then the phrases."""
        regions = self.to_phrases.shape[1]
        with_regions, with_phrases = coalitions.float()[..., :regions], coalitions.float()[..., regions:]
        best_phrase = (self.to_phrases[:, None] * with_phrases[:, :, None]).amax(dim=3)
        best_region = (self.to_regions[:, None] * with_regions[:, :, :, None]).amax(dim=2)
        first = (best_phrase * with_regions).sum(dim=2) / with_regions.sum(dim=2).clamp(min=1)
        second = (best_region * with_phrases).sum(dim=2) / with_phrases.sum(dim=2).clamp(min=1)
        worth: Tensor = (first + second) / 2
        return worth


def pair_teams(regions: int, phrases: int) -> Bool[Tensor, "pairs players"]:
    """The teams of one region and one phrase, row by row over [regions, phrases]."""
    teams = torch.zeros(regions, phrases, regions + phrases, dtype=torch.bool)
    for region in range(regions):
        for phrase in range(phrases):
            teams[region, phrase, [region, regions + phrase]] = True
    return teams.flatten(0, 1)
