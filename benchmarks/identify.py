"""Measures how well `/identify` names a thing in a picture, beside cutting the thing out and comparing with `/embed`.

    make serve
    python -m benchmarks.identify [--url http://127.0.0.1:8000] [--scenes 100] [--json OUT]

Scenes are drawn anew (split `test`, which no recipe trains on). Each phrase of a scene's caption that names one thing
is looked for among 250 phrases: its own, and 249 that other captions use. The point is off the middle of the thing by
up to a quarter of its sides; the box is the thing's own, 15 % larger. Chance is 0.4 % for the first, 2 % for the first
five.
"""

import argparse
import base64
import io
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from benchmarks.report import made_by, write_report
from scenes import PhraseBox, Scene, generate

SIZE_PX = 192
NUM_PHRASES = 250
MARGIN = 0.15
JITTER = 0.25
SEED = 7

Box = tuple[float, float, float, float]


def main() -> int:
    """Ask, count and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with httpx.Client(base_url=given.url, timeout=60) as client:
        report = {
            "provenance": made_by("benchmarks.identify"),
            "bundle": client.get("/info").raise_for_status().json()["bundle"]["name"],
            **measure(client, num_scenes=given.scenes),
        }
    write_report(report, given.json)
    return 0


def measure(client: httpx.Client, *, num_scenes: int) -> dict[str, Any]:
    """Rank the true phrase of every thing by each way; shares of first ranks and of ranks up to five."""
    rng = np.random.default_rng(SEED)
    scenes = [generate(SEED, index, split="test", size_px=SIZE_PX) for index in range(num_scenes)]
    further = [generate(SEED, num_scenes + index, split="test", size_px=SIZE_PX) for index in range(NUM_PHRASES)]
    spoken = sorted({phrase.text.lower() for scene in further for phrase in single(scene)})
    ranks: dict[str, list[int]] = defaultdict(list)
    for scene in scenes:
        image = {"base64": base64.b64encode(png(scene.image)).decode()}
        for phrase in single(scene):
            truth = phrase.text.lower()
            others = [other for other in spoken if other != truth]
            phrases = [truth, *rng.choice(others, NUM_PHRASES - 1, replace=False).tolist()]
            x0, y0, x1, y1 = inside = in_pixels(phrase.box)
            off = rng.uniform(-JITTER, JITTER, 2)
            point = [(x0 + x1) / 2 + off[0] * (x1 - x0), (y0 + y1) / 2 + off[1] * (y1 - y0)]
            box = list(larger(inside))
            asked = {"image": image, "phrases": phrases, "top_k": 100}
            ranks["point"].append(rank_of(truth, client, {**asked, "point": point}))
            ranks["box"].append(rank_of(truth, client, {**asked, "box": box}))
            ranks["box cut out, by /embed"].append(rank_cut_out(client, scene.image, larger(inside), phrases))
    return {
        "things": len(ranks["box"]),
        "phrases": NUM_PHRASES,
        "ways": {
            way: {"first": share(found, 1), "first five": share(found, 5), "median_rank": float(np.median(found) + 1)}
            for way, found in ranks.items()
        },
    }


def single(scene: Scene) -> Iterable[PhraseBox]:
    """The phrases that name one thing."""
    return [phrase for phrase in scene.phrases if len(phrase.boxes) == 1]


def in_pixels(box: Box) -> Box:
    """A box in pixels, from one in fractions."""
    x0, y0, x1, y1 = (side * SIZE_PX for side in box)
    return (x0, y0, x1, y1)


def larger(box: Box) -> Box:
    """A box with a margin, within the picture."""
    x0, y0, x1, y1 = box
    across, down = MARGIN * (x1 - x0), MARGIN * (y1 - y0)
    return (max(0.0, x0 - across), max(0.0, y0 - down), min(SIZE_PX, x1 + across), min(SIZE_PX, y1 + down))


def rank_of(truth: str, client: httpx.Client, asked: dict[str, Any]) -> int:
    """How many phrases are named before the true one; 100 when it is not among the first hundred."""
    names = client.post("/identify", json=asked).raise_for_status().json()["names"]
    return next((rank for rank, name in enumerate(names) if name["phrase"] == truth), 100)


def rank_cut_out(client: httpx.Client, image: Image.Image, box: Box, phrases: list[str]) -> int:
    """The same by the embedding of the thing alone; the true phrase is the first."""
    x0, y0, x1, y1 = (round(side) for side in box)
    cut = image.crop((x0, y0, x1, y1))
    inputs = [{"image": {"base64": base64.b64encode(png(cut)).decode()}}, *({"text": phrase} for phrase in phrases)]
    vectors = np.asarray(client.post("/embed", json={"inputs": inputs}).raise_for_status().json()["embeddings"])
    scores = vectors[1:] @ vectors[0]
    return int((scores[1:] > scores[0]).sum())


def share(ranks: list[int], most: int) -> float:
    """The share of ranks below a number."""
    return round(float(np.mean(np.asarray(ranks) < most)), 3)


def png(image: Image.Image) -> bytes:
    """A picture's file."""
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


if __name__ == "__main__":
    sys.exit(main())
