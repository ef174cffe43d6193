"""Region head: a box around every patch and how sure it is, and the few best boxes as regions with embeddings.

Paper: LOUPE (NeurIPS 2022), semantic region generation: per patch token a width, a height and a confidence, the most
confident boxes are the regions, and a region's embedding is the average of the patches in it.
Differs from the paper: a patch belongs to a box softly, with a sigmoid over its distance from the border, so that what
is done with a region's embedding trains the box's sides (with hard crops nothing would); a box's middle may lie up to
one patch beside its patch's; the patches that are averaged are those of the joint space, so that a region is compared
with texts directly; a box that overlaps a more confident one is passed over, or all regions would be one thing.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from training.model.transformer import LAYER_NORM_EPS, initialise

OVERLAPPED = 1e4
"""Taken from the score of a box that overlaps a more confident one: such boxes come last, where boxes are too few."""

GAIN = 2.0
"""What the last layer's outputs are multiplied by. Boxes begin from one size and one place, beside encoders that are
trained already; at the rate that is right for those they would hardly leave it in a few hundred steps."""

_LEAST_AREA = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionHeadConfig:
    """Boxes from patch tokens."""

    regions: int = 10  # how many of the boxes are kept
    hidden: int = 96  # width of the hidden layer
    least_side: float = 0.5  # of a box, in patches
    first_side: float = 2.0  # of every box before training, in patches
    softness: float = 0.25  # of a box's border, in patches: the paper's crop is at 0
    most_overlap: float = 0.4  # intersection over union with a more confident box from which a box is passed over
    fixed_side: float | None = None  # every box is this many patches wide and high, around its patch; None: learned

    def build(self, width: int, grid: tuple[int, int]) -> "RegionHead":
        """A fresh head (random weights from torch's global generator).

        Raises:
            ValueError: the grid has fewer patches than regions are to be kept.
        """
        if grid[0] * grid[1] < self.regions:
            raise ValueError(f"a grid of {grid[0]} x {grid[1]} patches has no {self.regions} regions; keep fewer")
        return RegionHead(self, width, grid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Regions:
    """Boxes of a batch of pictures: one for every patch, or the best few."""

    boxes: Float[Tensor, "images regions 4"]  # x0, y0, x1, y1 in fractions of the picture; may stick out of it
    scores: Float[Tensor, "images regions"]  # logits of the confidence
    membership: Float[Tensor, "images regions patches"]  # how far each patch belongs to the box, 0..1
    embeddings: Float[Tensor, "images regions dim"]  # unit length, in the joint space

    def of(self, images: Int[Tensor, " some"]) -> "Regions":
        """The regions of some pictures."""
        return Regions(
            boxes=self.boxes[images],
            scores=self.scores[images],
            membership=self.membership[images],
            embeddings=self.embeddings[images],
        )

    def take(self, chosen: Int[Tensor, "images chosen"]) -> "Regions":
        """Only the chosen ones of each picture, in that order."""
        return Regions(
            boxes=_take(self.boxes, chosen),
            scores=self.scores.gather(1, chosen),
            membership=_take(self.membership, chosen),
            embeddings=_take(self.embeddings, chosen),
        )


def joined(first: Regions, second: Regions) -> Regions:
    """The regions of both, picture by picture."""
    return Regions(
        boxes=torch.cat([first.boxes, second.boxes], dim=1),
        scores=torch.cat([first.scores, second.scores], dim=1),
        membership=torch.cat([first.membership, second.membership], dim=1),
        embeddings=torch.cat([first.embeddings, second.embeddings], dim=1),
    )


class RegionHead(nn.Module):
    """Patch tokens to boxes, and boxes to regions."""

    def __init__(self, config: RegionHeadConfig, width: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.config = config
        self.grid = grid
        self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.hidden = nn.Linear(width, config.hidden)
        self.predict = nn.Linear(config.hidden, 5)  # width, height, middle's x and y, confidence
        initialise(self)
        nn.init.normal_(self.predict.weight, std=1e-2 / GAIN)
        rows, columns = grid
        self.register_buffer("centres", _centres(rows, columns), persistent=False)  # x, y of each patch, fractions
        self.register_buffer("patch", torch.tensor([1 / columns, 1 / rows]), persistent=False)
        self.register_buffer("first", _first_sides(config, grid), persistent=False)
        self.centres: Tensor
        self.patch: Tensor
        self.first: Tensor

    @property
    def is_fixed(self) -> bool:
        """Whether all boxes have one size and lie on their patches."""
        return self.config.fixed_side is not None

    def forward(
        self,
        patch_tokens: Float[Tensor, "images patches width"],
        patch_embeddings: Float[Tensor, "images patches dim"],
    ) -> Regions:
        """The box of every patch, with the embedding of what lies in it."""
        found = GAIN * self.predict(F.gelu(self.hidden(self.norm(patch_tokens)))).float()
        sides, middles = self._sides(found[..., 0:2]), self._middles(found[..., 2:4])
        membership = self.membership(middles, sides)
        return Regions(
            boxes=torch.cat([middles - sides / 2, middles + sides / 2], dim=-1),
            scores=found[..., 4],
            membership=membership,
            embeddings=pooled(membership, patch_embeddings),
        )

    def membership(
        self, middles: Float[Tensor, "images boxes 2"], sides: Float[Tensor, "images boxes 2"]
    ) -> Float[Tensor, "images boxes patches"]:
        """How far each patch belongs to boxes: a sigmoid over how deep its middle lies in the box, in x times in y."""
        away = (self.centres - middles[:, :, None]).abs()
        inside = torch.sigmoid((sides[:, :, None] / 2 - away) / (self.config.softness * self.patch))
        return inside[..., 0] * inside[..., 1]

    def best(self, regions: Regions) -> Regions:
        """The most confident boxes that do not overlap a more confident one, most confident first."""
        overlapped = is_overlapped(regions.boxes.clamp(0, 1), regions.scores, most=self.config.most_overlap)
        ranked = regions.scores - OVERLAPPED * overlapped.to(regions.scores.dtype)
        return regions.take(ranked.topk(self.config.regions, dim=1).indices)

    @torch.no_grad()
    def is_apart(self, best: Regions) -> Bool[Tensor, "images regions"]:
        """Which of the best boxes overlap no more confident one; the others only fill up their number."""
        return ~is_overlapped(best.boxes.clamp(0, 1), best.scores, most=self.config.most_overlap)

    def _sides(self, raw: Float[Tensor, "images patches 2"]) -> Float[Tensor, "images patches 2"]:
        if self.config.fixed_side is not None:
            return (self.config.fixed_side * self.patch).expand(raw.shape)
        least = self.config.least_side * self.patch
        return least + (1 - least) * torch.sigmoid(raw + self.first)

    def _middles(self, raw: Float[Tensor, "images patches 2"]) -> Float[Tensor, "images patches 2"]:
        if self.config.fixed_side is not None:
            return self.centres.expand(raw.shape)
        return (self.centres + self.patch * torch.tanh(raw)).clamp(0, 1)


def pooled(
    membership: Float[Tensor, "images regions patches"], patch_embeddings: Float[Tensor, "images patches dim"]
) -> Float[Tensor, "images regions dim"]:
    """The average of the patches in each region, of unit length.

    Paper: LOUPE (2022): average pooling. Differs from the paper: weighted by the soft membership.
    """
    return F.normalize(membership @ patch_embeddings.float(), dim=-1)


def is_overlapped(
    boxes: Float[Tensor, "images boxes 4"], scores: Float[Tensor, "images boxes"], *, most: float
) -> Tensor:
    """Whether a more confident box overlaps each by more than `most`: bool [images, boxes]; of equals the first wins.

    All pairs are compared at once, so that the graph has no loop: a box may be passed over for one that is passed over
    itself.
    """
    place = torch.arange(boxes.shape[1], device=boxes.device)
    above, below = scores[:, None, :], scores[:, :, None]
    is_better = (above > below) | ((above == below) & (place[None, :] < place[:, None]))
    return ((overlaps(boxes, boxes) > most) & is_better).any(dim=2)


def overlaps(
    first: Float[Tensor, "images boxes 4"], second: Float[Tensor, "images others 4"]
) -> Float[Tensor, "images boxes others"]:
    """Intersection over union of each box with each of the others."""
    a, b = first[:, :, None], second[:, None]
    common = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(dim=-1)
    areas = [(box[..., 2:] - box[..., :2]).prod(dim=-1) for box in (a, b)]
    return common / (areas[0] + areas[1] - common).clamp(min=_LEAST_AREA)


def _take(
    values: Float[Tensor, "images regions size"], chosen: Int[Tensor, "images chosen"]
) -> Float[Tensor, "images chosen size"]:
    return values.gather(1, chosen[..., None].expand(-1, -1, values.shape[-1]))


def _centres(rows: int, columns: int) -> Float[Tensor, "patches 2"]:
    y, x = torch.meshgrid((torch.arange(rows) + 0.5) / rows, (torch.arange(columns) + 0.5) / columns, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], dim=-1)


def _first_sides(config: RegionHeadConfig, grid: tuple[int, int]) -> Float[Tensor, " 2"]:
    """What is added to the raw width and height so that boxes begin with `first_side`."""
    patch = torch.tensor([1 / grid[1], 1 / grid[0]])
    least, first = config.least_side * patch, config.first_side * patch
    return torch.logit(((first - least) / (1 - least)).clamp(0.01, 0.99))
