"""ViLEM's recipes: contrast, and words that a language model made wrong, to be found and corrected by the picture.

vernier train --recipe training.recipes.vilem:tiny --workdir runs/vilem-tiny

`tiny` and `small` make every kind of word wrong: what is never wrong in training is learned to be right.

The `ablation…` recipes are rows of the small world, which leave patterns right, to be tested on. `ablation_whole` is
contrast, matching, masked words and ViLEM, beside `training.recipes.baseline:ablation`; the others differ from it in
what their names say. `ablation` has the paper's objectives alone, beside `training.recipes.baseline:ablation_itc`.

make ablation RECIPE=training.recipes.vilem:ablation_whole
"""

import dataclasses
from pathlib import Path

from runtime.errors import DataError
from training.config import TrainConfig
from training.data.listed_pairs import ListedPairsConfig
from training.data.scene_pairs import ScenePairsConfig
from training.data.wrong_words import WrongWordsConfig
from training.model.momentum import MomentumConfig
from training.model.proof_reader import ProofReaderConfig
from training.model.vision_tower import VisionTowerConfig
from training.objectives.compose import WeightedObjective
from training.objectives.itc import ItcConfig
from training.objectives.vilem import VilemConfig
from training.recipes import baseline

SCENE_WORDS = WrongWordsConfig(share=0.3)
"""Four of ten words of a drawn scene's caption may be made wrong, so that an eighth of all are: the paper's 15 %."""

ALL_SCENE_WORDS = dataclasses.replace(SCENE_WORDS, every_kind=True)
"""Of recipes that are to serve."""

_WEIGHT = 0.25
"""The paper's is 1, in runs a hundred times as long. In short ones the sum over words outweighs contrast, which then
begins to sort a hundred steps later; the heads' own weights do not care, as Adam divides by the gradient's size."""

_ROW_WEIGHT = 0.5
"""Rows go on from trained weights, whose contrast has sorted already: after 100 steps at the paper's weight ITC stood
at 0.78, at the one above at 0.73, and ViLEM's own loss at 4.8 and 5.2."""


def tiny() -> TrainConfig:
    """The demo's world with ViLEM beside matching and masked words, for a CPU.

    vernier train --recipe training.recipes.vilem:tiny --workdir runs/vilem-tiny
    """
    momentum = MomentumConfig(decay=0.99, soft_share=0.0)
    return _with_vilem(
        baseline.tiny(), "tiny", ProofReaderConfig(), VilemConfig(momentum=momentum, max_pairs=64), ALL_SCENE_WORDS
    )


def small() -> TrainConfig:
    """The paper's objectives, contrast and ViLEM, at 128 px: for a GPU or a night.

    vernier train --recipe training.recipes.vilem:small --workdir runs/vilem-small
    """
    dual = baseline.contrast_alone(baseline.small())
    momentum = _momentum_of(dual)
    return _with_vilem(dual, "small", ProofReaderConfig(heads=3), VilemConfig(momentum=momentum), ALL_SCENE_WORDS)


def base(data: Path | None = None) -> TrainConfig:
    """The paper's size: ViT-B/16 at 256 px and the lower six layers of BERT-base, contrast and ViLEM.

    vernier train --recipe training.recipes.vilem:base --data DIR --workdir runs/vilem-base

    DIR is that of `training.recipes.baseline:base`. Wrong words come from `DIR/candidates.npz` where that was written
    (scripts/candidates.py), else they are guessed by the BERT in `DIR/towers/text`, which then has its head
    (`BertForMaskedLM`), and without one by a small model trained on the captions.

    Differs from the paper: six text layers, not twelve, embed a text; the upper six are the fusion encoder's.
    """
    whole = baseline.base(data)
    if isinstance(whole.model.image, VisionTowerConfig) and not whole.model.image.has_summary:
        raise DataError(
            f"words look at the blocks of a ViT or DeiT, and {data}/towers/image is none (a Swin?); put one there, or "
            "leave it out to start from nothing.",
            code="tower_invalid",
        )
    dual = baseline.contrast_alone(whole)
    text = data / "towers" / "text" if data is not None else None
    table = data / "candidates.npz" if data is not None else None
    words = WrongWordsConfig(
        public=str(text) if text is not None and text.is_dir() else None,
        table=str(table) if table is not None and table.is_file() else None,
    )
    return _with_vilem(
        dual, "base", ProofReaderConfig(heads=12), VilemConfig(momentum=_momentum_of(dual)), words, weight=1.0
    )


def ablation() -> TrainConfig:
    """Contrast and ViLEM on the small world: both losses, both branches, words by a language model, crossed passes."""
    return _row("ablation", whole=baseline.ablation_itc())


def ablation_whole() -> TrainConfig:
    """ViLEM beside contrast, matching and masked words."""
    return _row("ablation_whole")


def ablation_every_kind() -> TrainConfig:
    """Patterns, which the other rows leave right, are made wrong too: what a model that serves is trained on."""
    return _row("ablation_every_kind", words=ALL_SCENE_WORDS)


def ablation_detection() -> TrainConfig:
    """Wrong words are found and not corrected."""
    return _row("ablation_detection", correction=0.0)


def ablation_correction() -> TrainConfig:
    """Wrong words are corrected and not found: what the model says of errors means nothing."""
    return _row("ablation_correction", detection=0.0)


def ablation_local() -> TrainConfig:
    """The local branch alone."""
    return _row("ablation_local", reader=ProofReaderConfig(heads=3, has_global=False))


def ablation_global() -> TrainConfig:
    """The global branch alone."""
    return _row("ablation_global", reader=ProofReaderConfig(heads=3, has_local=False))


def ablation_uniform() -> TrainConfig:
    """Wrong words are any other value of the slot, all alike, in place of a language model's."""
    return _row("ablation_uniform", words=dataclasses.replace(SCENE_WORDS, is_uniform=True))


def ablation_uncrossed() -> TrainConfig:
    """One pass in place of the crossed two: the model's own text side and picture learn together."""
    return _row("ablation_uncrossed", momentum=None)


_ROW_MOMENTUM = MomentumConfig(decay=0.9, soft_share=0.0)
"""Forgets its start in 250 steps: the rows are as short as that."""


def _row(
    name: str,
    *,
    whole: TrainConfig | None = None,
    reader: ProofReaderConfig | None = None,
    words: WrongWordsConfig = SCENE_WORDS,
    momentum: MomentumConfig | None = _ROW_MOMENTUM,
    **weights: float,
) -> TrainConfig:
    return _with_vilem(
        whole or baseline.ablation(),
        name,
        reader or ProofReaderConfig(heads=3),
        VilemConfig(momentum=momentum, **weights),  # type: ignore[arg-type]  # detection and correction
        words,
        weight=_ROW_WEIGHT,
    )


def _with_vilem(
    whole: TrainConfig,
    name: str,
    reader: ProofReaderConfig,
    vilem: VilemConfig,
    words: WrongWordsConfig,
    *,
    weight: float = _WEIGHT,
) -> TrainConfig:
    """A recipe and ViLEM beside it."""
    assert isinstance(whole.data, ScenePairsConfig | ListedPairsConfig)
    return dataclasses.replace(
        whole,
        recipe=f"training.recipes.vilem:{name}",
        model=dataclasses.replace(whole.model, proof_reader=reader),
        data=dataclasses.replace(whole.data, wrong_words=words),
        objectives=(*whole.objectives, WeightedObjective(name="vilem", objective=vilem, weight=weight)),
    )


def _momentum_of(config: TrainConfig) -> MomentumConfig | None:
    """The momentum model that a recipe's contrast asks for: one copy serves the run."""
    (term,) = (term for term in config.objectives if isinstance(term.objective, ItcConfig))
    assert isinstance(term.objective, ItcConfig)
    return term.objective.momentum
