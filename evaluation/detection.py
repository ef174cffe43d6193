"""Detection: class names looked for in pictures, against boxes in COCO's format, by COCO's own mean average precision.

`pycocotools` counts; what is fed to it are the boxes of a grounding of every class name, non-overlapping per class. It
comes with the extra `detection`, since nothing else needs it.

Paper: LOUPE (2022), which detects objects by grounding class names and reports mAP at 0.3 and 0.5.
"""

import contextlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.pictures import open_picture
from runtime.encoder import Encoder
from runtime.errors import DataError, ImageError
from runtime.grounding import ground

Progress = Callable[[int, int], None]

OVERLAPS = (0.3, 0.5)
"""Intersections over union from which a box is right."""

MOST_CLASSES = 100
MOST_BOXES = 100  # of a picture, as COCO counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Detected:
    """A box of a class in a picture, in COCO's words.

    Attributes:
        image_id: the picture.
        category_id: the class.
        bbox: left, top, width and height in the pixels that the file counts in.
        score: higher is surer.
    """

    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    score: float


def detect(
    encoder: Encoder,
    images: Path,
    truth: dict[str, Any],
    *,
    most_per_class: int = 10,
    budget: int = 0,
    limit: int | None = None,
    progress: Progress | None = None,
) -> tuple[list[int], list[Detected]]:
    """Look for every class in every picture.

    Boxes are taken however unsure: average precision orders them by their scores, and a threshold would only cut it.

    Args:
        encoder: the bundle.
        images: the folder of the pictures.
        truth: a COCO file, read.
        most_per_class: boxes of one class in one picture.
        budget: as in `runtime.grounding.ground`.
        limit: at most so many pictures, the first ones.
        progress: called with (pictures done, pictures).

    Returns:
        The pictures that were looked at, and what was found.

    Raises:
        DataError: a picture cannot be read, or there are more classes than are looked for at once.
        GraphMissingError: the bundle cannot ground.
    """
    names = [category["name"] for category in truth["categories"]]
    if len(names) > MOST_CLASSES:
        raise DataError(f"the file has {len(names)} classes; at most {MOST_CLASSES} are looked for at once.")
    texts, transform = encoder.embed_texts(names), encoder.manifest.image.transform()
    found: list[Detected] = []
    listed = truth["images"][:limit]
    for done, entry in enumerate(listed, 1):
        try:
            picture = open_picture(images, entry["file_name"])
        except (OSError, ImageError) as error:
            raise DataError(f"the picture {entry['file_name']} in {images} cannot be read ({error}).") from error
        pixels = encoder.image_input(picture)
        features = encoder.embed_pixels([pixels])
        groundings = ground(
            encoder, features, names, texts=texts, pixels=pixels, budget=budget, top_k=most_per_class, threshold=0.0
        )
        width, height = entry["width"], entry["height"]
        for category, grounding in zip(truth["categories"], groundings, strict=True):
            for box in grounding.boxes:
                x0, y0, x1, y1 = transform.box_in_picture(box.box, width_px=width, height_px=height)
                found.append(
                    Detected(
                        image_id=entry["id"],
                        category_id=category["id"],
                        bbox=(x0 * width, y0 * height, (x1 - x0) * width, (y1 - y0) * height),
                        score=box.score,
                    )
                )
        if progress is not None:
            progress(done, len(listed))
    return [entry["id"] for entry in listed], found


def average_precision(truth: dict[str, Any], pictures: Sequence[int], found: Sequence[Detected]) -> dict[str, float]:
    """Mean average precision over the classes that are in the pictures, by `pycocotools`, at each of `OVERLAPS`.

    Args:
        truth: a COCO file, read.
        pictures: ids of the pictures that count.
        found: what was found in them.

    Returns:
        `map@0.3`, `map@0.5` in 0..1.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):  # it prints
        reference = COCO()
        reference.dataset = {**truth, "annotations": [_annotation(a) for a in truth["annotations"]]}
        reference.createIndex()
        answered = reference.loadRes([_as_result(one) for one in found]) if found else COCO()
        judge = COCOeval(reference, answered, "bbox")
        judge.params.imgIds = list(pictures)
        judge.params.iouThrs = np.array(OVERLAPS)
        judge.params.maxDets = [MOST_BOXES]
        judge.params.areaRng, judge.params.areaRngLbl = [[0, 1e10]], ["all"]
        if not found:
            return {f"map@{overlap}": 0.0 for overlap in OVERLAPS}
        judge.evaluate()
        judge.accumulate()
    precision = judge.eval["precision"][:, :, :, 0, 0]  # overlaps, recalls, classes; -1 where a class is not there
    return {
        f"map@{overlap}": float(at[at > -1].mean()) if (at > -1).any() else 0.0
        for overlap, at in zip(OVERLAPS, precision, strict=True)
    }


def evaluate_detection(
    encoder: Encoder,
    file: Path,
    images: Path,
    *,
    budget: int = 0,
    limit: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Return the `detection` group of the result: counts, mAP, the same of the whole picture as every class's box.

    Raises:
        DataError: the file is not COCO's, or what `detect` raises.
        GraphMissingError: the bundle cannot ground.
    """
    if not images.is_dir():
        raise DataError(f"there is no folder of pictures at {images}.")
    truth = read_coco(file)
    pictures, found = detect(encoder, images, truth, budget=budget, limit=limit, progress=progress)
    whole = list(_whole_pictures(truth, pictures))
    at_hand = set(pictures)
    return {
        "count": len(pictures),
        "boxes": sum(a["image_id"] in at_hand for a in truth["annotations"]),
        "classes": len(truth["categories"]),
        **average_precision(truth, pictures, found),
        **{f"whole_image_{name}": value for name, value in average_precision(truth, pictures, whole).items()},
    }


def read_coco(file: Path) -> dict[str, Any]:
    """Read a file of COCO's instances.

    Raises:
        DataError: it cannot be read, or lacks what is needed; the message says what.
    """
    try:
        truth = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read as JSON ({error}).") from error
    needed = {
        "images": ("id", "file_name", "width", "height"),
        "categories": ("id", "name"),
        "annotations": ("image_id", "category_id", "bbox"),
    }
    for part, fields in needed.items():
        rows = truth.get(part) if isinstance(truth, dict) else None
        if not isinstance(rows, list) or not rows:
            raise DataError(f"{file} is no COCO file of instances: it has no '{part}'.")
        for at, row in enumerate(rows):
            missing = [name for name in fields if not isinstance(row, dict) or name not in row]
            if missing:
                raise DataError(f"{file}: {part}[{at}] has no '{missing[0]}'.")
    return dict(truth)


def _as_result(one: Detected) -> dict[str, Any]:
    """Return a detection as COCO's results write it."""
    return {
        "image_id": one.image_id,
        "category_id": one.category_id,
        "bbox": list(one.bbox),
        "score": one.score,
    }


def _annotation(given: dict[str, Any]) -> dict[str, Any]:
    """Fill in what `pycocotools` wants and files may leave out."""
    return {"iscrowd": 0, "area": given["bbox"][2] * given["bbox"][3], **given}


def _whole_pictures(truth: dict[str, Any], pictures: Sequence[int]) -> Iterator[Detected]:
    """The control that needs no model: every class in every picture, and its box the whole of it."""
    at_hand = set(pictures)
    for entry in truth["images"]:
        if entry["id"] in at_hand:
            box = (0.0, 0.0, float(entry["width"]), float(entry["height"]))
            for category in truth["categories"]:
                yield Detected(image_id=entry["id"], category_id=category["id"], bbox=box, score=1.0)
