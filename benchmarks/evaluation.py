"""Measures what an evaluation costs beyond the model: 5,000 pictures with 25,000 captions, on random embeddings.

    python -m benchmarks.evaluation [--pictures 5000] [--captions 5] [--dim 256] [--json OUT]

The whole of `evaluation.run.evaluate` runs: files are read, pictures decoded, texts tokenised, ranks counted and their
intervals drawn, with the items kept as `vernier eval --items` keeps them. Only the graphs are replaced, by ones that
give random unit vectors at once. `beyond_encoding_s` is CPU time (one thread) from the last embedding to the result;
memory is what the process held at most, less what it held with the model loaded and nothing asked.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.index import provenance
from evaluation.items import Item
from evaluation.run import evaluate
from runtime.encoder import Encoder
from runtime.engines.fake import fake_encoder

Report = dict[str, Any]


class RandomGraph:
    """Stands in for a graph: random unit vectors for each row, and no tokens worth the name."""

    provider = "random"

    def __init__(self, rows: str, outputs: dict[str, str], *, dim: int, seed: int) -> None:
        self._rows = rows
        self._outputs = outputs
        self._dim = dim
        self._rng = np.random.default_rng(seed)

    def run(self, inputs: dict[str, np.ndarray], outputs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Give the embedding and tokens of each row."""
        count = len(inputs[self._rows])
        vectors = self._rng.standard_normal((count, self._dim), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        tokens = np.zeros((count, 1, 1), np.float32)
        return {self._outputs["embedding"]: vectors, self._outputs["tokens"]: tokens}


def random_encoder(dim: int) -> Encoder:
    """A dual encoder whose graphs give random vectors of that width."""
    fake = fake_encoder(fusion=False)
    fake.manifest = fake.manifest.model_copy(update={"embedding_dim": dim})
    fake.engines = {
        "image_encoder": RandomGraph(
            "pixels", {"embedding": "image_embedding", "tokens": "patch_tokens"}, dim=dim, seed=0
        ),
        "text_encoder": RandomGraph("ids", {"embedding": "text_embedding", "tokens": "word_tokens"}, dim=dim, seed=1),
    }
    return fake


def main() -> int:
    """Run once, print the report, and write it as JSON when asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=5000)
    parser.add_argument("--captions", type=int, default=5, help="of each picture")
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = measure(Path(folder), pictures=given.pictures, captions=given.captions, dim=given.dim)
    report = {
        "provenance": {**provenance(), "command": "python -m " + " ".join(["benchmarks.evaluation", *sys.argv[1:]])},
        "threads": os.environ.get("OMP_NUM_THREADS", "not set"),
        **report,
    }
    text = json.dumps(report, indent=2)
    print(text)
    if given.json:
        given.json.write_text(text + "\n")
    return 0


def measure(folder: Path, *, pictures: int, captions: int, dim: int) -> Report:
    """Evaluate once; seconds of CPU and MB of memory."""
    rows = []
    for number in range(pictures):
        Image.new("RGB", (32, 32), (number % 256, number // 256 % 256, 0)).save(folder / f"{number}.png")
        texts = [f"picture {number} with {caption} things to the left of it" for caption in range(captions)]
        rows.append({"image": f"{number}.png", "captions": texts})
    file = folder / "captions.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    del rows
    encoder = random_encoder(dim)
    encoder.embed_texts(["a picture"])
    before_mb = held_mb()
    items: list[Item] = []
    last = started = time.process_time()

    def on_progress(done: int, total: int) -> None:
        nonlocal last
        last = time.process_time()

    result = evaluate(encoder, images=folder, retrieval=file, progress=on_progress, on_items=items.extend)
    ended = time.process_time()
    most_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "pictures": result["retrieval"]["count"],
        "captions": result["retrieval"]["text_to_image"]["count"],
        "dim": dim,
        "items": len(items),
        "r@1": result["retrieval"]["text_to_image"]["r@1"],
        "median_rank": result["retrieval"]["text_to_image"]["median_rank"],
        "reading_decoding_tokenising_s": round(last - started, 2),
        "beyond_encoding_s": round(ended - last, 2),
        "memory_over_the_model_mb": round(most_mb - before_mb, 1),
    }


def held_mb() -> float:
    """Memory that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    sys.exit(main())
