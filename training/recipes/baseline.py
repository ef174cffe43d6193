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
            image=ConvPatchConfig(size_px=96),
            text=TextEncoderConfig(),
            fusion=FusionConfig(),
        ),
        data=ScenePairsConfig(size_px=96),
        objectives=(
            WeightedObjective(name="itc", objective=ItcConfig()),
            WeightedObjective(name="itm", objective=ItmConfig(max_pairs=32), start_step=500, warmup_steps=500),
            WeightedObjective(name="mlm", objective=MlmConfig(max_pairs=32), start_step=500, warmup_steps=500),
        ),
        optimizer=OptimizerConfig(),
        batch_size=128,
        num_steps=4000,
        precision="bf16",
        ema_decay=0.999,
        validate_every=250,
    )
