"""The one model that serves every objective: two encoders, a fusion encoder, a proof-reader and their heads."""

from training.model.features import ImageFeatures, ImageLevels, PairFeatures, TextFeatures
from training.model.fusion_encoder import FusionConfig
from training.model.image_encoder import ConvPatchConfig
from training.model.pair_model import Fused, ModelConfig, PairModel
from training.model.proof_reader import Proofread, ProofReaderConfig
from training.model.region_head import RegionHeadConfig, Regions
from training.model.text_encoder import TextEncoderConfig
from training.model.visual_dictionary import VisualDictionary, VisualDictionaryConfig

__all__ = [
    "ConvPatchConfig",
    "Fused",
    "FusionConfig",
    "ImageFeatures",
    "ImageLevels",
    "ModelConfig",
    "PairFeatures",
    "PairModel",
    "ProofReaderConfig",
    "Proofread",
    "RegionHeadConfig",
    "Regions",
    "TextEncoderConfig",
    "TextFeatures",
    "VisualDictionary",
    "VisualDictionaryConfig",
]
