"""Measures whether word errors would help `rerank`: by match alone, and by match less the worst word's error.

    python -m benchmarks.rerank BUNDLE [--scenes 400] [--top 10] [--json OUT]

Each caption of a drawn scene looks for its picture; the dual encoder's first hits are put in order again by the raw
match score, and by that less a weight times the raw error of the caption's most suspicious word. The weight is the best
of a few on the first half of the captions; both rates are those of the second half, and so is the interval of their
difference (paired bootstrap over captions). Only when it leaves zero out does the server have a reason to change.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import scenes
from benchmarks.index import provenance
from runtime.encoder import Encoder
from runtime.proofread import proofread_many

Report = dict[str, Any]

WEIGHTS = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0)
SEED = 23


def main() -> None:
    """Measure and say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--scenes", type=int, default=400)
    parser.add_argument("--top", type=int, default=10)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    encoder = Encoder.load(asked.bundle)
    report = {
        **provenance(),
        "command": "python -m " + " ".join(["benchmarks.rerank", *sys.argv[1:]]),
        "bundle": {"name": encoder.manifest.name, "recipe": encoder.manifest.provenance.recipe},
        **measure(encoder, count=asked.scenes, top=asked.top),
    }
    text = json.dumps(report, indent=2)
    if asked.json:
        asked.json.write_text(text + "\n", encoding="utf-8")
    print(text)


def measure(encoder: Encoder, *, count: int, top: int) -> Report:
    """R@1 of captions of scenes, re-scored with and without word errors."""
    size_px = max(96, encoder.manifest.image.size_px)
    drawn = [scenes.generate(SEED, at, split="test", size_px=size_px) for at in range(count)]
    captions = [scene.caption for scene in drawn]
    images = [encoder.embed_images([scene.image], to_proofread=True) for scene in drawn]
    texts = encoder.embed_texts(captions)
    cosine = texts.embedding @ np.concatenate([image.embedding for image in images]).T
    hits = np.argsort(-cosine, axis=1, kind="stable")[:, :top]
    match, error = np.full((2, count, top), np.nan)
    logistic = encoder.manifest.calibration.word_error
    for picture, image in enumerate(images):
        rows, places = np.nonzero(hits == picture)
        if not rows.size:
            continue
        match[rows, places] = encoder.match_scores(texts[rows], image)
        for row, place, proof in zip(
            rows,
            places,
            proofread_many(encoder, image, [captions[row] for row in rows], num_suggestions=0),
            strict=True,
        ):
            worst = np.clip(max((word.error_probability for word in proof.words), default=0.0), 1e-12, 1 - 1e-12)
            error[row, place] = (np.log(worst / (1 - worst)) - logistic.bias) / logistic.scale

    def right(weight: float) -> np.ndarray:
        best = np.argmax(match - weight * error, axis=1)
        return hits[np.arange(count), best] == np.arange(count)

    half = count // 2
    weight = max(WEIGHTS, key=lambda tried: float(right(tried)[:half].mean()))
    alone, both = right(0.0)[half:], right(weight)[half:]
    gap = both.astype(float) - alone
    rng = np.random.default_rng(0)
    draws = [gap[rng.integers(0, len(gap), len(gap))].mean() for _ in range(2000)]
    return {
        "captions": int(count - half),
        "top": top,
        "dual_r@1": float((hits[half:, 0] == np.arange(half, count)).mean()),
        "match_r@1": float(alone.mean()),
        "with_word_errors_r@1": float(both.mean()),
        "weight": weight,
        "difference": float(gap.mean()),
        "interval": [float(end) for end in np.quantile(draws, [0.025, 0.975])],
        "ceiling": float((hits[half:] == np.arange(half, count)[:, None]).any(axis=1).mean()),
    }


if __name__ == "__main__":
    main()
