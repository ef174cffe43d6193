"""Regions and phrases side by side: L_FSA within a picture, and a contrast of phrases over the batch.

Paper: LOUPE (NeurIPS 2022), section 3.3, for `fsa_loss`. The contrast is ours.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from training.data.batch import Phrases
from training.model.transformer import MASKED


@dataclass(frozen=True, slots=True, kw_only=True)
class PhraseTable:
    """The phrases of each picture in a row."""

    phrases: Int[Tensor, "images most"]  # which of the batch's phrases; 0 where there is none
    is_phrase: Bool[Tensor, "images most"]


def phrase_table(phrases: Phrases, images: int) -> PhraseTable:
    """Sort a batch's phrases by picture."""
    rows = phrases.rows
    counts = torch.bincount(rows, minlength=images)
    place = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
    table = torch.zeros(images, int(counts.max()), dtype=torch.int64, device=rows.device)
    table[rows, place] = torch.arange(len(rows), device=rows.device)
    is_phrase = torch.arange(table.shape[1], device=rows.device) < counts[:, None]
    return PhraseTable(phrases=table, is_phrase=is_phrase)


def contrast_loss(
    similarity: Float[Tensor, "images phrases boxes"], phrases: Phrases, table: PhraseTable
) -> Float[Tensor, ""]:
    """Tell each phrase's picture from the others, and the picture's phrase from those of others.

    A phrase and a picture are as alike as the phrase and the picture's boxes are, the best counting most (the logarithm
    of the mean exponential). A picture whose caption has an equal phrase is no wrong answer, nor are the other phrases
    of the same caption.

    Args:
        similarity: cosines over the temperature.
        phrases: of the batch.
        table: the same by picture.
    """
    images, count, _ = similarity.shape
    alike = similarity.float().logsumexp(dim=2)
    is_same = phrases.keys[:, None] == phrases.keys[None]
    is_own = phrases.rows[:, None] == torch.arange(images, device=alike.device)  # [phrases, images]
    says = (is_same.float() @ is_own.float()) > 0  # whether the caption has an equal phrase
    for_phrases = alike.T.masked_fill(says & ~is_own, MASKED)
    of_own_picture = alike[phrases.rows]
    is_itself = torch.eye(count, dtype=torch.bool, device=alike.device)
    is_right_too = says.T[phrases.rows]  # [phrases, phrases]: is true of the same picture
    for_pictures = of_own_picture.masked_fill(is_right_too & ~is_itself, MASKED)
    target = torch.arange(count, device=alike.device)
    return (F.cross_entropy(for_phrases, phrases.rows) + F.cross_entropy(for_pictures, target)) / 2


def relative_rows(
    logits: Float[Tensor, "images regions phrases"],
    is_region: Bool[Tensor, "images regions"],
    is_phrase: Bool[Tensor, "images phrases"],
) -> tuple[Float[Tensor, "images regions phrases"], Float[Tensor, "images regions phrases"]]:
    """The logarithm of each region's softmax over the phrases, and of each phrase's softmax over the regions."""
    logits = logits.float()
    to_phrases = torch.log_softmax(logits.masked_fill(~is_phrase[:, None], MASKED), dim=2)
    to_regions = torch.log_softmax(logits.masked_fill(~is_region[:, :, None], MASKED), dim=1)
    return to_phrases, to_regions


def fsa_loss(
    to_phrases: Float[Tensor, "images regions phrases"],
    to_regions: Float[Tensor, "images regions phrases"],
    interactions: Float[Tensor, "images regions phrases"],
    is_region: Bool[Tensor, "images regions"],
    is_phrase: Bool[Tensor, "images phrases"],
) -> Float[Tensor, ""]:
    """Draw regions and phrases together by how they play together.

    Paper: LOUPE (2022), L_FSA. Differs from the paper: both directions of the softmax; the weights of a picture, those
    below zero at zero, sum to one over all its pairs (by region they would give a background as much say as a thing);
    a picture without any weight is left out.

    Args:
        to_phrases: logarithm of each region's softmax over the phrases.
        to_regions: of each phrase's over the regions.
        interactions: a constant; see `training.objectives.shapley`.
        is_region: which rows are regions.
        is_phrase: which columns are phrases.
    """
    is_pair = is_region[:, :, None] & is_phrase[:, None]
    weights = torch.where(is_pair, interactions.detach().clamp(min=0.0), 0.0)
    totals = weights.sum(dim=(1, 2))
    shares = weights / totals.clamp(min=1e-6)[:, None, None]
    losses = -(shares * torch.where(is_pair, to_phrases + to_regions, 0.0)).sum(dim=(1, 2)) / 2
    return losses.sum() / (totals > 1e-6).sum().clamp(min=1)


def confidence_shares(
    similarity: Float[Tensor, "images phrases boxes"], table: PhraseTable
) -> tuple[Float[Tensor, "images boxes"], Bool[Tensor, "images boxes"]]:
    """What each box has of the phrase that it has most of, beside the box of its picture that has most: 0..1.

    Ours; the targets of a confidence's cross-entropy, and which of them are known: those of pictures with a phrase.

    Args:
        similarity: of every picture's boxes with all phrases of the batch, cosines over the temperature.
        table: the phrases of each picture.
    """
    pictures = torch.arange(len(similarity), device=similarity.device)[:, None]
    own = torch.softmax(similarity[pictures, table.phrases].detach().float(), dim=2)
    most = torch.where(table.is_phrase[:, :, None], own, 0.0).amax(dim=1)
    is_known = table.is_phrase.any(dim=1, keepdim=True).expand_as(most)
    return most / most.amax(dim=1, keepdim=True).clamp(min=1e-6), is_known
