"""OpenCLIP's checkpoints in the form that transformers reads: the same numbers under other names.

Taken are the ViT models with CLIP's own text tower (ViT-B-32, ViT-B-16, ViT-L-14 and their like), in the form that
OpenCLIP pushes to the hub: `open_clip_config.json` beside `open_clip_model.safetensors`.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from runtime.errors import ExportError

CONFIG = "open_clip_config.json"
_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors")
_KEPT = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt")
_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_BICUBIC, _BILINEAR = 3, 2
_UNKNOWN_VISION = ("timm_model_name", "attentional_pool", "global_average_pool")
_UNKNOWN_TEXT = ("hf_model_name", "no_causal_mask", "embed_cls")


def is_open_clip(directory: Path) -> bool:
    """Say whether a directory holds an OpenCLIP checkpoint that transformers cannot read as it is."""
    return (directory / CONFIG).is_file() and not (directory / "config.json").is_file()


def as_transformers(directory: Path, out: Path) -> Path:
    """Write an OpenCLIP checkpoint anew as a CLIP of transformers, with its tokenizer and preprocessing.

    Raises:
        ExportError: `checkpoint_invalid` when a file is missing or the architecture is not a plain CLIP.
    """
    said = json.loads((directory / CONFIG).read_text(encoding="utf-8"))
    model, preprocess = said.get("model_cfg", said), said.get("preprocess_cfg", {})
    weights = next((directory / name for name in _WEIGHTS if (directory / name).is_file()), None)
    if weights is None:
        raise ExportError(f"{directory} has none of {', '.join(_WEIGHTS)}.", code="checkpoint_invalid")
    config = _config(model, directory)
    out.mkdir(parents=True)
    (out / "config.json").write_text(json.dumps(config, indent=2))
    (out / "preprocessor_config.json").write_text(json.dumps(_preprocessing(model, preprocess, directory), indent=2))
    try:
        renamed = _renamed(load_file(weights), config)
    except KeyError as error:
        raise ExportError(
            f"{weights} has no weight {error}: it is no plain CLIP.", code="checkpoint_invalid"
        ) from error
    save_file(renamed, out / "model.safetensors", metadata={"format": "pt"})
    for name in _KEPT:
        if (directory / name).is_file():
            shutil.copyfile(directory / name, out / name)
    return out


def _config(model: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    vision, text = model["vision_cfg"], model["text_cfg"]
    unknown = [name for name in _UNKNOWN_VISION if vision.get(name)] + [n for n in _UNKNOWN_TEXT if text.get(n)]
    if unknown or not isinstance(vision.get("layers", 12), int):
        raise ExportError(
            f"{directory} is an OpenCLIP model of another kind ({', '.join(unknown) or 'a ResNet'}); ViT models with "
            "CLIP's text tower are taken.",
            code="checkpoint_invalid",
        )
    activation = "quick_gelu" if model.get("quick_gelu") else "gelu"
    width, text_width = vision.get("width", 768), text.get("width", 512)
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": model["embed_dim"],
        "vision_config": {
            "model_type": "clip_vision_model",
            "hidden_size": width,
            "intermediate_size": int(width * vision.get("mlp_ratio", 4)),
            "num_hidden_layers": vision.get("layers", 12),
            "num_attention_heads": width // vision.get("head_width", 64),
            "image_size": vision.get("image_size", 224),
            "patch_size": vision["patch_size"],
            "hidden_act": activation,
            "projection_dim": model["embed_dim"],
        },
        "text_config": {
            "model_type": "clip_text_model",
            "vocab_size": text.get("vocab_size", 49408),
            "hidden_size": text_width,
            "intermediate_size": int(text_width * text.get("mlp_ratio", 4)),
            "num_hidden_layers": text.get("layers", 12),
            "num_attention_heads": text.get("heads", 8),
            "max_position_embeddings": text.get("context_length", 77),
            "hidden_act": activation,
            "projection_dim": model["embed_dim"],
            "bos_token_id": 49406,
            "eos_token_id": 49407,
            "pad_token_id": 1,
        },
    }


def _preprocessing(model: Mapping[str, Any], said: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    side = said.get("size", model["vision_cfg"].get("image_size", 224))
    side = side if isinstance(side, int) else side[0]
    mode = said.get("resize_mode", "shortest")
    if mode not in ("shortest", "squash"):
        raise ExportError(f"{directory} resizes pictures by {mode!r}.", code="transform_unsupported")
    is_cropped = mode == "shortest"
    square = {"height": side, "width": side}
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": side} if is_cropped else square,
        "do_center_crop": is_cropped,
        "crop_size": square,
        "do_rescale": True,
        "do_normalize": True,
        "do_convert_rgb": True,
        "resample": _BILINEAR if said.get("interpolation") == "bilinear" else _BICUBIC,
        "image_mean": list(said.get("mean", _CLIP_MEAN)),
        "image_std": list(said.get("std", _CLIP_STD)),
    }


def _renamed(weights: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {
        "logit_scale": weights["logit_scale"],
        "visual_projection.weight": weights["visual.proj"].T,
        "text_projection.weight": weights["text_projection"].T,
        "vision_model.embeddings.class_embedding": weights["visual.class_embedding"],
        "vision_model.embeddings.position_embedding.weight": weights["visual.positional_embedding"],
        "vision_model.embeddings.patch_embedding.weight": weights["visual.conv1.weight"],
        "text_model.embeddings.token_embedding.weight": weights["token_embedding.weight"],
        "text_model.embeddings.position_embedding.weight": weights["positional_embedding"],
    }
    for theirs, ours in (
        ("visual.ln_pre", "vision_model.pre_layrnorm"),
        ("visual.ln_post", "vision_model.post_layernorm"),
        ("ln_final", "text_model.final_layer_norm"),
    ):
        found |= {f"{ours}.{part}": weights[f"{theirs}.{part}"] for part in ("weight", "bias")}
    for theirs, ours, tower in (
        ("visual.transformer", "vision_model", "vision_config"),
        ("transformer", "text_model", "text_config"),
    ):
        for layer in range(config[tower]["num_hidden_layers"]):
            found |= _layer(weights, f"{theirs}.resblocks.{layer}", f"{ours}.encoder.layers.{layer}")
    return {name: tensor.to(torch.float32).contiguous() for name, tensor in found.items()}


def _layer(weights: Mapping[str, Tensor], theirs: str, ours: str) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for part in ("weight", "bias"):
        stacked = weights[f"{theirs}.attn.in_proj_{part}"].chunk(3)
        for name, values in zip(("q_proj", "k_proj", "v_proj"), stacked, strict=True):
            found[f"{ours}.self_attn.{name}.{part}"] = values
        for old, new in (
            ("attn.out_proj", "self_attn.out_proj"),
            ("ln_1", "layer_norm1"),
            ("ln_2", "layer_norm2"),
            ("mlp.c_fc", "mlp.fc1"),
            ("mlp.c_proj", "mlp.fc2"),
        ):
            found[f"{ours}.{new}.{part}"] = weights[f"{theirs}.{old}.{part}"]
    return found
