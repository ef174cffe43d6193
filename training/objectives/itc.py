"""ITC: image-text contrast over the batch, and over a queue of past pairs where there is a momentum model.

Papers: ALBEF (Li et al., 2021), section 3.2 and equation 6, and CLIP (Radford et al., 2021); the focal factor of
SoftMask++ (Park & Han, 2023) where a gamma is configured.
Differs from the papers: equal captions are all right answers, in the batch and in the queue (a caption grammar writes
the same sentence for many pictures, and calling those wrong teaches noise); an edited caption is one more wrong text
for the picture whose caption was edited; a query that the source knows to be true of several pictures of the batch has
all of them for right answers; without momentum it is plain contrast over the batch.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from training.data.batch import PairBatch
from training.distributed import gather_keys, gather_with_gradient, own_rows
from training.model.features import PairFeatures
from training.model.momentum import MomentumConfig, MomentumModel
from training.model.pair_model import PairModel
from training.model.transformer import MASKED
from training.objectives.base import ObjectiveOutput
from training.objectives.queue import Candidates, PairQueue

_LEAST_DOUBT = 1e-6
"""1 - p is taken to be at least this: a root of zero has no slope."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItcConfig:
    """Contrast over the batch."""

    focal_gamma: float = 0.0  # how much less what is already easy counts: SoftMask++'s focal contrast; 0: plain
    label_smoothing: float = 0.0  # share of the target spread evenly over all columns
    use_edits: bool = False  # an edited caption of the batch is one more wrong text for its own picture
    momentum: MomentumConfig | None = None  # targets and candidates by a slow copy; None: plain contrast
    queue_size: int = 0  # past pairs that are candidates too; a multiple of the pairs of a step; needs momentum

    def build(self, model: PairModel, momentum: MomentumModel | None = None) -> "Itc":
        """The objective.

        Raises:
            ValueError: momentum is configured and not given, a queue is asked for without it, or gamma is negative.
        """
        if (self.momentum is None) != (momentum is None):
            raise ValueError("ITC with momentum needs the momentum model, and without it none")
        if self.focal_gamma < 0:
            raise ValueError(f"focal_gamma is {self.focal_gamma}; it is at least 0")
        if self.queue_size and momentum is None:
            raise ValueError("a queue holds embeddings of a momentum model: give ItcConfig a MomentumConfig too")
        return Itc(self, model, momentum)


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftTargets:
    """What the momentum model takes the right answers to be."""

    image_to_text: Float[Tensor, "pairs candidates"]  # rows that sum to one
    text_to_image: Float[Tensor, "pairs candidates"]  # likewise
    share: float  # of the target; the rest is the right answers


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongTexts:
    """Texts that are wrong for one picture each."""

    embedding: Float[Tensor, "wrong dim"]  # unit length
    rows: Int[Tensor, " wrong"]  # whose picture each is wrong for


def same_caption(caption_keys: Int[Tensor, " pairs"]) -> Bool[Tensor, "pairs pairs"]:
    """Which pairs have equal captions; the diagonal is always true."""
    return caption_keys[:, None] == caption_keys[None, :]


def itc_loss(
    image_embedding: Float[Tensor, "pairs dim"],
    text_embedding: Float[Tensor, "pairs dim"],
    temperature: Float[Tensor, ""],
    caption_keys: Int[Tensor, " pairs"],
    *,
    candidates: Candidates | None = None,
    soft_targets: SoftTargets | None = None,
    wrong_texts: WrongTexts | None = None,
    true_of: Bool[Tensor, "pairs candidates"] | None = None,
    pictured: Bool[Tensor, "pairs candidates"] | None = None,
    focal_gamma: float = 0.0,
    label_smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Pull each image towards its own text and away from the other texts, and each text likewise.

    Row i of both inputs belongs to the same pair. The right answers of row i are all candidates with the same caption
    key, in equal shares. Without `candidates` the pairs themselves are compared with each other. `wrong_texts` are
    compared with their own pictures alone: nothing is known of the others.

    Where more is known, `true_of` says of which candidate pictures a text is true as well: those are right answers too.
    `pictured` says the same of a picture and the candidate texts: short queries that are true of a picture are no right
    answer to what it shows, and no wrong one either, so they are left out.

    With `focal_gamma` each term -y log p is multiplied by (1 - p)^gamma, p being the softmax over all candidates: pairs
    that are told apart already count less. The factor is not held constant: its gradient counts, as in Focal Loss.

    Papers: ALBEF (2021), equations 1 and 6; SoftMask++ (2023), focal ITC. Differs from the papers: several right
    answers, wrong texts.
    """
    if candidates is None:
        candidates = Candidates(image=image_embedding, text=text_embedding, caption_keys=caption_keys)
    targets = (caption_keys[:, None] == candidates.caption_keys[None, :]).to(image_embedding.dtype)
    image_scores = image_embedding @ candidates.text.T / temperature
    text_scores = text_embedding @ candidates.image.T / temperature
    if pictured is not None:
        image_scores = image_scores.masked_fill(pictured & (targets == 0), MASKED)
    for_images = targets / targets.sum(dim=1, keepdim=True)
    for_texts = for_images
    if true_of is not None:
        targets = targets.masked_fill(true_of, 1.0)
        for_texts = targets / targets.sum(dim=1, keepdim=True)
    if soft_targets is not None:
        for_images = torch.lerp(for_images, soft_targets.image_to_text, soft_targets.share)
        for_texts = torch.lerp(for_texts, soft_targets.text_to_image, soft_targets.share)
    for_images, for_texts = _smoothed(for_images, label_smoothing), _smoothed(for_texts, label_smoothing)
    if wrong_texts is not None:
        scores = _wrong_scores(image_embedding, wrong_texts) / temperature
        image_scores = torch.cat([image_scores, scores], dim=1)
        for_images = torch.cat([for_images, torch.zeros_like(scores)], dim=1)
    losses = (
        _cross_entropy(image_scores, for_images, focal_gamma),
        _cross_entropy(text_scores, for_texts, focal_gamma),
    )
    return (losses[0] + losses[1]) / 2


def _smoothed(targets: Float[Tensor, "rows columns"], label_smoothing: float) -> Float[Tensor, "rows columns"]:
    return (1 - label_smoothing) * targets + label_smoothing / targets.shape[1] if label_smoothing else targets


def _wrong_scores(image_embedding: Float[Tensor, "pairs dim"], wrong: WrongTexts) -> Float[Tensor, "pairs wrong"]:
    own = torch.arange(len(image_embedding), device=wrong.rows.device)[:, None] == wrong.rows[None, :]
    return (image_embedding @ wrong.embedding.T).masked_fill(~own, MASKED)


def _cross_entropy(
    scores: Float[Tensor, "rows columns"], targets: Float[Tensor, "rows columns"], focal_gamma: float
) -> Float[Tensor, ""]:
    log_shares = torch.log_softmax(scores, dim=1)
    if focal_gamma > 0.0:
        log_shares = log_shares * (-torch.expm1(log_shares)).clamp(min=_LEAST_DOUBT) ** focal_gamma
    return -(targets * log_shares).sum(dim=1).mean()


class Itc:
    """The contrastive objective over a batch."""

    def __init__(self, config: ItcConfig, model: PairModel, momentum: MomentumModel | None) -> None:
        self.config = config
        self.momentum = momentum
        self.queue = PairQueue(config.queue_size, model.config.dim, device=model.temperature_logit.device)

    def __call__(self, model: PairModel, batch: PairBatch, features: PairFeatures) -> ObjectiveOutput:
        """The loss, the share of images whose own text is the best of the batch, the temperature, the queue's fill."""
        with torch.autocast(features.image_embedding.device.type, enabled=False):
            image, text = features.image_embedding.float(), features.text_embedding.float()
            temperature = features.temperature.float()
            if self.momentum is None:
                candidates, soft_targets = _whole_batch(image, text, batch), None
            else:
                candidates, soft_targets = self._slow(self.momentum, batch, temperature)
            wrong_texts = self._wrong_texts(batch, features)
            loss = itc_loss(
                image,
                text,
                temperature,
                batch.caption_keys,
                candidates=candidates,
                soft_targets=soft_targets,
                wrong_texts=wrong_texts,
                true_of=_among(batch.true_of, candidates),
                pictured=_among(None if batch.true_of is None else batch.true_of.T, candidates),
                focal_gamma=self.config.focal_gamma,
                label_smoothing=self.config.label_smoothing,
            )
        report = {"right": _share_right(image, text, batch), "temperature": temperature.detach()}
        if wrong_texts is not None:
            report["edits_right"] = _share_above(image, text, wrong_texts)
        if self.config.queue_size:
            report["queue"] = torch.tensor(self.queue.num_filled / self.config.queue_size)
        return ObjectiveOutput(loss=loss, report=report)

    def advance(self, model: PairModel, features: PairFeatures) -> None:
        """Let the step's pairs into the queue."""
        if self.config.queue_size:
            self.queue.advance()

    def state_dict(self) -> dict[str, Tensor]:
        """The queue, where there is one."""
        return self.queue.state_dict() if self.config.queue_size else {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state_dict` gave."""
        if self.config.queue_size:
            self.queue.load_state_dict(state)

    @torch.no_grad()
    def _slow(
        self, momentum: MomentumModel, batch: PairBatch, temperature: Tensor
    ) -> tuple[Candidates, SoftTargets | None]:
        """The momentum model's candidates of the whole step and the queue, and what it thinks of them."""
        slow = momentum.pairs(batch)
        image, text = slow.image_embedding.float(), slow.text_embedding.float()
        candidates = Candidates(
            image=gather_keys(image), text=gather_keys(text), caption_keys=gather_keys(batch.caption_keys)
        )
        if self.config.queue_size:
            candidates = self.queue.behind(candidates)
        if momentum.soft_share == 0.0:
            return candidates, None
        return candidates, SoftTargets(
            image_to_text=torch.softmax(image @ candidates.text.T / temperature, dim=1),
            text_to_image=torch.softmax(text @ candidates.image.T / temperature, dim=1),
            share=momentum.soft_share,
        )

    def _wrong_texts(self, batch: PairBatch, features: PairFeatures) -> WrongTexts | None:
        if not self.config.use_edits or batch.edits is None or features.edited is None:
            return None
        return WrongTexts(embedding=features.edited.embedding.float(), rows=batch.edits.rows)


def _whole_batch(image: Tensor, text: Tensor, batch: PairBatch) -> Candidates:
    return Candidates(
        image=gather_with_gradient(image),
        text=gather_with_gradient(text),
        caption_keys=gather_keys(batch.caption_keys),
    )


def _among(known: Bool[Tensor, "pairs pairs"] | None, candidates: Candidates) -> Bool[Tensor, "pairs all"] | None:
    """What is known of a process's own pairs, among the candidates of all; nothing is known of the others."""
    if known is None:
        return None
    found = torch.zeros(len(known), len(candidates.caption_keys), dtype=torch.bool, device=known.device)
    found[:, own_rows(len(known))] = known
    return found


@torch.no_grad()
def _share_right(image: Tensor, text: Tensor, batch: PairBatch) -> Float[Tensor, ""]:
    best = (image @ text.T).argmax(dim=1)
    return (batch.caption_keys[best] == batch.caption_keys).float().mean()


@torch.no_grad()
def _share_above(image: Tensor, text: Tensor, wrong: WrongTexts) -> Float[Tensor, ""]:
    """How often a picture is nearer to its caption than to the edited one."""
    own, edited = (image * text).sum(dim=1)[wrong.rows], (image[wrong.rows] * wrong.embedding).sum(dim=1)
    return (own > edited).float().mean()
