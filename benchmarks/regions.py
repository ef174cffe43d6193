"""Measures the regions of bundles with a region head, as boxes, without any phrase.

    python -m benchmarks.regions BUNDLE… [--scenes N] [--split test] [--world small] [--json OUT]

On drawn scenes that no training saw: average precision of the boxes, all of one class, ranked by their confidence over
all pictures, at overlaps of 0.3 and 0.5, where a picture's things (mentioned or not) are the truth and each is found
once; and the share of things that any region overlaps by half. Precision is taken at every rank at which a thing is
found, and counted as the highest of that rank and later ones, as COCO does. Controls: the same boxes with random
confidences, and as many boxes of the same sizes anywhere.
"""

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import scenes
from benchmarks.training import provenance
from evaluation.grounding import Box, iou
from runtime.encoder import Encoder
from runtime.grounding.boxes import non_overlapping

_SEED = 20262
_MOST_OVERLAP = 0.4  # of the graph: what overlaps a more confident box by more only fills up the number

Report = dict[str, Any]


def main() -> int:
    """Run everything once, print it, and write it as JSON when asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--names", nargs="+", help="of the bundles, for the report; their directories' when left out")
    parser.add_argument("--scenes", type=int, default=300)
    parser.add_argument("--split", default="test", choices=scenes.SPLITS)
    parser.add_argument("--world", default="small")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    names = arguments.names or [bundle.name for bundle in arguments.bundles]
    report: Report = {
        "provenance": provenance() | {"command": "python -m benchmarks.regions " + shlex.join(sys.argv[1:])},
        "scenes": arguments.scenes,
        "split": arguments.split,
        "seed": _SEED,
        "bundles": {
            name: measured(bundle, count=arguments.scenes, split=arguments.split, world=arguments.world)
            for name, bundle in zip(names, arguments.bundles, strict=True)
        },
    }
    report["provenance"]["command"] = _without_paths(report["provenance"]["command"], arguments.bundles, names)
    text = json.dumps(report, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")
    return 0


def measured(bundle: Path, *, count: int, split: str, world: str) -> Report:
    """The numbers of one bundle."""
    encoder = Encoder.load(bundle, provider="cpu", num_threads=1)
    size_px = encoder.manifest.image.size_px
    drawn = [
        scenes.generate(_SEED, index, split=split, size_px=size_px, world=scenes.world_named(world))
        for index in range(count)
    ]
    features = encoder.embed_images([scene.image for scene in drawn])
    assert features.region_boxes is not None
    assert features.region_scores is not None
    truth = [[thing.box for thing in scene.objects] for scene in drawn]
    kept = [
        non_overlapping(of_picture, most=len(of_picture), most_overlap=_MOST_OVERLAP)
        for of_picture in features.region_boxes
    ]
    boxes = [[_box(of[at]) for at in places] for of, places in zip(features.region_boxes, kept, strict=True)]
    scores = [of[places] for of, places in zip(features.region_scores, kept, strict=True)]
    rng = np.random.default_rng(0)
    elsewhere = [[_elsewhere(box, rng) for box in of_picture] for of_picture in boxes]
    return {
        "things": sum(map(len, truth)),
        "boxes": sum(map(len, boxes)),
        "mean_side": round(float(np.mean([(b[2] - b[0] + b[3] - b[1]) / 2 for of in boxes for b in of])), 4),
        "mean_side_of_things": round(float(np.mean([(b[2] - b[0] + b[3] - b[1]) / 2 for of in truth for b in of])), 4),
        **_numbers(boxes, scores, truth),
        "random_confidence": _numbers(boxes, [rng.random(len(of)) for of in boxes], truth),
        "random_places": _numbers(elsewhere, scores, truth),
    }


def average_precision(
    boxes: list[list[Box]], scores: list[NDArray[Any]], truth: list[list[Box]], *, overlap: float
) -> float:
    """Of boxes of many pictures in one ranking: the mean over all things of the precision at which each is found."""
    ranked = sorted(
        (
            (float(score), picture, box)
            for picture, of in enumerate(boxes)
            for score, box in zip(scores[picture], of, strict=True)
        ),
        key=lambda entry: -entry[0],
    )
    left = [list(of) for of in truth]
    hits = np.zeros(len(ranked), bool)
    for at, (_, picture, box) in enumerate(ranked):
        best = max(left[picture], key=lambda true: iou(box, true), default=None)
        if best is not None and iou(box, best) >= overlap:
            left[picture].remove(best)
            hits[at] = True
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    return float(highest[hits].sum() / max(1, sum(map(len, truth))))


def recall(boxes: list[list[Box]], truth: list[list[Box]], *, overlap: float) -> float:
    """The share of things that any box overlaps so far."""
    found = [any(iou(box, true) >= overlap for box in boxes[at]) for at, of in enumerate(truth) for true in of]
    return float(np.mean(found))


def _numbers(boxes: list[list[Box]], scores: list[NDArray[Any]], truth: list[list[Box]]) -> Report:
    return {
        **{
            f"ap@{overlap}": round(average_precision(boxes, scores, truth, overlap=overlap), 4)
            for overlap in (0.3, 0.5)
        },
        "recall@0.5": round(recall(boxes, truth, overlap=0.5), 4),
    }


def _elsewhere(box: Box, rng: np.random.Generator) -> Box:
    width, height = box[2] - box[0], box[3] - box[1]
    x, y = rng.uniform(0, 1 - width), rng.uniform(0, 1 - height)
    return (x, y, x + width, y + height)


def _box(box: NDArray[Any]) -> Box:
    x0, y0, x1, y1 = (float(edge) for edge in box)
    return (x0, y0, x1, y1)


def _without_paths(command: str, bundles: list[Path], names: list[str]) -> str:
    for bundle, name in zip(bundles, names, strict=True):
        command = command.replace(str(bundle), name)
    return command


if __name__ == "__main__":
    raise SystemExit(main())
