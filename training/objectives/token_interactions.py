"""How regions play in the token-level game: sampled, or guessed by a network that is sure enough.

Paper: LOUPE (NeurIPS 2022), sections 3.2 and 3.4; see `training.objectives.loupe` for the formulas and differences.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from training.data.batch import PairBatch
from training.model.features import PairFeatures
from training.model.pair_model import PairModel
from training.model.region_head import Regions, pooled
from training.objectives.games import TokenGame
from training.objectives.shapley import sampled_interactions, sampled_values

_REMEMBERED = 0.95  # share of the running averages that stays at each step
_LEAST_SPREAD = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenInteractionConfig:
    """How much of the game is played at each step."""

    images: int = 4  # pictures of a step of whose regions interactions may be sampled
    guessed_images: int = 16  # more of them, of whose regions interactions are taken where the network is sure
    samples: int = 2  # coalitions drawn for each region
    credit: Literal["value", "interaction"] = "value"  # phi([R]), or what it is over its members' (the paper's)
    member: float = 0.3  # membership from which a patch is in its region's team
    always_sampled_steps: int = 40  # in the first so many steps the network is not believed
    doubt_weight: float = 4.0  # beta, in variances of what is sampled: at 4 a doubt is half of the expected error


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenTargets:
    """What regions' confidences are trained towards."""

    scores: Float[Tensor, "images regions"]  # the regions' own logits
    shares: Float[Tensor, "images regions"]  # I', 0..1; a constant
    is_known: Bool[Tensor, "images regions"]
    network_loss: Float[Tensor, ""] | None
    report: Mapping[str, Tensor]


def tsa_loss(
    scores: Float[Tensor, "images regions"],
    shares: Float[Tensor, "images regions"],
    is_known: Bool[Tensor, "images regions"],
) -> Float[Tensor, ""]:
    """Cross-entropy of the confidences with the interactions; the mean over regions whose interaction is known.

    Paper: LOUPE (2022), L_TSA.
    """
    losses = F.binary_cross_entropy_with_logits(scores.float(), shares.detach(), reduction="none")
    return torch.where(is_known, losses, 0.0).sum() / is_known.sum().clamp(min=1)


def unsil_loss(
    guess: Float[Tensor, " sampled"], doubt: Float[Tensor, " sampled"], sampled: Float[Tensor, " sampled"], beta: float
) -> Float[Tensor, ""]:
    """(1/sigma) (I^ - I*)^2 + beta sigma; the mean. Least where sigma is |I^ - I*| over the root of beta.

    Paper: LOUPE (2022), L_UNSIL. The doubt is held above zero by the network.
    """
    if len(guess) == 0:
        return guess.sum() + doubt.sum()
    return ((guess - sampled.detach()).square() / doubt + beta * doubt).mean()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Items:
    """Boxes whose interaction is asked for: the regions of some pictures, then as many random boxes of their sizes."""

    rows: Int[Tensor, " pictures"]
    membership: Float[Tensor, "pictures boxes patches"]
    boxes: Float[Tensor, "pictures boxes 4"]
    embeddings: Float[Tensor, "pictures boxes dim"]
    is_box: Bool[Tensor, "pictures boxes"]


class TokenInteractions:
    """The game over the steps of a run: what is usual in it, and how often it was played."""

    def __init__(self, config: TokenInteractionConfig, model: PairModel) -> None:
        """Start a run.

        Raises:
            ValueError: the model's image encoder does not read pixels, so no patch can be hidden.
        """
        if not hasattr(model.image_encoder, "stem") and not hasattr(model.image_encoder, "tower"):
            raise ValueError("LOUPE hides patches of the pixels; take an image encoder that reads pixels")
        self.config = config
        self.num_steps = torch.zeros((), dtype=torch.int64)
        self.spread = torch.zeros(2)  # mean squares: of interactions, and of their difference from random boxes'
        self._seen: dict[int, Tensor] = {}  # the same of this step

    def advance(self) -> None:
        """Count the step, and take what it has seen into what is usual."""
        self.num_steps += 1
        for which, now in self._seen.items():
            before = self.spread[which]
            self.spread[which] = now if before == 0 else _REMEMBERED * before + (1 - _REMEMBERED) * now
        self._seen.clear()

    def state_dict(self) -> dict[str, Tensor]:
        """The count, and what is usual."""
        return {"num_steps": self.num_steps, "spread": self.spread}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state_dict` gave."""
        self.num_steps, self.spread = state["num_steps"].clone(), state["spread"].clone()

    def of(
        self,
        model: PairModel,
        batch: PairBatch,
        features: PairFeatures,
        best: Regions,
        is_region: Bool[Tensor, "images regions"],
    ) -> TokenTargets:
        """The targets of some pictures' regions, and the network's loss where the model has one."""
        network = model.interaction_network
        wanted = self.config.images + (self.config.guessed_images if network is not None else 0)
        rows = torch.randperm(len(batch.ids), device=best.scores.device)[:wanted]
        items = self._items(model, features, best, is_region, rows)
        is_sampled = items.is_box & (torch.arange(len(rows), device=rows.device) < self.config.images)[:, None]
        is_known, guess, doubt = is_sampled, None, None
        if network is not None:
            guess, doubt = network(
                items.embeddings, items.boxes, features.image_embedding[rows], features.text_embedding[rows]
            )
            is_sure = (torch.rand_like(doubt) > doubt) & items.is_box
            is_sure &= int(self.num_steps) >= self.config.always_sampled_steps
            is_sampled = is_sampled & ~is_sure
            is_known = is_sampled | is_sure
        sampled = self._sample(model, batch, items, is_sampled)
        scale = self._usual(0, sampled[is_sampled])
        values = sampled / scale
        loss: Tensor | None = None
        if guess is not None and doubt is not None:
            loss = unsil_loss(guess[is_sampled], doubt[is_sampled], values[is_sampled], self.config.doubt_weight)
            values = torch.where(is_sampled, values, guess.detach())
        regions = best.scores.shape[1]
        above = values[:, :regions] - values[:, regions:]
        known = is_known[:, :regions] & is_known[:, regions:]
        usual = self._usual(1, above[known])
        return TokenTargets(
            scores=best.scores[rows],
            shares=torch.sigmoid(above / usual),
            is_known=known,
            network_loss=loss,
            report=self._report(items, is_sampled, sampled, guess, doubt, scale),
        )

    def _items(
        self,
        model: PairModel,
        features: PairFeatures,
        best: Regions,
        is_region: Bool[Tensor, "images regions"],
        rows: Int[Tensor, " pictures"],
    ) -> _Items:
        """The regions of some pictures, and for each a box of its size anywhere in the picture."""
        head = model.region_head
        assert head is not None
        with torch.no_grad():
            boxes = best.boxes[rows]
            sides = (boxes[..., 2:] - boxes[..., :2]).clamp(max=1.0)
            middles = sides / 2 + (1 - sides) * torch.rand_like(sides)
            elsewhere = head.membership(middles, sides)
            there = pooled(elsewhere, features.patch_embeddings[rows])
            return _Items(
                rows=rows,
                membership=torch.cat([best.membership[rows], elsewhere], dim=1),
                boxes=torch.cat([boxes, torch.cat([middles - sides / 2, middles + sides / 2], dim=-1)], dim=1),
                embeddings=torch.cat([best.embeddings[rows], there], dim=1),
                is_box=is_region[rows].repeat(1, 2),
            )

    @torch.no_grad()
    def _sample(
        self, model: PairModel, batch: PairBatch, items: _Items, is_sampled: Bool[Tensor, "pictures boxes"]
    ) -> Float[Tensor, "pictures boxes"]:
        """The sampled interaction of the boxes that are asked for; zero for the others."""
        found = torch.zeros(is_sampled.shape, device=is_sampled.device)
        picture, _ = is_sampled.nonzero(as_tuple=True)
        if len(picture) == 0:
            return found
        rows = items.rows[picture]
        game = TokenGame(
            model=model, pixels=batch.pixels[rows], ids=batch.ids[rows], mask=batch.mask[rows], special=batch.special
        )
        members = items.membership[is_sampled] >= self.config.member
        teams = F.pad(members, (0, batch.ids.shape[1]))[:, None]
        sample = sampled_values if self.config.credit == "value" else sampled_interactions
        values = sample(game, teams, game.is_player, num_samples=self.config.samples)
        found[is_sampled] = values[:, 0]
        return found

    def _usual(self, which: int, values: Float[Tensor, " n"]) -> float:
        """The root mean square so far; in the first step, of these values."""
        if len(values):
            self._seen[which] = values.detach().float().square().mean().cpu()
        usual = self.spread[which] if self.spread[which] > 0 else self._seen.get(which, torch.zeros(()))
        return float(usual.clamp(min=_LEAST_SPREAD**2).sqrt())

    def _report(
        self,
        items: _Items,
        is_sampled: Bool[Tensor, "pictures boxes"],
        sampled: Float[Tensor, "pictures boxes"],
        guess: Float[Tensor, "pictures boxes"] | None,
        doubt: Float[Tensor, "pictures boxes"] | None,
        scale: float,
    ) -> dict[str, Tensor]:
        report = {"interaction": sampled[is_sampled].mean() if is_sampled.any() else torch.zeros(())}
        if guess is None or doubt is None:
            return report
        could = items.is_box[: self.config.images]
        skipped = 1 - is_sampled[: self.config.images].sum() / could.sum().clamp(min=1)
        both = torch.stack([guess.detach()[is_sampled], sampled[is_sampled] / scale])
        enough = both.shape[1] > 2 and bool((both.std(dim=1) > 0).all())
        return report | {
            "skipped": skipped,
            "doubt": doubt.detach()[items.is_box].mean(),
            "correlation": torch.corrcoef(both)[0, 1] if enough else torch.zeros(()),
        }
