"""Measures heat maps: do they point at the thing, and what does the exported gradient cost beside PyTorch's own?

    python -m benchmarks.word_maps pointing BUNDLE --grounding F --images DIR [--json OUT]
    python -m benchmarks.word_maps words BUNDLE [--split val] [--scenes 500] [--json OUT]
    python -m benchmarks.word_maps time BUNDLE CHECKPOINT [--json OUT]

`pointing`: share of phrases whose map is hottest within a true box, for each way that the bundle allows, beside the
middle of the picture and another phrase's map (as `vernier eval`); and how much of a map's heat lies within the boxes,
beside the boxes' share of the picture. `words`: the same for every word of a phrase within
a drawn scene's caption, shown as it is served (with its phrase), and by itself. `time`: the `word_maps` graph in ONNX
Runtime against the same maps by PyTorch's autograd, in turn on one thread, and the fusion graph, which is what the
cheaper way costs; in time of the processor, since other work stretches the clock.
"""

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from benchmarks.index import provenance
from evaluation.grounding import Box, GroundedRow, compare, hottest, is_in, summarise
from evaluation.pictures import open_picture
from evaluation.readers import GroundingRow, read_rows
from runtime.encoder import Encoder, ImageFeatures
from runtime.errors import GraphMissingError
from runtime.preprocess.text import Word, words
from runtime.word_judges import UNJUDGED
from runtime.word_maps import MapMethod, phrase_maps, subword_maps, word_maps
from scenes import generate

BATCHES = (1, 8, 32)
LENGTH = 16
ROUNDS = 15


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("pointing", "words", "time"))
    parser.add_argument("bundle", type=Path)
    parser.add_argument("checkpoint", type=Path, nargs="?")
    parser.add_argument("--grounding", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--scenes", type=int, default=500)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    encoder = Encoder.load(given.bundle, provider="cpu", num_threads=1)
    if given.what == "pointing":
        found = pointing(encoder, read_rows(given.grounding, GroundingRow), given.images)
    elif given.what == "words":
        found = words_pointing(encoder, split=given.split, num_scenes=given.scenes)
    else:
        found = timed(encoder, given.checkpoint)
    report = {
        "provenance": {**provenance(), "command": "python -m " + " ".join(["benchmarks.word_maps", *sys.argv[1:]])},
        "bundle": encoder.manifest.name,
        **found,
    }
    text = json.dumps(report, indent=2)
    print(text)
    if given.json:
        given.json.write_text(text + "\n")
    return 0


def allowed(encoder: Encoder, image: ImageFeatures) -> list[MapMethod]:
    """The ways that a bundle allows."""
    ways: list[MapMethod] = []
    for method in get_args(MapMethod):
        try:
            phrase_maps(encoder, image, ["a"], method=method)
        except GraphMissingError:
            continue
        ways.append(method)
    return ways


def pointing(encoder: Encoder, rows: list[GroundingRow], folder: Path) -> dict[str, Any]:
    """The `grounding` numbers of each way that are about points."""
    of_picture: dict[str, list[GroundingRow]] = defaultdict(list)
    for row in rows:
        of_picture[row.image].append(row)
    transform = encoder.manifest.image.transform()
    grounded: dict[str, list[GroundedRow]] = defaultdict(list)
    inside: dict[str, list[float]] = defaultdict(list)
    for group, (name, asked) in enumerate(of_picture.items()):
        picture = open_picture(folder, name)
        image = encoder.embed_images([picture])
        width_px, height_px = picture.size
        for method in allowed(encoder, image):
            heats = phrase_maps(encoder, image, [row.phrase for row in asked], method=method)
            for row, heat in zip(asked, heats, strict=True):
                inside[method].append(_share_inside(heat, row.boxes))
                inside["area of the boxes"].append(_share_inside(np.ones_like(heat), row.boxes))
                x, y = hottest(heat)
                x, y, *_ = transform.box_in_picture((x, y, x, y), width_px=width_px, height_px=height_px)
                grounded[method].append(
                    GroundedRow(truth=row.boxes, box=None, point=(x, y), phrase=row.phrase, group=group)
                )
    return {
        "ways": {way: _of_points(summarise(found, compare(found))) for way, found in grounded.items()},
        "heat_inside": {way: round(float(np.mean(shares)), 4) for way, shares in inside.items()},
    }


def _share_inside(heat: NDArray[np.float32], boxes: Sequence[Box]) -> float:
    """How much of a map's heat lies in boxes (fractions of the picture, which is squashed to the map)."""
    fine = np.kron(heat, np.ones((8, 8), np.float32))
    rows, columns = fine.shape
    is_in_one = np.zeros(fine.shape, bool)
    for x0, y0, x1, y1 in boxes:
        is_in_one[round(y0 * rows) : round(y1 * rows), round(x0 * columns) : round(x1 * columns)] = True
    return float(fine[is_in_one].sum() / max(float(fine.sum()), 1e-12))


def _of_points(numbers: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in numbers.items() if "pointing" in name or name == "count"}


def words_pointing(encoder: Encoder, *, split: str, num_scenes: int) -> dict[str, Any]:
    """Share of the words of phrases whose map is hottest within their thing; the last word of a phrase by itself."""
    hits: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for number in range(num_scenes):
        scene = generate(1, number, split=split, size_px=encoder.manifest.image.size_px)
        image = encoder.embed_images([scene.image])
        for method in allowed(encoder, image):
            shown = {one.start: one.heat for one in word_maps(encoder, image, scene.caption, method=method)}
            own = subword_maps(encoder, image, scene.caption, words(scene.caption), method=method)
            alone = {word.start: heat for word, heat in zip(words(scene.caption), own, strict=True)}
            for phrase in scene.phrases:
                listed = [word for word in words(scene.caption) if _is_in(word, phrase.start, phrase.end)]
                for word in listed:
                    kind = "last word" if word == listed[-1] else "other words"
                    for way, heat in (("as shown", shown[word.start]), ("by itself", alone[word.start])):
                        point = hottest(heat)
                        hits[method][f"{kind}, {way}"].append(any(is_in(point, box) for box in phrase.boxes))
    return {
        "split": split,
        "scenes": num_scenes,
        "ways": {
            way: {
                kind: {"pointing": round(float(np.mean(found)), 4), "count": len(found)} for kind, found in of.items()
            }
            for way, of in hits.items()
        },
    }


def _share(hits: list[bool]) -> dict[str, float]:
    return {"pointing": round(float(np.mean(hits)), 4), "count": len(hits)}


def _is_in(word: Word, start: int, end: int) -> bool:
    return start <= word.start and word.end <= end and word.text.lower() not in UNJUDGED


def timed(encoder: Encoder, checkpoint: Path) -> dict[str, Any]:
    """Median milliseconds of CPU of a call by batch, which other work leaves nearly as they are, and the ratio."""
    import torch

    from training.checkpoint import load_trained
    from training.model.word_maps import word_maps as by_autograd

    torch.set_num_threads(1)
    model = load_trained(checkpoint).model.eval().requires_grad_(False)
    rng = np.random.default_rng(0)
    width = model.text_encoder.width
    patches = encoder.manifest.image.patch_rows * encoder.manifest.image.patch_columns
    found: dict[str, Any] = {}
    for batch in BATCHES:
        given: dict[str, NDArray[Any]] = {
            "word_tokens": rng.normal(size=(batch, LENGTH, width)).astype(np.float32),
            "mask": np.ones((batch, LENGTH), np.int64),
            "patch_tokens": rng.normal(size=(batch, patches, model.image_encoder.width)).astype(np.float32),
        }
        tensors = [torch.from_numpy(value) for value in given.values()]
        tensors[1] = tensors[1].bool()
        ways: dict[str, Callable[[], object]] = {
            "word_maps graph": partial(encoder.engines["word_maps"].run, given),
            "fusion graph": partial(encoder.engines["fusion"].run, given, ("relevance",)),
            "pytorch autograd": partial(by_autograd, model, *tensors),
        }
        times: dict[str, list[float]] = defaultdict(list)
        for turn in range(ROUNDS + 3):
            for name, run in ways.items():
                since = time.process_time()
                run()
                if turn >= 3:  # the first calls warm up
                    times[name].append(1000 * (time.process_time() - since))
        ms = {name: round(float(np.median(values)), 3) for name, values in times.items()}
        ratio = ms["word_maps graph"] / ms["pytorch autograd"]
        found[str(batch)] = {"cpu_ms": ms, "graph_over_pytorch": round(ratio, 3)}
    return {"subwords": LENGTH, "rounds": ROUNDS, "by_batch": found}


if __name__ == "__main__":
    sys.exit(main())
