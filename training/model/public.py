"""Public towers: architectures of the transformers library, built by their own configuration.

A config holds the architecture as the library's own JSON, so that a checkpoint says by itself how to build its model;
`weights` names where training starts from (a local directory in the public format, or a name that the library can
find). A trained checkpoint holds all weights and needs that source no more.

Two numbers are changed on the way, so that graphs stay finite in fp16: layer norms whose epsilon would be zero there,
and what is added to the scores of padding keys (ours, `transformer.MASKED`). Attention is the written-out one: the
library's fused attention cannot be exported for Swin.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from runtime.errors import DataError
from training.model.transformer import LAYER_NORM_EPS, MASKED

Part = Literal["vision", "text"]

_FETCHED = ("*.json", "*.safetensors", "*.txt", "*.model")
_LEAST_EPS = 1e-6  # still a number in fp16
_CLASSES: dict[Part, dict[str, str]] = {
    "vision": {
        "vit": "ViTModel",
        "swin": "SwinModel",
        "clip_vision_model": "CLIPVisionModel",
        "siglip_vision_model": "SiglipVisionModel",
    },
    "text": {
        "bert": "BertModel",
        "clip_text_model": "CLIPTextModel",
        "siglip_text_model": "SiglipTextModel",
    },
}


def architecture(kind: str, **settings: Any) -> str:  # noqa: ANN401 - the library's own settings
    """The JSON of a public architecture: `architecture("vit", image_size=256)`; what is not named is the library's."""
    return json.dumps({"model_type": kind, **settings}, sort_keys=True)


def fetched(source: str) -> Path:
    """The directory of a public checkpoint: the one named, or the hub's, fetched.

    Raises:
        DataError: `tower_invalid` when it is neither.
    """
    if Path(source).is_dir():
        return Path(source)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source, allow_patterns=list(_FETCHED)))
    except Exception as error:  # the hub's client raises almost anything
        raise DataError(
            f"{source} is neither a directory nor a checkpoint that can be fetched ({' '.join(str(error).split())}).",
            code="tower_invalid",
        ) from error


def read_architecture(source: str, part: Part) -> str:
    """The architecture of a public checkpoint: of that tower where it has two, of the whole where it is one.

    Args:
        source: a local directory in the public format, or a name that the library can find.
        part: which tower.

    Raises:
        DataError: `tower_invalid` when there is no such checkpoint, or it is of a kind that has no place here.
    """
    from transformers import AutoConfig  # takes a second to import: only recipes that need it pay

    try:
        config = AutoConfig.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise DataError(f"{source} is no public checkpoint ({error}).", code="tower_invalid") from error
    config = getattr(config, f"{part}_config", config)
    _class_of(config.model_type, part, source)
    return json.dumps(config.to_diff_dict(), sort_keys=True)


def public_config(described: str, part: Part, **changes: Any) -> Any:  # noqa: ANN401 - a config of the library
    """The library's own config from the JSON of an architecture, some of its settings changed."""
    settings: dict[str, Any] = json.loads(described) | changes
    return _class_of(settings.pop("model_type"), part, "the config").config_class(**settings)


def build_tower(described: str, part: Part, **changes: Any) -> Any:  # noqa: ANN401 - a model of the library
    """A tower of random weights from the JSON of its architecture, some of its settings changed."""
    config = public_config(described, part, **changes)
    config._attn_implementation = "eager"
    tower = _class_of(config.model_type, part, "the config")(config)
    if getattr(tower, "pooler", None) is not None:
        tower.pooler = None  # only the tokens are asked for
    return raise_eps(tower)


def raise_eps(module: nn.Module) -> nn.Module:
    """Raise the epsilon of layer norms that would be zero in fp16 (BERT's and ViT's 1e-12)."""
    for part in module.modules():
        if isinstance(part, nn.LayerNorm) and part.eps < _LEAST_EPS:
            part.eps = LAYER_NORM_EPS
    return module


def read_weights(source: str) -> Any:  # noqa: ANN401 - a model of the library
    """The public model of a checkpoint with its weights in float32, both towers where it has two.

    Raises:
        DataError: `tower_invalid` when it cannot be read.
    """
    from transformers import AutoModel

    try:
        return AutoModel.from_pretrained(source, dtype=torch.float32)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{source} cannot be read as a public checkpoint ({error}); put it back, or name another.",
            code="tower_invalid",
        ) from error


def copy_weights(target: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Fill a module with the weights of the same names; others in the source are passed over.

    Raises:
        DataError: `tower_invalid` when one is missing or of another shape.
    """
    wanted = target.state_dict()
    for name, value in wanted.items():
        if name not in weights or weights[name].shape != value.shape:
            found = tuple(weights[name].shape) if name in weights else "missing"
            raise DataError(
                f"{source}: the weight {name} is {found}, and {tuple(value.shape)} is wanted; name a checkpoint of "
                "the architecture that the config describes.",
                code="tower_invalid",
            )
    target.load_state_dict({name: weights[name] for name in wanted})


def padding_bias(mask: Bool[Tensor, "texts subwords"]) -> Float[Tensor, "texts 1 subwords subwords"]:
    """What is added to every score so that padding is not looked at and everything else is, in both directions."""
    bias = (~mask).to(torch.float32)[:, None, None, :] * MASKED
    return bias.expand(-1, 1, mask.shape[1], -1)


def causal_bias(mask: Bool[Tensor, "texts subwords"]) -> Float[Tensor, "texts 1 subwords subwords"]:
    """The same, where a subword also must not look ahead."""
    length = mask.shape[1]
    ahead = torch.ones(length, length, dtype=torch.bool, device=mask.device).triu(1)
    hidden = ahead[None, None] | ~mask[:, None, None, :]
    return hidden.to(torch.float32) * MASKED


def _class_of(kind: str, part: Part, source: str) -> Any:  # noqa: ANN401 - a class of the library
    import transformers

    if kind not in _CLASSES[part]:
        raise DataError(
            f"{source}: {kind!r} is no {part} tower that can be used here; choose one of {', '.join(_CLASSES[part])}.",
            code="tower_invalid",
        )
    return getattr(transformers, _CLASSES[part][kind])
