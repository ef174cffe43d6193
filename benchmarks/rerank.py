"""Measures whether word errors would help `rerank`: by match alone, and by match less the worst word's error.

    python -m benchmarks.rerank BUNDLE [--scenes 400] [--world full] [--top 10] [--json OUT]

Each caption of a drawn scene looks for its picture; the dual encoder's first hits are put in order again by the raw
match score, and by that less a weight times the raw error of the caption's most suspicious word. The weight is the best
of a few on the captions of the split `val`; both rates are those of the split `test`, and so is the interval of their
difference (paired bootstrap over captions). Only when it leaves zero out does the server have a reason to change.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import scenes
from benchmarks.report import Report, made_by, write_report
from runtime.encoder import Encoder
from runtime.word_judges import caption_of, judge

WEIGHTS = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0)
SEED = 23


def main() -> None:
    """Measure and say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--scenes", type=int, default=400, help="of each of the two splits")
    parser.add_argument("--world", choices=sorted(scenes.WORLDS), default="full", help="that the bundle was trained on")
    parser.add_argument("--top", type=int, default=10)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    encoder = Encoder.load(asked.bundle)
    report = {
        **made_by("benchmarks.rerank"),
        "bundle": {"name": encoder.manifest.name, "recipe": encoder.manifest.provenance.recipe},
        **measure(encoder, count=asked.scenes, top=asked.top, world=scenes.world_named(asked.world)),
    }
    write_report(report, asked.json)


def measure(encoder: Encoder, *, count: int, top: int, world: scenes.World) -> Report:
    """R@1 of captions of scenes, re-scored with and without word errors."""
    chosen_on = score(encoder, "val", count=count, top=top, world=world)
    weight = max(WEIGHTS, key=lambda tried: float(chosen_on.right(tried).mean()))
    tested_on = score(encoder, "test", count=count, top=top, world=world)
    alone, both = tested_on.right(0.0), tested_on.right(weight)
    gap = both.astype(float) - alone
    rng = np.random.default_rng(0)
    draws = [gap[rng.integers(0, len(gap), len(gap))].mean() for _ in range(2000)]
    own = np.arange(count)
    return {
        "captions": count,
        "top": top,
        "chosen_on_val": {str(tried): float(chosen_on.right(tried).mean()) for tried in WEIGHTS},
        "dual_r@1": float((tested_on.hits[:, 0] == own).mean()),
        "match_r@1": float(alone.mean()),
        "with_word_errors_r@1": float(both.mean()),
        "weight": weight,
        "difference": float(gap.mean()),
        "interval": [float(end) for end in np.quantile(draws, [0.025, 0.975])],
        "ceiling": float((tested_on.hits == own[:, None]).any(axis=1).mean()),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Hits:
    """The first `hits` of each caption, as numbers of pictures, with their raw `match` and their worst word's `error`.

    All are [captions, top]; caption i is of picture i.
    """

    hits: NDArray[np.intp]
    match: NDArray[np.float64]
    error: NDArray[np.float64]

    def right(self, weight: float) -> NDArray[np.bool_]:
        """Whose own picture comes first with this weight of the word errors, [captions]."""
        own = np.arange(len(self.hits))
        best: NDArray[np.bool_] = self.hits[own, np.argmax(self.match - weight * self.error, axis=1)] == own
        return best


def score(encoder: Encoder, split: str, *, count: int, top: int, world: scenes.World) -> Hits:
    """Draw scenes, look for their pictures by their captions, and score the first hits."""
    size_px = encoder.manifest.image.size_px
    drawn = [scenes.generate(SEED, at, split=split, size_px=size_px, world=world) for at in range(count)]
    images = [encoder.embed_images([scene.image], to_proofread=True) for scene in drawn]
    texts = encoder.embed_texts([scene.caption for scene in drawn])
    cosine = texts.embedding @ np.concatenate([image.embedding for image in images]).T
    hits = np.argsort(-cosine, axis=1, kind="stable")[:, :top]
    match, error = np.full((2, count, top), np.nan)
    for picture, image in enumerate(images):
        rows, places = np.nonzero(hits == picture)
        if rows.size:
            match[rows, places] = encoder.match_scores(texts[rows], image)
            judged = judge(encoder, image, [caption_of(drawn[row].caption) for row in rows])
            error[rows, places] = [max(found.raw, default=-np.inf) for found in judged]
    return Hits(hits=hits, match=match, error=error)


if __name__ == "__main__":
    main()
