"""Measures how well near-duplicates are found among drawn scenes: planted copies, beside scenes with one thing changed.

    python -m benchmarks.near_duplicates BUNDLE [--pictures 1000] [--world full] [--json OUT]

To so many scenes of the split `test`, a twentieth of them is added once more, for each of the ways in which copies come
in a gallery of its own (as it is, as a JPEG of quality 50, brighter by a tenth, without two pixels of its border), and
another twentieth with one thing changed: those are different pictures. `Gallery.near_duplicates` is asked, as `vernier
index stats --near-duplicates` does: by codes where the bundle has a visual dictionary, and by vectors as if it had
none. Recall is over the planted copies, precision over the pairs that are found.
"""

import argparse
import io
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

import scenes
from benchmarks.report import Report, made_by, write_report
from index import NewItem, near_duplicates, open_folder, thumbnail
from index.features import keep
from runtime.encoder import Encoder
from scenes.edits import edit_image

SEED = 47
SHARE = 0.05


def _jpeg(image: Image.Image) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=50)
    return Image.open(stream).convert("RGB")


def _cut(image: Image.Image) -> Image.Image:
    return image.crop((2, 2, image.width - 2, image.height - 2)).resize(image.size, Image.Resampling.BICUBIC)


WAYS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "same": lambda image: image,
    "jpeg": _jpeg,
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.1),
    "cut": _cut,
}


def main() -> None:
    """Measure and say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--world", choices=sorted(scenes.WORLDS), default="full", help="that the bundle was trained on")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    encoder = Encoder.load(asked.bundle, num_threads=1)
    near_duplicates._MOST_EXAMPLES = 10**9  # every pair is wanted here
    report = {
        **made_by("benchmarks.near_duplicates"),
        "recipe": encoder.manifest.provenance.recipe,
        "pictures": asked.pictures,
        "ways": measure(encoder, asked.pictures, scenes.world_named(asked.world)),
    }
    write_report(report, asked.json)


def measure(encoder: Encoder, number: int, world: scenes.World) -> Report:
    """Precision and recall of each way of copying, by codes and by vectors."""
    size_px = encoder.manifest.image.size_px
    drawn = [scenes.generate(SEED, at, split="test", size_px=size_px, world=world) for at in range(number)]
    planted = range(0, number, round(1 / SHARE))
    others = {f"{at} scene": scene.image for at, scene in enumerate(drawn)}
    others |= {
        f"{at} changed": edit_image(drawn[at], np.random.default_rng((SEED, at))).scene.image
        for at in range(1, number, round(1 / SHARE))
    }
    has_codes = encoder.manifest.graphs["image_encoder"].has_output("codes")
    return {
        way: {
            by: _asked(encoder, others | {f"{at} copy": copied(drawn[at].image) for at in planted}, by == "codes")
            for by in (("codes", "vectors") if has_codes else ("vectors",))
        }
        for way, copied in WAYS.items()
    }


def _asked(encoder: Encoder, pictures: Mapping[str, Image.Image], with_codes: bool) -> Report:
    with tempfile.TemporaryDirectory() as folder:
        gallery = open_folder(
            Path(folder) / "g", space=encoder.space, dim=encoder.dim, create=True, patch_tokens="none"
        )
        found = encoder.embed_images(list(pictures.values()))
        files = [thumbnail(picture) for picture in pictures.values()]
        kept = keep(encoder, found, files, "none") if with_codes else [None] * len(files)
        gallery.upsert(
            [
                NewItem(id=name, image_embedding=vector, picture=file, features=of_picture, content_digest=name)
                for name, vector, file, of_picture in zip(pictures, found.embedding, files, kept, strict=True)
            ]
        )
        told = gallery.near_duplicates()
        gallery.close()
    is_copy = [_is_copy(one, other) for one, other, _ in told.examples]
    changed = sum("changed" in one + other for one, other, _ in told.examples)
    copies = sum(name.endswith("copy") for name in pictures)
    return {
        "threshold": told.threshold,
        "copies": copies,
        "pairs_found": told.pairs,
        "of_them_with_one_thing_changed": changed,
        "recall": round(sum(is_copy) / copies, 3),
        "precision": round(sum(is_copy) / told.pairs, 3) if told.pairs else None,
    }


def _is_copy(one: str, other: str) -> bool:
    return one.split()[0] == other.split()[0] and {one.split()[1], other.split()[1]} == {"scene", "copy"}


if __name__ == "__main__":
    main()
