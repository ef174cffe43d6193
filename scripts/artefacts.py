"""The artefact check of NAS: does a model that tells synthesised pictures from real ones tell redrawn ones, too?

A wrong picture made of exchanged patches can be known by the exchange itself. Then accuracy on such pictures rises and
accuracy on pictures that were drawn again, with one thing changed, does not; and exchanged patches are found under any
caption, where nothing is to be found. Of drawn scenes it says, by the fusion encoder, how often the right picture
scores above

    synthesised   the same with exchanged patches, of both forms (`training.objectives.nas`), k at its narrowest
    redrawn       the same with one thing drawn otherwise, which the caption speaks of

and of each, after a slash, the same under another picture's caption: 50 % where the caption decides. A model without a
visual dictionary gets one for the occasion, of its own patches.

    .venv/bin/python scripts/artefacts.py CHECKPOINT... [--count 500] [--split test] [--json OUT]
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import scenes  # noqa: E402
from runtime.errors import UsageError, VernierError  # noqa: E402
from runtime.preprocess.image import ImageTransform  # noqa: E402
from runtime.preprocess.text import TextTransform  # noqa: E402
from scenes.scene import stream  # noqa: E402
from training.checkpoint import load_trained  # noqa: E402
from training.data.scene_pairs import ScenePairsConfig  # noqa: E402
from training.model.features import PairFeatures  # noqa: E402
from training.model.pair_model import PairModel  # noqa: E402
from training.model.visual_dictionary import VisualDictionary, VisualDictionaryConfig  # noqa: E402
from training.objectives.nas import VisualAugmentationConfig, wrong_pictures  # noqa: E402

SCENES_SEED = 20262
_PURPOSE = 2  # of the stream that a scene is drawn again from, as `vernier scenes` numbers it
_BORROWED = VisualDictionaryConfig(size=256, share=0.0, start_step=1)
_PAIRS_AT_ONCE = 100

Found = dict[str, float]


@torch.no_grad()
def measure(checkpoint: Path, *, count: int, split: str) -> Found:
    """The shares of one checkpoint, by name.

    Raises:
        UsageError: it was not trained on drawn scenes, or has no fusion encoder.
    """
    trained = load_trained(checkpoint)
    data, model = trained.config.data, trained.model
    if not isinstance(data, ScenePairsConfig) or model.fusion_encoder is None:
        raise UsageError(f"{checkpoint} is no model of drawn scenes with a fusion encoder.")
    world, transform = scenes.world_named(data.world), ImageTransform(size_px=data.size_px)
    read = TextTransform(trained.tokenizer, max_subwords=data.max_subwords)
    drawn = [
        scenes.generate(SCENES_SEED, index, split=split, size_px=data.size_px, world=world) for index in range(count)
    ]
    redrawn = [
        scenes.edit_image(scene, stream(SCENES_SEED, index, split=split, purpose=_PURPOSE)).scene
        for index, scene in enumerate(drawn)
    ]
    encoded = read.encode([scene.caption for scene in drawn])
    ids, mask = torch.from_numpy(encoded.ids), torch.from_numpy(encoded.mask).bool()
    right, changed = (
        torch.stack([torch.from_numpy(transform.apply(scene.image)) for scene in some]) for some in (drawn, redrawn)
    )
    features = _joined([model.encode_pairs(right[at], ids[at], mask[at]) for at in _parts(count)])
    images = {
        "redrawn": torch.cat([model.encode_images(changed[at]).tokens for at in _parts(count)]),
        **_synthesised(model, features, count),
    }
    return {
        f"{name}{suffix}": _share_above(model, features, wrong, shift=shift)
        for name, wrong in images.items()
        for suffix, shift in (("", 0), ("_another_caption", 1))
    }


def _synthesised(model: PairModel, features: PairFeatures, count: int) -> dict[str, Tensor]:
    dictionary = model.visual_dictionary
    if dictionary is None:
        dictionary = VisualDictionary(_BORROWED, features.image_tokens.shape[-1])
        dictionary.advance(features.image_tokens)
        features = dataclasses.replace(features, codes=dictionary(features.image_tokens).codes)
    torch.manual_seed(0)
    found: dict[str, Tensor] = {}
    for name, is_residual in (("synthesised_residual", True), ("synthesised_literal", False)):
        augmentation = VisualAugmentationConfig(is_residual=is_residual)
        found[name] = wrong_pictures(
            dictionary,
            features,
            augmentation,
            grid=model.image_encoder.grid,
            nearest=augmentation.nearest,
            count=count,
        ).tokens
    return found


def _share_above(model: PairModel, features: PairFeatures, wrong: Tensor, *, shift: int) -> float:
    """How often the right picture scores above the wrong one, under the caption so many pairs further on."""
    texts, masks = features.text_tokens.roll(shift, 0), features.text_mask.roll(shift, 0)
    right = _scores(model, texts, masks, features.image_tokens)
    return (right > _scores(model, texts, masks, wrong)).float().mean().item()


def _scores(
    model: PairModel,
    texts: Float[Tensor, "pairs subwords width"],
    masks: Bool[Tensor, "pairs subwords"],
    images: Float[Tensor, "pairs patches image_width"],
) -> Float[Tensor, " pairs"]:
    return torch.cat([model.match(model.fuse(texts[at], masks[at], images[at])) for at in _parts(len(texts))])


def _parts(count: int) -> list[slice]:
    return [slice(at, at + _PAIRS_AT_ONCE) for at in range(0, count, _PAIRS_AT_ONCE)]


def _joined(parts: list[PairFeatures]) -> PairFeatures:
    names = [field.name for field in dataclasses.fields(parts[0])]
    joined = {
        name: torch.cat([getattr(part, name) for part in parts])
        for name in names
        if isinstance(value := getattr(parts[0], name), Tensor) and value.ndim > 0
    }
    return dataclasses.replace(parts[0], **joined)  # type: ignore[arg-type]  # what is no tensor stays


def main() -> None:
    """Read the call, measure, print a line for each checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoints", type=Path, nargs="+", metavar="CHECKPOINT")
    parser.add_argument("--count", type=int, default=500, help="scenes")
    parser.add_argument("--split", default="test")
    parser.add_argument("--json", type=Path, help="where the numbers go, too")
    given = parser.parse_args()
    found: dict[str, Found] = {}
    try:
        for checkpoint in given.checkpoints:
            found[str(checkpoint)] = shares = measure(checkpoint, count=given.count, split=given.split)
            said = "  ".join(
                f"{name} {shares[name]:.1%} / {shares[f'{name}_another_caption']:.1%}"
                for name in ("redrawn", "synthesised_residual", "synthesised_literal")
            )
            print(f"{checkpoint}: {said}", flush=True)
    except VernierError as error:
        sys.exit(f"artefacts: {error}")
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
