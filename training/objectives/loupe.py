"""LOUPE: regions of a picture and phrases of its caption, aligned by how they play together.

Paper: LOUPE (NeurIPS 2022), sections 3.2 to 3.4, over the regions of `training.model.region_head`:

    L_TSA = -1/M sum_i [ I'_i log s_i + (1 - I'_i) log(1 - s_i) ]
            I'_i: the Shapley interaction of region i's patches in the token-level game, brought to 0..1
    L_FSA = -1/(M N) sum_ij I'_ij log a_ij
            a_ij: the softmax of region i over the phrases; I'_ij: the interaction of both in the semantics-level game
    L_UNSIL = (1/sigma) (I^ - I*)^2 + beta sigma
            a network's guess I^ of the token-level interaction and its doubt sigma, against a sampled I*

The guess is taken where a uniform draw exceeds its doubt, else the interaction is sampled; in the first steps it always
is. All targets I' are constants. The contrast of whole pictures and captions, L_CMC, is `training.objectives.itc`.

Differs from the paper:
- A phrase is read as a text of its own, not as the mean of its subwords within the sentence: that is how it comes when
  it is looked for, so what is trained is what is served.
- `credit`: a region's target is the Shapley value of its patches as a team, phi([R]), in place of what that is over
  the sum of its members' values. Each patch of a small thing shows its colour and can stand in for the others, so a
  thing's interaction is no greater than any box's (docs/experiments.md has the numbers); the value is.
- The value of a region is taken over that of a random box of the same size: a larger box almost always has more,
  and without this all boxes would become the whole picture. The difference becomes a share by a sigmoid over what is
  usual in the run, not by minimum and maximum of one picture.
- The semantics-level game, which costs microseconds, is sampled, or tried out whole where players are few, and no
  network guesses it.
- The semantics-level game is played by the most confident regions and, for each phrase, the box that is most like it:
  in the beginning the most confident ones are any.
- `confidence`: every box's confidence is also trained, by the same cross-entropy, towards how much of a phrase's
  softmax over all boxes of the picture falls to it. The token-level game samples a few coalitions of a few pictures,
  which alone left confidences where they began in rows of 300 steps.
- a_ij is also taken the other way, a phrase's softmax over the regions, as the game itself does: half of L_FSA each.
- `contrast`: a phrase is told from phrases of other pictures by its best regions, and a picture's regions from its
  own by phrases of others. The paper contrasts whole pictures alone.
- `boxes`: what draws boxes tight is `training.objectives.box_game` alone: through a region's embedding they shrink to a
  point, since no patch that is left out is missed. Without it (None) they are trained through the embeddings.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from training.data.batch import PairBatch, Phrases
from training.model.features import PairFeatures
from training.model.pair_model import PairModel
from training.model.region_head import Regions, joined, pooled
from training.objectives.base import ObjectiveOutput
from training.objectives.box_game import BoxGameConfig, box_losses, draw_boxes
from training.objectives.games import SemanticsGame, pair_teams
from training.objectives.phrase_alignment import (
    PhraseTable,
    confidence_shares,
    contrast_loss,
    fsa_loss,
    phrase_table,
    relative_rows,
)
from training.objectives.shapley import MOST_PLAYERS, exact_interactions, sampled_interactions
from training.objectives.token_interactions import TokenInteractionConfig, TokenInteractions, tsa_loss


@dataclass(frozen=True, slots=True, kw_only=True)
class LoupeConfig:
    """Alignment of regions and phrases."""

    tsa: float = 1.0  # weight of L_TSA
    fsa: float = 1.0  # weight of L_FSA; 0: without
    confidence: float = 1.0  # weight of confidence by likeness to a phrase; 0: by the token-level game alone
    contrast: float = 1.0  # weight of the contrast with other pictures' phrases; 0: without
    network: float = 0.1  # weight of L_UNSIL, which trains the network alone but counts when gradients are clipped
    boxes: BoxGameConfig | None = field(default_factory=BoxGameConfig)  # None: trained through embeddings alone
    token_game: TokenInteractionConfig = field(default_factory=TokenInteractionConfig)
    semantic_images: int = 48  # pictures of a step whose semantics-level game is played
    semantic_samples: int = 16  # coalitions drawn for each region and phrase, where all are too many
    exact_players: int = 10  # of a semantics-level game all of whose coalitions are tried
    temperature: float = 0.1  # of cosines of regions and phrases
    random_interactions: bool = False  # a control: every I' is drawn at random

    def build(self, model: PairModel) -> "Loupe":
        """The objective.

        Raises:
            ValueError: the model has no region head, its image encoder reads no pixels, or `exact_players` is too many.
        """
        if model.region_head is None:
            raise ValueError("LOUPE needs a model with a region head: give ModelConfig a RegionHeadConfig")
        if self.exact_players > MOST_PLAYERS:
            raise ValueError(f"exact_players is {self.exact_players}; {MOST_PLAYERS} is the most that can be tried")
        return Loupe(self, TokenInteractions(self.token_game, model))


class Loupe:
    """The objective over a batch with phrases."""

    def __init__(self, config: LoupeConfig, token_interactions: TokenInteractions) -> None:
        self.config = config
        self.token_interactions = token_interactions

    def __call__(self, model: PairModel, batch: PairBatch, features: PairFeatures) -> ObjectiveOutput:
        """The losses of both levels, of the contrast, of the boxes and of the network.

        Raises:
            ValueError: the batch has no phrases.
        """
        if batch.phrases is None:
            raise ValueError("LOUPE learns from phrases: give the recipe's data a PhrasesConfig")
        config, phrases = self.config, batch.phrases
        every = model.regions(features.image_tokens, features.patch_embeddings)
        texts = model.encode_texts(phrases.ids, phrases.mask).embedding.float()
        if self._tries_boxes(model):
            every = replace(every, embeddings=pooled(every.membership.detach(), features.patch_embeddings))
        similarity = torch.einsum("brd,pd->bpr", every.embeddings, texts) / config.temperature
        table = phrase_table(phrases, len(batch.ids))
        head = model.region_head
        assert head is not None
        best = head.best(every)
        is_region = head.is_apart(best)
        terms: dict[str, Tensor] = {}
        report: dict[str, Tensor] = {}
        if config.contrast > 0:
            terms["contrast"] = config.contrast * contrast_loss(similarity, phrases, table)
        if self._tries_boxes(model) and self._has_begun():
            terms["boxes"], report["side"] = self._boxes(model, batch, phrases, every, similarity, texts)
        if config.fsa > 0:
            terms["fsa"] = config.fsa * self._fsa(every, best, is_region, similarity, texts, table)
        if config.confidence > 0:
            shares, is_known = confidence_shares(similarity, table)
            terms["confidence"] = config.confidence * tsa_loss(every.scores, shares, is_known)
        if config.tsa > 0:
            terms |= self._tsa(model, batch, features, best, is_region, report)
        loss = torch.stack(list(terms.values())).sum()
        return ObjectiveOutput(loss=loss, report=report | {name: term.detach() for name, term in terms.items()})

    def advance(self, model: PairModel, features: PairFeatures) -> None:
        """Count the step: the network is asked only after the first ones."""
        del model, features
        self.token_interactions.advance()

    def state_dict(self) -> dict[str, Tensor]:
        """Steps so far and what interactions are usual."""
        return self.token_interactions.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state_dict` gave."""
        self.token_interactions.load_state_dict(state)

    def _has_begun(self) -> bool:
        boxes = self.config.boxes
        return boxes is not None and int(self.token_interactions.num_steps) >= boxes.start_step

    def _tries_boxes(self, model: PairModel) -> bool:
        assert model.region_head is not None
        return self.config.boxes is not None and not model.region_head.is_fixed

    def _tsa(
        self,
        model: PairModel,
        batch: PairBatch,
        features: PairFeatures,
        best: Regions,
        is_region: Bool[Tensor, "images regions"],
        report: dict[str, Tensor],
    ) -> dict[str, Tensor]:
        if self.config.random_interactions:
            shares = torch.rand_like(best.scores)
            return {"tsa": self.config.tsa * tsa_loss(best.scores, shares, is_region)}
        found = self.token_interactions.of(model, batch, features, best, is_region)
        report |= found.report
        terms = {"tsa": self.config.tsa * tsa_loss(found.scores, found.shares, found.is_known)}
        if found.network_loss is not None:
            terms["network"] = self.config.network * found.network_loss
        return terms

    def _fsa(
        self,
        every: Regions,
        best: Regions,
        is_region: Bool[Tensor, "images regions"],
        similarity: Float[Tensor, "images phrases boxes"],
        texts: Float[Tensor, "phrases dim"],
        table: PhraseTable,
    ) -> Float[Tensor, ""]:
        """L_FSA of some pictures' semantics-level games."""
        count = min(self.config.semantic_images, len(best.scores))
        rows = torch.randperm(len(best.scores), device=texts.device)[:count]
        is_phrase = table.is_phrase[rows]
        nearest = similarity[rows[:, None], table.phrases[rows]].argmax(dim=2)
        playing = joined(best.of(rows), every.of(rows).take(nearest))
        is_playing = torch.cat([is_region[rows], is_phrase], dim=1)
        cosines = torch.einsum("brd,bnd->brn", playing.embeddings, texts[table.phrases[rows]])
        to_phrases, to_regions = relative_rows(cosines / self.config.temperature, is_playing, is_phrase)
        with torch.no_grad():
            interactions = self._pair_interactions(to_phrases.exp(), to_regions.exp(), is_playing, is_phrase)
        return fsa_loss(to_phrases, to_regions, interactions, is_playing, is_phrase)

    def _pair_interactions(
        self,
        to_phrases: Float[Tensor, "images regions phrases"],
        to_regions: Float[Tensor, "images regions phrases"],
        is_found: Bool[Tensor, "images regions"],
        is_phrase: Bool[Tensor, "images phrases"],
    ) -> Float[Tensor, "images regions phrases"]:
        """The semantics-level interaction of every region with every phrase."""
        if self.config.random_interactions:
            return torch.rand_like(to_phrases)
        images, regions, phrases = to_phrases.shape
        game = SemanticsGame(to_phrases=to_phrases, to_regions=to_regions)
        teams = pair_teams(regions, phrases).to(to_phrases.device).expand(images, -1, -1)
        players = torch.cat([is_found, is_phrase], dim=1)
        if regions + phrases <= self.config.exact_players:
            found = exact_interactions(game, teams, players)
        else:
            found = sampled_interactions(game, teams, players, num_samples=self.config.semantic_samples)
        return found.reshape(images, regions, phrases)

    def _boxes(
        self,
        model: PairModel,
        batch: PairBatch,
        phrases: Phrases,
        every: Regions,
        similarity: Float[Tensor, "images phrases boxes"],
        texts: Float[Tensor, "phrases dim"],
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """The loss, and the mean side of the boxes that were tried."""
        config = self.config.boxes
        assert config is not None
        tried = torch.randperm(len(phrases.rows), device=texts.device)[: config.pairs]
        rows = phrases.rows[tried]
        losses = box_losses(
            model,
            batch.pixels[rows],
            draw_boxes(every.boxes[rows], similarity[rows, tried]),
            texts,
            tried,
            is_same=phrases.keys[tried][:, None] == phrases.keys[None],
            temperature=self.config.temperature,
            config=config,
        )
        return losses.weighed(config), losses.side.detach().square()
