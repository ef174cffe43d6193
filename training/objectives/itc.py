"""ITC: image-text contrast over the batch.

Paper: ALBEF (Li et al., 2021), section 3.2, and CLIP (Radford et al., 2021).
Differs from the paper: no momentum targets and no queue; equal captions are all right answers (a caption grammar writes
the same sentence for many pictures, and calling those wrong teaches noise); optional edited captions are extra wrong
texts for the picture whose caption was edited.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from training.data.batch import PairBatch
from training.model.features import PairFeatures
from training.model.pair_model import PairModel
from training.objectives.base import ObjectiveOutput


@dataclass(frozen=True, slots=True, kw_only=True)
class ItcConfig:
    """Contrast over the batch."""

    label_smoothing: float = 0.0  # share of the target spread evenly over all columns
    use_edits: bool = False  # edited captions of the batch, when it has them, are more wrong texts for every picture

    def build(self, model: PairModel) -> "Itc":
        """The objective; it needs nothing of the model."""
        return Itc(self)


def same_caption(caption_keys: Int[Tensor, " pairs"]) -> Bool[Tensor, "pairs pairs"]:
    """Which pairs have equal captions; the diagonal is always true."""
    return caption_keys[:, None] == caption_keys[None, :]


def itc_loss(
    image_embedding: Float[Tensor, "pairs dim"],
    text_embedding: Float[Tensor, "pairs dim"],
    temperature: Float[Tensor, ""],
    caption_keys: Int[Tensor, " pairs"],
    *,
    label_smoothing: float = 0.0,
    extra_texts: Float[Tensor, "extra dim"] | None = None,
) -> Float[Tensor, ""]:
    """Pull each image towards its own text and away from the other texts, and each text likewise.

    Row i of both inputs belongs to the same pair. The right answers of row i are all columns with the same caption key,
    in equal shares. `extra_texts` are wrong for every image.

    Paper: ALBEF (2021), section 3.2, the in-batch part. Differs from the paper: several right answers.
    """
    text_scores = text_embedding @ image_embedding.T / temperature
    candidates = text_embedding if extra_texts is None else torch.cat([text_embedding, extra_texts])
    image_scores = image_embedding @ candidates.T / temperature
    targets = same_caption(caption_keys).to(text_scores.dtype)
    targets = targets / targets.sum(dim=1, keepdim=True)
    wrong = targets.new_zeros(len(targets), image_scores.shape[1] - len(targets))
    image_targets = torch.cat([targets, wrong], dim=1)
    return (
        _soft_cross_entropy(image_scores, image_targets, label_smoothing)
        + _soft_cross_entropy(text_scores, targets, label_smoothing)
    ) / 2


def _soft_cross_entropy(
    scores: Float[Tensor, "rows columns"], targets: Float[Tensor, "rows columns"], label_smoothing: float
) -> Float[Tensor, ""]:
    if label_smoothing:
        targets = (1 - label_smoothing) * targets + label_smoothing / targets.shape[1]
    return -(targets * torch.log_softmax(scores, dim=1)).sum(dim=1).mean()


class Itc:
    """The contrastive objective over a batch."""

    def __init__(self, config: ItcConfig) -> None:
        self.config = config

    def __call__(self, model: PairModel, batch: PairBatch, features: PairFeatures) -> ObjectiveOutput:
        """The loss, the share of images whose own text scores best, and the temperature."""
        extra: Tensor | None = None
        if self.config.use_edits and batch.edits is not None:
            extra = model.encode_texts(batch.edits.ids, batch.edits.mask).embedding.float()
        with torch.autocast(features.image_embedding.device.type, enabled=False):
            image, text = features.image_embedding.float(), features.text_embedding.float()
            loss = itc_loss(
                image,
                text,
                features.temperature.float(),
                batch.caption_keys,
                label_smoothing=self.config.label_smoothing,
                extra_texts=extra,
            )
        with torch.no_grad():
            best = (image @ text.T).argmax(dim=1)
            right = batch.caption_keys[best] == batch.caption_keys
        return ObjectiveOutput(
            loss=loss, report={"right": right.float().mean(), "temperature": features.temperature.detach()}
        )
