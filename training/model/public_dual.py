"""A public CLIP or SigLIP as a pair model: both towers with their own projections, so that both say the same.

Papers: CLIP (Radford et al., 2021), SigLIP (Zhai et al., 2023).
Differs from SigLIP: training goes on by contrast over the batch; its sigmoid loss and bias are left behind.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.errors import DataError
from training.model.pair_model import HeadConfig, ModelConfig
from training.model.public import public_config
from training.model.public_heads import AttentionPoolConfig, FirstTokenConfig
from training.model.text_tower import describe_text
from training.model.vision_tower import describe_vision

_TEMPERATURE = 0.01  # CLIP's, once trained
_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_HALF = (0.5, 0.5, 0.5)

Channels = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicDual:
    """A public dual encoder and what it expects of its inputs."""

    model: ModelConfig
    size_px: int
    mean: Channels
    std: Channels
    max_subwords: int


def describe_dual(source: str) -> PublicDual:
    """The pair model of a public CLIP or SigLIP checkpoint: a local directory or a name.

    Raises:
        DataError: `tower_invalid` when it is neither.
    """
    vision, text = describe_vision(source), describe_text(source)
    seen, read = public_config(vision.architecture, "vision"), public_config(text.architecture, "text")
    is_clip = seen.model_type == "clip_vision_model"
    if not is_clip and seen.model_type != "siglip_vision_model":
        raise DataError(f"{source} is a {seen.model_type} and no CLIP or SigLIP.", code="tower_invalid")
    image_head: HeadConfig = AttentionPoolConfig(architecture=vision.architecture, weights=source)
    text_head, dim = FirstTokenConfig(weights=source, weights_name="text_model.head"), seen.hidden_size
    if is_clip:
        image_head = FirstTokenConfig(bias=False, weights=source, weights_name="visual_projection")
        text_head = FirstTokenConfig(bias=False, weights=source, weights_name="text_projection")
        dim = _projection_dim(source)
    mean, std = _pixels(source, (_CLIP_MEAN, _CLIP_STD) if is_clip else (_HALF, _HALF))
    return PublicDual(
        model=ModelConfig(
            image=vision,
            text=text,
            fusion=None,
            dim=dim,
            image_head=image_head,
            text_head=text_head,
            initial_temperature=_TEMPERATURE,
            temperature_range=(0.001, 0.5),
        ),
        size_px=vision.size_px,
        mean=mean,
        std=std,
        max_subwords=read.max_position_embeddings,
    )


def _projection_dim(source: str) -> int:
    from transformers import AutoConfig

    return int(AutoConfig.from_pretrained(source).projection_dim)


def _pixels(source: str, usual: tuple[Channels, Channels]) -> tuple[Channels, Channels]:
    """Mean and spread of the pixels, from the checkpoint's own preprocessing where it lies beside the weights."""
    file = Path(source) / "preprocessor_config.json"
    if not file.is_file():
        return usual
    said: dict[str, Any] = json.loads(file.read_text())
    return tuple(said.get("image_mean", usual[0])), tuple(said.get("image_std", usual[1]))
