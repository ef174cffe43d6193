"""The plain recipe: contrast, matching and masked words on drawn scenes."""

from training.config import OptimizerConfig, TrainConfig
from training.data.scene_pairs import ScenePairsConfig
from training.model.fusion_encoder import FusionConfig
from training.model.image_encoder import ConvPatchConfig
from training.model.pair_model import ModelConfig
from training.model.text_encoder import TextEncoderConfig
from training.objectives.compose import WeightedObjective
from training.objectives.itc import ItcConfig
from training.objectives.itm import ItmConfig
from training.objectives.mlm import MlmConfig


def tiny() -> TrainConfig:
    """A small model of drawn scenes, trained on a CPU: the demo bundle's recipe."""
    return TrainConfig(
        recipe="training.recipes.baseline:tiny",
        model=ModelConfig(
            image=ConvPatchConfig(),
            text=TextEncoderConfig(),
            fusion=FusionConfig(),
            initial_temperature=0.1,
        ),
        # the last quarter of a batch's 128 captions are short queries, true of several pictures: matching and masked
        # words keep to the pairs before them
        data=ScenePairsConfig(short_share=0.25),
        objectives=(
            WeightedObjective(name="itc", objective=ItcConfig()),
            # masked words name each thing in the picture: they teach the image encoder shapes from the first step on
            WeightedObjective(name="mlm", objective=MlmConfig(max_pairs=64), weight=0.5),
            # hard partners only mean something once the contrast has begun to sort
            WeightedObjective(name="itm", objective=ItmConfig(max_pairs=32), weight=0.5, start_step=1000),
        ),
        optimizer=OptimizerConfig(learning_rate=1.5e-3),
        batch_size=128,
        num_steps=3000,
        precision="bf16",
        ema_decay=0.999,
        validate_every=250,
        checkpoint_every=250,
    )
