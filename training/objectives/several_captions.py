"""ITC where a picture has several captions at once: every one of them is a right answer.

Paper: ALBEF (Li et al., 2021), section 3.2, and CLIP (Radford et al., 2021); several right answers per row as in UniCL
(Yang et al., 2022).
Differs from the papers: pictures and texts are not equally many. A picture's target is shared equally by its captions;
a text's target is its picture. Where pictures are costly and texts are cheap (a frozen image network over few photos),
every caption of a photo is seen for one pass of the photo.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from training.data.batch import PairBatch
from training.model.features import PairFeatures
from training.model.pair_model import PairModel
from training.objectives.base import ObjectiveOutput


@dataclass(frozen=True, slots=True, kw_only=True)
class SeveralCaptionsConfig:
    """Contrast of pictures with all captions of the batch."""

    label_smoothing: float = 0.0  # share of the target spread evenly over all answers
    members: int = 1  # slices of the embeddings that are each contrasted on their own (`MeanHeadConfig.members`)

    def build(self, model: PairModel) -> "SeveralCaptions":
        """The objective; it needs nothing of the model."""
        return SeveralCaptions(self)


def several_captions_loss(
    image_embedding: Float[Tensor, "images dim"],
    text_embedding: Float[Tensor, "texts dim"],
    owner: Int[Tensor, " texts"],
    temperature: Float[Tensor, ""],
    *,
    label_smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Pull each image towards its own texts and away from the others, and each text towards its own image.

    `owner` names the image that each text describes; every image has at least one.

    Paper: UniCL (2022), with the batch's pictures as the labels.
    """
    scores = text_embedding @ image_embedding.T / temperature
    owned = torch.nn.functional.one_hot(owner, len(image_embedding)).to(scores.dtype)
    per_text = _smoothed_cross_entropy(scores, owned, label_smoothing)
    per_image = _smoothed_cross_entropy(scores.T, (owned / owned.sum(dim=0)).T, label_smoothing)
    return (per_text + per_image) / 2


def _smoothed_cross_entropy(
    scores: Float[Tensor, "rows columns"], targets: Float[Tensor, "rows columns"], label_smoothing: float
) -> Float[Tensor, ""]:
    targets = (1 - label_smoothing) * targets + label_smoothing / targets.shape[1]
    return -(targets * torch.log_softmax(scores, dim=1)).sum(dim=1).mean()


class SeveralCaptions:
    """The contrastive objective over pictures with several captions."""

    def __init__(self, config: SeveralCaptionsConfig) -> None:
        self.config = config

    def __call__(self, model: PairModel, batch: PairBatch, features: PairFeatures) -> ObjectiveOutput:
        """The loss, the share of texts whose own image scores best, and the temperature."""
        image, text = features.image_embedding, features.text_embedding
        owner = torch.arange(len(image), device=image.device)
        if batch.others is not None:
            others = model.encode_texts(batch.others.ids, batch.others.mask).embedding
            text, owner = torch.cat([text, others]), torch.cat([owner, batch.others.rows])
        with torch.autocast(image.device.type, enabled=False):
            image, text = image.float(), text.float()
            # Slices of a unit vector that are equally long: each is made unit length again.
            losses = [
                several_captions_loss(
                    nn.functional.normalize(of_image, dim=-1),
                    nn.functional.normalize(of_text, dim=-1),
                    owner,
                    features.temperature.float(),
                    label_smoothing=self.config.label_smoothing,
                )
                for of_image, of_text in zip(
                    image.chunk(self.config.members, dim=-1), text.chunk(self.config.members, dim=-1), strict=True
                )
            ]
            loss = torch.stack(losses).mean()
        with torch.no_grad():
            right = (text @ image.T).argmax(dim=1) == owner
        return ObjectiveOutput(
            loss=loss, report={"right": right.float().mean(), "temperature": features.temperature.detach()}
        )
