"""All four papers together: ViLEM, SoftMask++, LOUPE and NAS beside contrast, masked words and matching.

vernier train --recipe training.recipes.all_four:tiny --start-from DEMO --workdir runs/all-four

DEMO is the last checkpoint of `training.recipes.baseline:tiny`.

One pass of both encoders serves every objective, one more over edited captions contrast, matching and NAS. The
`ablation…` recipes are rows of the small world beside `training.recipes.baseline:ablation`: all four, and all but one.

make ablation RECIPE=training.recipes.all_four:ablation
"""

import dataclasses
from dataclasses import dataclass

import scenes
from training.config import OptimizerConfig, TrainConfig
from training.data.phrases import PhrasesConfig
from training.data.scene_pairs import ScenePairsConfig
from training.data.wrong_words import WrongWordsConfig
from training.model.interaction_network import InteractionNetworkConfig
from training.model.proof_reader import ProofReaderConfig
from training.model.region_head import RegionHeadConfig
from training.model.visual_dictionary import VisualDictionaryConfig
from training.objectives.box_game import BoxGameConfig
from training.objectives.compose import WeightedObjective
from training.objectives.itc import ItcConfig
from training.objectives.itm import ItmConfig
from training.objectives.loupe import LoupeConfig
from training.objectives.nas import NasConfig, VisualAugmentationConfig
from training.objectives.soft_mask import SoftMaskConfig
from training.objectives.token_interactions import TokenInteractionConfig
from training.objectives.vilem import VilemConfig
from training.recipes import baseline, vilem

EDITS = (*scenes.EDIT_KINDS, *3 * ("relation",), *2 * ("state",), "size", "pattern", "count")
"""Every kind of edit that the world has, and oftener what the demo's model told worst: relations, then states. A model
so trained has seen all kinds of error: the split of unseen ones says nothing more of it than the others."""

PAPERS = ("vilem", "soft_mask", "loupe", "nas")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sizes:
    """How much of a batch the dear terms see, and when they begin."""

    reader_heads: int
    vilem_pairs: int
    soft_pairs: int
    nas_pairs: int
    codes: int
    words: WrongWordsConfig
    late: int  # steps after matching begins


def tiny() -> TrainConfig:
    """The demo's world, for a CPU: what the demo bundle goes on with from `training.recipes.baseline:tiny`.

    ViLEM has no momentum model: one pass, which trains both sides together, at 70 % of a step less. No words are masked
    for all, since ViLEM needs them, and masks fade pictures that are not distorted. Other than in `baseline:tiny` a
    quarter of the pairs are twins, three eighths of the captions come edited (half there), and a third of the short
    queries ask for a kind alone.
    """
    whole = baseline.tiny()
    assert isinstance(whole.data, ScenePairsConfig)
    data = dataclasses.replace(
        whole.data, edit_kinds=EDITS, twin_share=0.25, kind_share=0.35, edited_share=0.375, short_share=0.25
    )
    sizes = _Sizes(
        reader_heads=4, vilem_pairs=96, soft_pairs=24, nas_pairs=32, codes=256, words=vilem.ALL_SCENE_WORDS, late=20
    )
    config = _with(dataclasses.replace(whole, data=data), "tiny", sizes)
    return dataclasses.replace(
        config,
        optimizer=OptimizerConfig(learning_rate=1e-3, final_learning_rate=0.0, warmup_steps=100),
        num_steps=2500,
        seed=1,  # other scenes than the run that it goes on from has seen
        ema_decay=0.998,
        checkpoint_every=100,
    )


def ablation() -> TrainConfig:
    """All four on the small world."""
    return _row("ablation")


def ablation_without_vilem() -> TrainConfig:
    """All but ViLEM."""
    return _row("ablation_without_vilem", without="vilem")


def ablation_without_soft_mask() -> TrainConfig:
    """All but SoftMask++."""
    return _row("ablation_without_soft_mask", without="soft_mask")


def ablation_without_loupe() -> TrainConfig:
    """All but LOUPE."""
    return _row("ablation_without_loupe", without="loupe")


def ablation_without_nas() -> TrainConfig:
    """All but NAS: its wrong pictures. Edited captions stay: they are matching's here."""
    return _row("ablation_without_nas", without="nas")


def _row(name: str, *, without: str | None = None) -> TrainConfig:
    whole = baseline.ablation()
    assert isinstance(whole.data, ScenePairsConfig)
    objectives = tuple(
        dataclasses.replace(term, objective=dataclasses.replace(term.objective, use_edits=True))
        if isinstance(term.objective, ItcConfig | ItmConfig)
        else term
        for term in whole.objectives
    )
    edited = dataclasses.replace(whole.data, edited_share=1 / 3)
    sizes = _Sizes(
        reader_heads=3, vilem_pairs=64, soft_pairs=16, nas_pairs=16, codes=64, words=vilem.SCENE_WORDS, late=20
    )
    return _with(dataclasses.replace(whole, data=edited, objectives=objectives), name, sizes, without=without)


def _with(whole: TrainConfig, name: str, sizes: _Sizes, *, without: str | None = None) -> TrainConfig:
    """A recipe and the four, or all but one of them; those that need matching begin after it."""
    assert isinstance(whole.data, ScenePairsConfig)
    (matching,) = (term for term in whole.objectives if term.name == "itm")
    late = matching.start_step + sizes.late
    terms = {
        "vilem": WeightedObjective(name="vilem", objective=VilemConfig(max_pairs=sizes.vilem_pairs), weight=0.5),
        "soft_mask": WeightedObjective(
            name="soft_mask", objective=SoftMaskConfig(max_pairs=sizes.soft_pairs), weight=0.25, start_step=late
        ),
        "loupe": WeightedObjective(name="loupe", objective=_LOUPE, weight=0.2),
        # wrong captions are matching's, which has the same pairs fused already
        "nas": WeightedObjective(
            name="nas",
            objective=NasConfig(text=0.0, max_pairs=sizes.nas_pairs, augmentation=_WRONG_PICTURES),
            weight=0.25,
            start_step=late,
        ),
    }
    kept = [name for name in PAPERS if name != without]
    model = dataclasses.replace(
        whole.model,
        proof_reader=ProofReaderConfig(heads=sizes.reader_heads) if "vilem" in kept else None,
        region_head=RegionHeadConfig() if "loupe" in kept else None,
        interaction_network=InteractionNetworkConfig() if "loupe" in kept else None,
        visual_dictionary=VisualDictionaryConfig(size=sizes.codes, start_step=sizes.late) if "nas" in kept else None,
    )
    data = dataclasses.replace(
        whole.data,
        wrong_words=sizes.words if "vilem" in kept else None,
        phrases=PhrasesConfig(most=2) if "loupe" in kept else None,
    )
    return dataclasses.replace(
        whole,
        recipe=f"training.recipes.all_four:{name}",
        model=model,
        data=data,
        objectives=(*whole.objectives, *(terms[name] for name in kept)),
    )


_LOUPE = LoupeConfig(
    boxes=BoxGameConfig(pairs=16),
    token_game=TokenInteractionConfig(images=2, guessed_images=8, samples=1),
    semantic_images=24,
)
_WRONG_PICTURES = VisualAugmentationConfig(curriculum_steps=300)
