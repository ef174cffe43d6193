"""Public checkpoints into bundles: CLIP, SigLIP and Chinese-CLIP as transformers has them, OpenCLIP's safetensors.

The weights go into the same towers that training continues from (`training.model.public_dual`), so an imported bundle
passes the same gates as one of our own. Image transform and tokenizer are the checkpoint's, and are held against the
transformers processor before anything is written: to a pixel, and to an id. No fusion graph comes out of it: the bundle
searches at once, and grounds and proofreads by the training-free methods.
"""

import dataclasses
import json
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from tokenizers import Tokenizer

from evaluation.pictures import open_picture
from export.assemble import (
    HELD_OUT,
    PARITY_SAMPLES,
    Exportable,
    ExportReport,
    Progress,
    assemble,
    refuse_other_directory,
)
from export.drawn import drawn_cases
from export.graphs import plan_graphs
from export.open_clip import as_transformers, is_open_clip
from export.task_quality import Validation
from runtime.bundle import Calibration, ImageInput, Logistic, Provenance
from runtime.bundle.digest import file_digest
from runtime.errors import DataError, ExportError
from runtime.preprocess.image import ImageTransform, Resample
from runtime.preprocess.text import TextTransform
from training.data.source import Sample
from training.model.pair_model import ModelConfig, PairModel
from training.model.public import fetched
from training.model.public_dual import describe_dual
from training.model.public_heads import FirstTokenConfig
from training.model.text_tower import TextTowerConfig
from training.model.vision_tower import VisionTowerConfig

_WORD_ERROR_THRESHOLD = 0.75  # of a curve that was never fitted: only what a word clearly spoils is called an error
_RESAMPLING: dict[int, Resample] = {
    Image.Resampling.BILINEAR: "bilinear",
    Image.Resampling.BICUBIC: "bicubic",
    Image.Resampling.LANCZOS: "lanczos",
}
_PIXEL = 1e-4  # of normalised pixels, whose least step is about 0.015
_TEXTS = (
    "a red cube left of a blue sphere",
    "Two DOGS, running; on the beach!",
    "A café's façade — naïve, isn't it? 3.14 m",
    "一只猫坐在红色的椅子上",
    "word " * 120,
)
_LEXICON = (
    "red green blue yellow purple orange black white brown grey pink one two three four five small big large tall "
    "short long round square young old left right above below behind front man woman boy girl child dog cat horse "
    "bird car "
    "bus train bicycle boat tree grass water beach street table chair standing sitting running walking holding playing"
).split()


def import_public(
    source: str,
    out: Path,
    *,
    precision: str = "fp32",
    name: str | None = None,
    validation: Validation | None = None,
    progress: Progress | None = None,
) -> ExportReport:
    """Turn a public checkpoint into a bundle.

    Args:
        source: a local directory, or a name on the Hugging Face hub such as `openai/clip-vit-base-patch32`.
        out: the bundle's directory; an older bundle there is replaced.
        precision: as for `export.build`; anything but `fp32` needs validation rows.
        name: the bundle's name; that of its directory when None.
        validation: pictures with captions, such as the model is for. Parity is then measured and scores are calibrated
            on them, and not on drawn scenes.
        progress: called after each stage.

    Raises:
        ExportError: `checkpoint_invalid`, `transform_unsupported` when the checkpoint's pixels or ids cannot be
            reproduced, `validation_missing`, or what `export.build` raises.
        BundleError: `out` holds something that is no bundle.
    """
    refuse_other_directory(out)
    if precision != "fp32" and validation is None:
        raise ExportError(
            f"{precision} must hold its quality on pictures such as this model is for; name some with --validation.",
            code="validation_missing",
        )
    with tempfile.TemporaryDirectory(prefix="vernier-import-") as folder:
        directory = _found(source)
        if is_open_clip(directory):
            directory = as_transformers(directory, Path(folder) / "converted")
        model = _exportable(directory, source, name=name or out.name, is_fitted=validation is not None)
        samples = _drawn(model.image.size_px) if validation is None else _samples_of(validation)
        return assemble(
            model,
            samples,
            out,
            precision=precision,
            data_name="drawn scenes" if validation is None else validation.name,
            validation=validation,
            progress=progress,
        )


def _drawn(size_px: int) -> list[Sample]:
    cases = drawn_cases(PARITY_SAMPLES, size_px=size_px)
    return [Sample(image=case.image, caption=case.caption, edited=case.edited) for case in cases]


def _samples_of(validation: Validation) -> list[Sample]:
    rows = validation.rows.retrieval[:HELD_OUT]
    captions: dict[str, Sample] = {}
    for row in rows:
        if row.captions:
            picture = open_picture(validation.images, row.image)
            captions.setdefault(row.captions[0], Sample(image=picture, caption=row.captions[0]))
    return list(captions.values())


def _found(source: str) -> Path:
    """The directory of a checkpoint: the one named, or the hub's, fetched."""
    try:
        return fetched(source)
    except DataError as error:
        raise ExportError(str(error), code="checkpoint_invalid") from error


def _exportable(directory: Path, source: str, *, name: str, is_fitted: bool) -> Exportable:
    weights = _weights(directory)
    scale, bias = _scale_and_bias(weights)
    config = dataclasses.replace(
        _model_config(directory),
        initial_temperature=1 / scale,
        temperature_range=(0.5 / scale, 2 / scale),
    )
    tokenizer = _tokenizer(directory)
    model = _loaded(config, tokenizer, directory)
    image = image_input(directory, grid=model.image_encoder.grid)
    longest = int(getattr(model.text_encoder, "max_subwords", 512))
    _check_pixels(directory, image.transform())
    _check_ids(directory, TextTransform(Tokenizer.from_str(tokenizer.to_str()), max_subwords=longest))
    match = Logistic(scale=scale, bias=bias) if bias is not None else Logistic()
    return Exportable(
        name=name,
        plans=plan_graphs(
            model,
            pixels=torch.zeros(2, 3, image.size_px, image.size_px),
            max_subwords=longest,
            vocab_size=tokenizer.get_vocab_size(),
        ),
        tokenizer=tokenizer,
        lexicon=_LEXICON,
        image=image,
        max_subwords=longest,
        dim=model.config.dim,
        temperature=1 / scale,
        provenance=Provenance(
            recipe=f"import {source if not Path(source).is_dir() else Path(source).name}",
            checkpoint=file_digest(weights),
            data="that of the public checkpoint",
        ),
        calibration=None
        if is_fitted
        else Calibration(
            match=match,
            word_error_threshold=_WORD_ERROR_THRESHOLD,
            fitted_on="nothing (imported)" if bias is None else "match by SigLIP's own sigmoid; the rest on nothing",
        ),
    )


def _weights(directory: Path) -> Path:
    files = sorted(directory.glob("*.safetensors"))
    if len(files) != 1:
        raise ExportError(
            f"{directory} holds {len(files)} safetensors files; one with all weights is needed. Weights in other "
            "formats (.bin, .pt) run code when they are read and are not taken.",
            code="checkpoint_invalid",
        )
    return files[0]


def _scale_and_bias(weights: Path) -> tuple[float, float | None]:
    """What cosines are multiplied by, and SigLIP's bias."""
    with safe_open(weights, framework="pt") as tensors:
        names = set(tensors.keys())
        if "logit_scale" not in names:
            raise ExportError(f"{weights} has no logit_scale: it is no CLIP or SigLIP.", code="checkpoint_invalid")
        scale = math.exp(float(tensors.get_tensor("logit_scale").reshape(())))
        return scale, float(tensors.get_tensor("logit_bias").reshape(())) if "logit_bias" in names else None


def _model_config(directory: Path) -> ModelConfig:
    try:
        kind = json.loads((directory / "config.json").read_text(encoding="utf-8")).get("model_type")
        return _chinese(directory) if kind == "chinese_clip" else describe_dual(str(directory)).model
    except (OSError, ValueError, DataError) as error:
        raise ExportError(
            f"{directory} is no CLIP, SigLIP, Chinese-CLIP or OpenCLIP checkpoint: {error}", code="checkpoint_invalid"
        ) from error


def _chinese(directory: Path) -> ModelConfig:
    """Chinese-CLIP (Yang et al., 2022): CLIP's vision tower, and a BERT whose first token is projected."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(directory)
    vision = json.dumps({**config.vision_config.to_diff_dict(), "model_type": "clip_vision_model"}, sort_keys=True)
    text = json.dumps({**config.text_config.to_diff_dict(), "model_type": "bert"}, sort_keys=True)
    source = str(directory)
    return ModelConfig(
        image=VisionTowerConfig(architecture=vision, weights=source),
        text=TextTowerConfig(architecture=text, weights=source),
        fusion=None,
        dim=int(config.projection_dim),
        image_head=FirstTokenConfig(bias=False, weights=source, weights_name="visual_projection"),
        text_head=FirstTokenConfig(bias=False, weights=source, weights_name="text_projection"),
    )


def _loaded(config: ModelConfig, tokenizer: Tokenizer, directory: Path) -> PairModel:
    try:
        with torch.random.fork_rng():
            model = config.build(tokenizer.get_vocab_size())
        model.load_pretrained()
    except DataError as error:
        raise ExportError(f"{directory} cannot be imported: {error}", code="checkpoint_invalid") from error
    return model.eval()


def image_input(directory: Path, *, grid: tuple[int, int]) -> ImageInput:
    """Read a checkpoint's image transform from its `preprocessor_config.json`.

    Raises:
        ExportError: `transform_unsupported` when it does something that the runtime does not.
    """
    said = _preprocessing(directory)
    size: Any = said.get("size", 224)
    crop: Any = said.get("crop_size")
    size = size if isinstance(size, dict) else {"shortest_edge": size}
    crop = crop if isinstance(crop, dict) else {"height": crop, "width": crop}
    crops = bool(said.get("do_center_crop", False))
    side = crop["height"] if crops else size.get("height", size.get("shortest_edge"))
    sides = {side, *((crop["height"], crop["width"]) if crops else (size.get("width", side),))}
    resized = size.get("shortest_edge", size.get("height"))
    sound = len(sides) == 1 and resized == side and said.get("do_resize", True) and said.get("do_normalize", True)
    if not sound or not (crops or "height" in size) or said.get("rescale_factor", 1 / 255) != 1 / 255:
        raise ExportError(
            f"{directory} prepares pictures in a way that is not known here (size {size}, crop {crops and crop}).",
            code="transform_unsupported",
        )
    resample = _RESAMPLING.get(said.get("resample", Image.Resampling.BICUBIC))
    if resample is None:
        raise ExportError(
            f"{directory} resamples pictures with filter {said.get('resample')} of Pillow; "
            f"{', '.join(_RESAMPLING.values())} are known here.",
            code="transform_unsupported",
        )
    rows, columns = grid
    return ImageInput(
        size_px=int(side),
        resize="crop" if "shortest_edge" in size else "squash",
        mean=tuple(said.get("image_mean", (0.5, 0.5, 0.5))),
        std=tuple(said.get("image_std", (0.5, 0.5, 0.5))),
        resample=resample,
        patch_rows=rows,
        patch_columns=columns,
    )


def _preprocessing(directory: Path) -> dict[str, Any]:
    for file, key in (("preprocessor_config.json", None), ("processor_config.json", "image_processor")):
        if (directory / file).is_file():
            said = json.loads((directory / file).read_text(encoding="utf-8"))
            return dict(said[key] if key else said)
    raise ExportError(f"{directory} has no preprocessor_config.json.", code="checkpoint_invalid")


def _tokenizer(directory: Path) -> Tokenizer:
    file = directory / "tokenizer.json"
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises a bare Exception
        raise ExportError(
            f"{file} cannot be read ({error}). Save it with AutoTokenizer.from_pretrained(…).save_pretrained(…).",
            code="checkpoint_invalid",
        ) from error


def _check_pixels(directory: Path, transform: ImageTransform) -> None:
    """Refuse a transform that gives other pixels than the transformers processor."""
    from transformers import AutoImageProcessor

    processor = AutoImageProcessor.from_pretrained(directory, backend="pil")
    rng = np.random.default_rng(0)
    for width, height in ((301, 200), (97, 233), (640, 641)):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8))
        picture = coarse.resize((width, height), Image.Resampling.BILINEAR)
        theirs = np.asarray(processor(images=picture, return_tensors="np")["pixel_values"][0])
        ours = transform.apply(picture)
        if theirs.shape != ours.shape or np.abs(theirs - ours).max() > _PIXEL:
            far = float(np.abs(theirs - ours).max()) if theirs.shape == ours.shape else math.inf
            raise ExportError(
                f"the pixels of {directory} cannot be reproduced: a picture of {width} x {height} comes out {far:.3g} "
                "away from the transformers processor's.",
                code="transform_unsupported",
            )


def _check_ids(directory: Path, transform: TextTransform) -> None:
    """Refuse a tokenizer that gives other ids than the transformers one."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(directory)
    except Exception as error:  # a tokenizer's own packages may be missing
        raise ExportError(
            f"the tokenizer of {directory} cannot be checked ({' '.join(str(error).split())[:200]}).",
            code="transform_unsupported",
        ) from error
    for text in _TEXTS:
        theirs: Sequence[int] = tokenizer(text, truncation=True, max_length=transform.max_subwords)["input_ids"]
        ours = transform.encode([text]).ids[0].tolist()
        if ours != list(theirs):
            raise ExportError(
                f"the subwords of {directory} cannot be reproduced: {text[:40]!r} gives {ours[:8]}…, the transformers "
                f"tokenizer {list(theirs)[:8]}….",
                code="transform_unsupported",
            )
