"""ViLEM: find the words of a caption that are wrong for its picture, and say what they should be.

Paper: ViLEM (CVPR 2023), section 3: detection and correction of words that a frozen language model put in
(`training.data.wrong_words`), through a local branch (words look at patches of several levels) and a global one (the
picture's summary in every word vector), each in two passes with crossed momentum:

    L = L_ITC + (1 - beta) (L_det^local + L_cor^local) + beta (L_det^global + L_cor^global)
    L_det = sum over words of CE(right or wrong) / number of wrong words in the batch
    L_cor = mean over wrong words of CE(the word that stood there)
    pass 1: the model's text side sees the momentum model's picture; it trains the text side alone
    pass 2: the momentum model's text side, whose weights are frozen and whose graph is kept, sees the model's picture;
            it trains the image side alone; a branch's loss is the mean of both

L_ITC is `training.objectives.itc`. Differs from the paper: the number of wrong words is at least one; [SEP] is no
valid position; without a momentum model there is one pass, which trains both sides together; a model with one branch
alone gives it the whole weight.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from training.data.batch import PairBatch, WrongWords
from training.model.features import ImageLevels, PairFeatures
from training.model.momentum import MomentumConfig, MomentumModel
from training.model.pair_model import PairModel
from training.objectives.base import ObjectiveOutput


@dataclass(frozen=True, slots=True, kw_only=True)
class VilemConfig:
    """Detection and correction of wrong words."""

    global_share: float = 0.2  # beta: of the global branch; the local one has the rest
    detection: float = 1.0  # weight of finding wrong words
    correction: float = 1.0  # weight of naming the right ones
    momentum: MomentumConfig | None = None  # crossed passes with a slow copy; None: one pass of the model alone
    max_pairs: int | None = None  # only so many pairs of the batch (None: all)

    def build(self, model: PairModel, momentum: MomentumModel | None = None) -> "Vilem":
        """The objective.

        Raises:
            ValueError: the model has no proof-reader, or momentum is configured and not given.
        """
        if model.proof_reader is None:
            raise ValueError("ViLEM needs a model with a proof-reader: give ModelConfig a ProofReaderConfig")
        if (self.momentum is None) != (momentum is None):
            raise ValueError("ViLEM with momentum needs the momentum model, and without it none")
        return Vilem(self, momentum)


@dataclass(frozen=True, slots=True, kw_only=True)
class WordLosses:
    """What one pass of one branch costs."""

    detection: Float[Tensor, ""]
    correction: Float[Tensor, ""]
    found: Float[Tensor, ""]  # share of the wrong words that are called wrong
    corrected: Float[Tensor, ""]  # share of the wrong words for which the right one comes first


def detection_loss(
    logits: Float[Tensor, "texts subwords"],
    is_wrong: Bool[Tensor, "texts subwords"],
    is_word: Bool[Tensor, "texts subwords"],
) -> Float[Tensor, ""]:
    """Cross-entropy of right and wrong, summed over all words and divided by the number of wrong ones.

    A mean over all words would be small and speak of right words mostly.

    Args:
        logits: positive means wrong.
        is_wrong: the words that are.
        is_word: what is judged at all; padding and special tokens are not.

    Paper: ViLEM (2023), the detection loss. Differs from the paper: without a wrong word it is divided by one.
    """
    losses = F.binary_cross_entropy_with_logits(logits.float(), is_wrong.float(), reduction="none")
    return (losses * is_word).sum() / (is_wrong & is_word).sum().clamp(min=1)


def correction_loss(logits: Float[Tensor, "wrong vocabulary"], words: Int[Tensor, " wrong"]) -> Float[Tensor, ""]:
    """Mean cross-entropy of the words that stood there; zero when nothing is wrong.

    Paper: ViLEM (2023), the correction loss.
    """
    return F.cross_entropy(logits.float(), words) if len(words) else logits.float().sum() * 0.0


class Vilem:
    """The objective over a batch with wrong words."""

    def __init__(self, config: VilemConfig, momentum: MomentumModel | None) -> None:
        self.config = config
        self.momentum = momentum

    def __call__(self, model: PairModel, batch: PairBatch, features: PairFeatures) -> ObjectiveOutput:
        """The loss of both branches in both passes, and how many wrong words were found and corrected.

        Raises:
            ValueError: the batch has no wrong words.
        """
        if batch.wrong_words is None:
            raise ValueError("ViLEM learns from wrong words: give the recipe's data a WrongWordsConfig")
        count = min(len(batch.ids), self.config.max_pairs or len(batch.ids))
        texts = batch.wrong_words.first(count)
        readings = [
            _losses(reader, batch, texts, image)
            for reader, image in self._passes(model, features, self._slow_features(batch), count)
        ]
        parts = {
            name: [self._weighed(reading[name]) for reading in readings] for name in readings[0]
        }  # by branch, of each pass
        means = {name: torch.stack(losses).mean() for name, losses in parts.items()}
        loss = torch.stack([self._share(name, len(means)) * mean for name, mean in means.items()]).sum()
        return ObjectiveOutput(loss=loss, report=self._report(readings[0], means))

    def _slow_features(self, batch: PairBatch) -> PairFeatures | None:
        return None if self.momentum is None else self.momentum.pairs(batch)

    def _passes(
        self, model: PairModel, features: PairFeatures, slow: PairFeatures | None, count: int
    ) -> list[tuple[PairModel, ImageLevels]]:
        """Who reads, and what picture it sees."""
        own = _levels(features, count)
        if self.momentum is None or slow is None:
            return [(model, own)]
        return [(model, _levels(slow, count)), (self.momentum.model, own)]

    def _weighed(self, losses: WordLosses) -> Float[Tensor, ""]:
        return self.config.detection * losses.detection + self.config.correction * losses.correction

    def _share(self, branch: str, num_branches: int) -> float:
        if num_branches == 1:
            return 1.0
        return self.config.global_share if branch == "global" else 1.0 - self.config.global_share

    def _report(
        self, reading: dict[str, WordLosses], means: dict[str, Float[Tensor, ""]]
    ) -> dict[str, Float[Tensor, ""]]:
        report = {name: mean.detach() for name, mean in means.items()}
        for name, losses in reading.items():
            report |= {f"{name}_found": losses.found, f"{name}_corrected": losses.corrected}
        return report


def _levels(features: PairFeatures, count: int) -> ImageLevels:
    assert features.image_levels is not None
    assert features.image_summary is not None
    return ImageLevels(levels=features.image_levels[:count], summary=features.image_summary[:count])


def _losses(model: PairModel, batch: PairBatch, texts: WrongWords, image: ImageLevels) -> dict[str, WordLosses]:
    """The losses of every branch of one reader that sees one version of the pictures."""
    count = len(texts.ids)
    mask, rights = batch.mask[:count], batch.ids[:count]
    is_word = mask & ~batch.special.are_among(texts.ids)
    found: dict[str, WordLosses] = {}
    for name, tokens in model.proof_tokens(texts.ids, mask, image).items():
        logits, words = model.word_errors(tokens), rights[texts.is_wrong]
        guesses = model.corrections(tokens[texts.is_wrong])
        with torch.no_grad():
            called = (logits > 0)[texts.is_wrong].float().sum() / texts.is_wrong.sum().clamp(min=1)
            named = (guesses.argmax(dim=-1) == words).float().sum() / max(1, len(words))
        found[name] = WordLosses(
            detection=detection_loss(logits, texts.is_wrong, is_word),
            correction=correction_loss(guesses, words),
            found=called,
            corrected=named,
        )
    return found
