"""Videos: frames of moving scenes, pooled for contrast, side by side for matching.

vernier train --recipe training.recipes.video:tiny --start-from DEMO --workdir runs/video

DEMO is a checkpoint of `training.recipes.baseline:tiny` or `training.recipes.all_four:tiny`: weights and words that it
has are taken over, words for motion begin anew.

Paper: ViLEM (CVPR 2023) claims retrieval of videos by pooled frames; how it pools could not be read
(docs/papers.md). Here a video's embedding is the mean of its frames', which is what a gallery stores, and fusion sees
the patches of all frames, each with a vector that says which frame it is of. So contrast cannot know which way a thing
goes, and matching and masked words can.
"""

import dataclasses

from training.config import OptimizerConfig, TrainConfig
from training.data.video_pairs import VideoPairsConfig
from training.objectives.compose import WeightedObjective
from training.objectives.itc import ItcConfig
from training.objectives.itm import ItmConfig
from training.objectives.mlm import MlmConfig
from training.recipes import baseline


def tiny() -> TrainConfig:
    """The demo's encoders, for a CPU: what goes on from a demo checkpoint.

    vernier train --recipe training.recipes.video:tiny --start-from DEMO --workdir runs/video
    """
    return _of(baseline.tiny(), "tiny", VideoPairsConfig(), batch_size=32, num_steps=1000)


def ablation() -> TrainConfig:
    """The small world at 64 px, in minutes, from nothing or from `training.recipes.baseline:ablation`.

    vernier train --recipe training.recipes.video:ablation --workdir runs/video-ablation
    """
    data = VideoPairsConfig(world="small", size_px=64)
    return _of(baseline.ablation(), "ablation", data, batch_size=48, num_steps=500)


def _of(whole: TrainConfig, name: str, data: VideoPairsConfig, *, batch_size: int, num_steps: int) -> TrainConfig:
    return dataclasses.replace(
        whole,
        recipe=f"training.recipes.video:{name}",
        model=dataclasses.replace(whole.model, num_frames=data.num_frames),
        data=data,
        objectives=(
            WeightedObjective(name="itc", objective=ItcConfig()),
            WeightedObjective(name="mlm", objective=MlmConfig(masked_share=0.25), weight=0.5),
            # captions in which one thing goes the other way are matching's alone: contrast cannot tell them
            WeightedObjective(name="itm", objective=ItmConfig(use_edits=True), start_step=num_steps // 10),
        ),
        optimizer=OptimizerConfig(learning_rate=5e-4, final_learning_rate=0.0, warmup_steps=num_steps // 10),
        batch_size=batch_size,
        num_steps=num_steps,
        checkpoint_every=num_steps // 5,
        validate_every=num_steps // 5,
    )
