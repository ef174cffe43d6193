"""Augmentation: distorted pictures and masked texts, as far as the captions stay true.

Paper: SoftMask++ (Park & Han, CVPR 2023), multi-modal data augmentation: the masked text is what every objective reads,
and pictures are distorted on top.
Differs from the paper: which distortions it takes is not known; here a picture gets only those that leave all of its
captions true (`training.data.distortions`), and an edited, wrong caption wrong. A colour word keeps hues, a "left"
keeps the picture from being flipped.

What is done to a sample depends on the run's seed and the sample's place in the endless sequence alone: another epoch
distorts it otherwise, and a resumed run, or one of more processes, sees what it would have seen.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from runtime.errors import UsageError
from training.data.batch import PairBatch
from training.data.distortions import DISTORTIONS, Box, Distortion, words_of
from training.data.masked_words import mask_words


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentationConfig:
    """How much is distorted and hidden; as it stands, nothing is."""

    distorted_share: float = 0.0  # of the pictures
    most_distortions: int = 2  # of one picture
    masked_share: float = 0.0  # of the words of every text that the model reads; MLM asks for these

    def __post_init__(self) -> None:
        if not (0.0 <= self.distorted_share <= 1.0 and 0.0 <= self.masked_share <= 1.0):
            raise ValueError("distorted_share and masked_share are in 0..1")
        if self.most_distortions < 1:
            raise ValueError("most_distortions is at least 1; to distort nothing set distorted_share to 0")


NOTHING = AugmentationConfig()
"""Pictures and texts as they are."""

PICTURES = AugmentationConfig(distorted_share=0.8)
"""Pictures are distorted as their captions allow: for a set of pictures that is seen again and again."""


def allowed(texts: Sequence[str]) -> tuple[Distortion, ...]:
    """The distortions that make none of the texts of a picture false; none for texts in letters beyond ASCII."""
    said = words_of(texts)
    if said is None:
        return ()
    return tuple(distortion for distortion in DISTORTIONS if not said & distortion.makes_false)


def may_be_flipped(texts: Sequence[str]) -> bool:
    """Whether texts stay true of the mirrored picture."""
    return any(distortion.name == "flip" for distortion in allowed(texts))


def distorted(
    image: Image.Image,
    texts: Sequence[str],
    config: AugmentationConfig,
    *,
    seed: Sequence[int],
    keep: Sequence[Box] = (),
) -> Image.Image:
    """The picture, with some of the allowed distortions where it is drawn to have any.

    Args:
        image: RGB.
        texts: everything that is said of it.
        config: how often.
        seed: what `numpy.random.default_rng` takes: the same seed gives the same picture.
        keep: boxes, in fractions, that no crop may cut.
    """
    if config.distorted_share == 0.0:
        return image
    rng = np.random.default_rng(seed)
    possible = allowed(texts)
    if not possible or rng.random() >= config.distorted_share:
        return image
    count = int(rng.integers(1, config.most_distortions + 1))
    for at in sorted(rng.choice(len(possible), size=min(count, len(possible)), replace=False).tolist()):
        image = possible[at].apply(image, rng, keep)
    return image


def with_hidden_words(
    batch: PairBatch, config: AugmentationConfig, *, seeds: Sequence[Sequence[int]], max_subwords: int
) -> PairBatch:
    """The batch with words of its texts masked; one seed for each of the first pairs, the others stay as they are.

    Args:
        batch: its texts whole.
        config: how many words.
        seeds: of the pairs, as above.
        max_subwords: the longest text: what is drawn for a text does not depend on the other texts' lengths.

    Raises:
        UsageError: the batch has wrong words, which are found in whole texts.
    """
    if config.masked_share == 0.0:
        return batch
    if batch.wrong_words is not None:
        raise UsageError("words are masked or made wrong, not both: set masked_share to 0 or leave wrong_words out.")
    pairs, length = len(seeds), batch.ids.shape[1]
    draws = np.stack([np.random.default_rng(seed).random((3, max_subwords), np.float32) for seed in seeds], axis=1)
    shown, hidden = mask_words(
        batch.ids[:pairs],
        batch.mask[:pairs],
        batch.special,
        masked_share=config.masked_share,
        draws=torch.from_numpy(draws[:, :, :length]),
    )
    chosen = torch.zeros_like(batch.mask)
    chosen[:pairs] = hidden.chosen
    return dataclasses.replace(
        batch,
        ids=torch.cat([shown, batch.ids[pairs:]]),
        hidden=dataclasses.replace(hidden, ids=batch.ids, chosen=chosen),
    )
