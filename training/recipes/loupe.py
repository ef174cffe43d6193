"""LOUPE's recipes: regions and phrases that play together, beside contrast, masked words and matching.

vernier train --recipe training.recipes.loupe:tiny --workdir runs/loupe-tiny

The `ablation…` recipes are rows of the small world: each differs from `ablation` in what its name says, and stands
beside `training.recipes.baseline:ablation`. No recipe sees a box.

make ablation RECIPE=training.recipes.loupe:ablation
"""

import dataclasses
from pathlib import Path

from training.config import TrainConfig
from training.data.listed_pairs import ListedPairsConfig
from training.data.phrases import PhrasesConfig
from training.data.scene_pairs import ScenePairsConfig
from training.model.interaction_network import InteractionNetworkConfig
from training.model.region_head import RegionHeadConfig
from training.objectives.compose import WeightedObjective
from training.objectives.loupe import LoupeConfig
from training.objectives.token_interactions import TokenInteractionConfig
from training.recipes import baseline

_WEIGHT = 0.2
"""Of LOUPE beside the others. The heads' own weights do not care, as Adam divides by the gradient's size; the encoders
do: at 1 rows of 300 steps lost 4 points of text to image R@1, at a half 4 of image to text (docs/experiments.md)."""


def tiny() -> TrainConfig:
    """The demo's world with LOUPE beside it, for a CPU.

    vernier train --recipe training.recipes.loupe:tiny --workdir runs/loupe-tiny
    """
    return _with_loupe(baseline.tiny(), "tiny", RegionHeadConfig(), LoupeConfig())


def small() -> TrainConfig:
    """128 px and 256 patches: for a GPU or a night.

    vernier train --recipe training.recipes.loupe:small --workdir runs/loupe-small
    """
    return _with_loupe(baseline.small(), "small", RegionHeadConfig(first_side=4.0), LoupeConfig())


def base(data: Path | None = None) -> TrainConfig:
    """The size of ViT-B/16 at 256 px: DIR is that of `training.recipes.baseline:base`.

    vernier train --recipe training.recipes.loupe:base --data DIR --workdir runs/loupe-base

    Differs from the paper: it has Swin-L and BERT-small, and no matching and masked words.
    """
    whole = baseline.base(data)
    return _with_loupe(whole, "base", RegionHeadConfig(hidden=384, first_side=5.0), LoupeConfig())


def ablation() -> TrainConfig:
    """LOUPE on the small world: both games, the network, the contrast of phrases, boxes drawn tight."""
    return _row("ablation")


def ablation_random() -> TrainConfig:
    """Every interaction of both games is drawn at random: what the games add to the rest."""
    return _row("ablation_random", random_interactions=True)


def ablation_tsa() -> TrainConfig:
    """Without L_FSA: the same boxes, no alignment within a picture."""
    return _row("ablation_tsa", fsa=0.0)


def ablation_sampled() -> TrainConfig:
    """Interactions are always sampled: no network."""
    return _row("ablation_sampled", network=None)


def ablation_interaction() -> TrainConfig:
    """Confidence by the interaction of a region's patches, as in the paper, in place of their value as a team."""
    return _row("ablation_interaction", token_game=TokenInteractionConfig(credit="interaction"))


def ablation_fixed() -> TrainConfig:
    """Every box is two patches wide and high, around its patch."""
    return _row("ablation_fixed", head=RegionHeadConfig(fixed_side=2.0))


def _row(
    name: str,
    *,
    head: RegionHeadConfig | None = None,
    network: InteractionNetworkConfig | None = InteractionNetworkConfig(),  # noqa: B008 - frozen
    **settings: object,
) -> TrainConfig:
    loupe = dataclasses.replace(LoupeConfig(), **settings)  # type: ignore[arg-type]  # by name
    return _with_loupe(baseline.ablation(), name, head or RegionHeadConfig(), loupe, network=network)


def _with_loupe(
    whole: TrainConfig,
    name: str,
    head: RegionHeadConfig,
    loupe: LoupeConfig,
    *,
    network: InteractionNetworkConfig | None = InteractionNetworkConfig(),  # noqa: B008 - frozen
) -> TrainConfig:
    """A recipe and LOUPE beside it."""
    assert isinstance(whole.data, ScenePairsConfig | ListedPairsConfig)
    return dataclasses.replace(
        whole,
        recipe=f"training.recipes.loupe:{name}",
        model=dataclasses.replace(whole.model, region_head=head, interaction_network=network),
        data=dataclasses.replace(whole.data, phrases=PhrasesConfig()),
        objectives=(*whole.objectives, WeightedObjective(name="loupe", objective=loupe, weight=_WEIGHT)),
    )
