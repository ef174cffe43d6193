"""Measures grounding: what a stored picture spares, and what a budget of masked pictures buys without a fusion graph.

    python -m benchmarks.ground cost BUNDLE [--json OUT]
    python -m benchmarks.ground budgets BUNDLE [--budgets 0 64 192 512] [--scenes 60] [--json OUT]
    python -m benchmarks.ground budgets BUNDLE --rows grounding.jsonl --images DIR [--pictures 100] [--json OUT]

`cost` runs a server of its own over sockets, its caches off, and asks three phrases of pictures that are sent and of
the same pictures stored, in turn; nothing is masked (budget 0). Pictures are 640 by 480. CPU is the server's.

`budgets` takes the bundle's two encoders alone, whatever else it has, and looks for phrases of drawn scenes (split
`test`, which no recipe trains on), or of a file's single-box rows, with each budget. Beside it stand the controls that
need no model, and the bundle as it is.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from benchmarks.report import made_by, write_report
from benchmarks.server import pictures, running
from evaluation.grounding import CENTRE, MIDDLE, OVERLAP, WHOLE, Box, hottest, iou, is_in
from evaluation.pictures import open_picture
from evaluation.readers import GroundingRow, read_rows
from runtime.encoder import Encoder
from runtime.grounding import Grounding, ground, method_of
from scenes import generate

PHRASES = ["a red star", "the blue circle", "a green thing"]
SEED = 11
SIZE = "640x480"
PICTURES = 10
ROUNDS = 4

Asked = tuple[Image.Image, list[tuple[str, Box]]]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["cost", "budgets"])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--budgets", type=int, nargs="+", default=[0, 64, 192, 512])
    parser.add_argument("--scenes", type=int, default=60)
    parser.add_argument("--rows", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1, help="of the model, for budgets")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.what == "cost":
        measured = cost(given.bundle)
    else:
        asked = drawn(given.scenes) if given.rows is None else photos(given.rows, given.images, given.pictures)
        measured = budgets(Encoder.load(given.bundle, num_threads=given.threads), list(asked), given.budgets)
    write_report({"provenance": made_by("benchmarks.ground"), **measured}, given.json)
    return 0


def cost(bundle: Path) -> dict[str, Any]:
    """Milliseconds of `/ground` on pictures that are sent and on the same pictures stored."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder), bundle) as server,
        httpx.Client(base_url=f"http://{server.address[0]}:{server.address[1]}", timeout=60) as client,
    ):
        return _ask(client, server.process.pid)


def _ask(client: httpx.Client, pid: int) -> dict[str, Any]:
    files = pictures(PICTURES, SIZE)
    for at, file in enumerate(files):
        client.put(f"/galleries/default/items/{at}", files={"image": ("a.jpg", file, "image/jpeg")}).raise_for_status()
    took: dict[str, list[float]] = defaultdict(list)
    worked: dict[str, list[float]] = defaultdict(list)
    method = ""
    for turn in range(ROUNDS + 1):
        for at, file in enumerate(files):
            for way, body in (
                (
                    "sent",
                    {
                        "files": {
                            "image": ("a.jpg", file, "image/jpeg"),
                            "request": (None, _request(), "application/json"),
                        }
                    },
                ),
                ("stored", {"json": {"image": {"item": str(at)}, "phrases": PHRASES, "budget": 0}}),
            ):
                since, worked_before_s = time.perf_counter(), _cpu_s(pid)
                answer = client.post("/ground", **body).raise_for_status().json()
                if turn > 0:  # the first warms up
                    took[way].append(1e3 * (time.perf_counter() - since))
                    worked[way].append(1e3 * (_cpu_s(pid) - worked_before_s))
                method = answer["method"]
    sent, stored = (statistics.median(took[way]) for way in ("sent", "stored"))
    sent_cpu, stored_cpu = (statistics.median(worked[way]) for way in ("sent", "stored"))
    return {
        "bundle": client.get("/info").json()["bundle"]["name"],
        "method": method,
        "phrases": len(PHRASES),
        "questions_each": len(took["sent"]),
        "median_ms": {"sent": round(sent, 2), "stored": round(stored, 2)},
        "times_cheaper": round(sent / stored, 2),
        "median_cpu_ms": {"sent": round(sent_cpu, 2), "stored": round(stored_cpu, 2)},
        "times_cheaper_in_cpu": round(sent_cpu / stored_cpu, 2),
    }


def _cpu_s(pid: int) -> float:
    """CPU time of another process, to the nanosecond: the number of its clock is made as `clock_getcpuclockid` does."""
    return time.clock_gettime((~pid << 3) | 2)


def _request() -> str:
    return json.dumps({"phrases": PHRASES, "budget": 0})


def budgets(encoder: Encoder, asked: Sequence[Asked], wanted: Sequence[int]) -> dict[str, Any]:
    """Acc@0.5 and pointing of two encoders alone with each budget, of the whole bundle, and of the controls."""
    alone = two_encoders(encoder)
    ways = {f"budget {budget}": (alone, budget) for budget in wanted}
    if method_of(encoder.manifest) != method_of(alone.manifest):
        ways["the bundle as it is"] = (encoder, max(wanted))
    hits: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    seconds: dict[str, float] = defaultdict(float)
    methods: dict[str, str] = {}
    for picture, phrases in asked:
        pixels = encoder.image_input(picture)
        image = encoder.embed_pixels([pixels])
        names, boxes = [name for name, _ in phrases], [box for _, box in phrases]
        for way, (by, budget) in ways.items():
            since = time.perf_counter()
            found = ground(by, image, names, pixels=pixels, budget=budget, threshold=0.0)
            seconds[way] += time.perf_counter() - since
            methods[way] = found[0].method
            hits[way] += [_hit(one, box, encoder, picture.size) for one, box in zip(found, boxes, strict=True)]
        hits["whole picture"] += [(iou(WHOLE, box) >= OVERLAP, True) for box in boxes]
        hits["middle"] += [(iou(MIDDLE, box) >= OVERLAP, is_in(CENTRE, box)) for box in boxes]
    return {
        "bundle": encoder.manifest.name,
        "pictures": len(asked),
        "phrases": len(hits["middle"]),
        "ways": {
            way: {
                "acc@0.5": round(float(np.mean([hit for hit, _ in both])), 3),
                **({} if way == "whole picture" else {"pointing": round(float(np.mean([at for _, at in both])), 3)}),
                **({"method": methods[way]} if way in methods else {}),
                **({"ms_per_picture": round(1e3 * seconds[way] / len(asked), 1)} if way in seconds else {}),
            }
            for way, both in hits.items()
        },
    }


def two_encoders(encoder: Encoder) -> Encoder:
    """The same bundle as if it had its two encoders alone."""
    manifest = encoder.manifest
    seen = manifest.graphs["image_encoder"]
    outputs = tuple(output for output in seen.outputs if not output.name.startswith("region_"))
    graphs = {
        "image_encoder": seen.model_copy(update={"outputs": outputs}),
        "text_encoder": manifest.graphs["text_encoder"],
    }
    return Encoder(
        manifest.model_copy(update={"graphs": graphs}),
        encoder.text_transform,
        {name: encoder.engines[name] for name in graphs},
    )


def drawn(count: int) -> Iterator[Asked]:
    """Drawn scenes with the phrases of their captions."""
    for index in range(count):
        scene = generate(SEED, index, split="test")
        yield scene.image, [(phrase.text, phrase.box) for phrase in scene.phrases]


def photos(rows: Path, images: Path, count: int) -> Iterator[Asked]:
    """Pictures of a file, drawn by a fixed seed, with those of its phrases that have one box."""
    of: dict[str, list[tuple[str, Box]]] = defaultdict(list)
    for row in read_rows(rows, GroundingRow):
        if len(row.boxes) == 1:
            of[row.image].append((row.phrase, row.boxes[0]))
    names = sorted(of)
    random.Random(SEED).shuffle(names)
    for name in names[:count]:
        yield open_picture(images, name), list(dict(of[name]).items())


def _hit(found: Grounding, box: Box, encoder: Encoder, size: tuple[int, int]) -> tuple[bool, bool]:
    transform = encoder.manifest.image.transform()

    def in_picture(one: Box) -> Box:
        return transform.box_in_picture(one, width_px=size[0], height_px=size[1])

    x, y = hottest(found.heat)
    overlaps = bool(found.boxes) and iou(in_picture(found.boxes[0].box), box) >= OVERLAP
    return overlaps, is_in(in_picture((x, y, x, y))[:2], box)


if __name__ == "__main__":
    raise SystemExit(main())
