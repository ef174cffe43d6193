"""Measures what re-scoring a hit costs by its parts, where a server with large towers would take too long to ask.

    python -m benchmarks.rerank_parts BUNDLE [--pairs 8] [--pictures 4] [--json OUT]

CPU milliseconds of one thread, for one picture or pair: reading a stored JPEG of 512 by 384, its image pass, reading
stored tokens in int8, and the fusion pass of one text of 18 subwords with several pictures. What a hit costs from its
picture is divided by what it costs from its tokens. Weights may be random: speed does not ask what they know.
"""

import argparse
import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.report import Report, made_by, write_report
from index.features import Part, pack, unpack
from runtime.encoder import Encoder
from runtime.preprocess.image import decode_image

TEXT = "a small brown disc left of a pink mug and a large green star above it"
SIZE_PX = (512, 384)
ROUNDS = 3


def main() -> None:
    """Measure and say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--pictures", type=int, default=4)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    encoder = Encoder.load(asked.bundle, provider="cpu", num_threads=1)
    report = {**made_by("benchmarks.rerank_parts"), "recipe": encoder.manifest.provenance.recipe}
    write_report({**report, **measure(encoder, pairs=asked.pairs, pictures=asked.pictures)}, asked.json)


def measure(encoder: Encoder, *, pairs: int, pictures: int) -> Report:
    """CPU of each part, and the ratio."""
    noise = np.random.default_rng(0).integers(0, 255, (SIZE_PX[1] // 16, SIZE_PX[0] // 16, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).resize(SIZE_PX).save(stream, "JPEG", quality=85)
    pixels = encoder.image_input(decode_image(stream.getvalue()))
    features = encoder.embed_pixels([pixels])[np.zeros(pairs, np.intp)]
    texts = encoder.embed_texts([TEXT])[np.zeros(pairs, np.intp)]
    tokens: tuple[Part, ...] = ("patch_tokens",)
    kept = pack(features, [SIZE_PX] * pairs, tokens, "int8")
    parts = {
        "read_picture": _cpu_ms(lambda: encoder.image_input(decode_image(stream.getvalue()))),
        "image_pass": _cpu_ms(lambda: encoder.embed_pixels([pixels] * pictures)) / pictures,
        "read_tokens": _cpu_ms(lambda: unpack(kept, features.embedding, tokens)) / pairs,
        "fusion_pass": _cpu_ms(lambda: encoder.match_scores(texts, features)) / pairs,
    }
    from_picture = parts["read_picture"] + parts["image_pass"] + parts["fusion_pass"]
    return {
        "patches": features.patch_tokens.shape[1],
        "width": features.patch_tokens.shape[2],
        "subwords": int(texts.batch.mask[0].sum()),
        "cpu_ms": {name: round(ms, 3) for name, ms in parts.items()},
        "from_picture_to_stored": round(from_picture / (parts["read_tokens"] + parts["fusion_pass"]), 2),
    }


def _cpu_ms(call: Callable[[], object]) -> float:
    call()
    started = time.process_time()
    for _ in range(ROUNDS):
        call()
    return (time.process_time() - started) * 1000 / ROUNDS


if __name__ == "__main__":
    main()
