"""Measures `rerank` on captioned photos: whether the right photo comes first before and after the match re-scores hits.

    python -m benchmarks.photo_rerank BUNDLE --captions FILE --images DIR [--split dev] [--top 32] [--json OUT]

The first caption of each photo looks for it among all photos of the split; the dual encoder's first hits are put in
order again by the raw match score, as a server does, and by the fusion graph's logit alone. Intervals are paired
bootstraps over the captions.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import Report, made_by, write_report
from evaluation.pictures import open_picture
from runtime.encoder import Encoder
from training.data.jsonl_pairs import read_lines

_AT_ONCE = 32


def main() -> None:
    """Measure and say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--captions", type=Path, required=True, help="JSON lines of photos with captions")
    parser.add_argument("--images", type=Path, required=True, help="their folder")
    parser.add_argument("--split", default="dev")
    parser.add_argument("--top", type=int, default=32, help="hits that are re-scored")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    encoder = Encoder.load(asked.bundle)
    lines = [line for line in read_lines(asked.captions) if line.split == asked.split]
    found = measure(encoder, asked.images, [(line.image, line.captions[0]) for line in lines], top=asked.top)
    write_report({**made_by("benchmarks.photo_rerank"), "bundle": encoder.manifest.name, **found}, asked.json)


def measure(encoder: Encoder, folder: Path, pairs: list[tuple[str, str]], *, top: int) -> Report:
    """R@1 of captions among their photos: alone, re-scored by the match, and by the fusion graph alone."""
    parts = [
        encoder.embed_images([open_picture(folder, name) for name, _ in pairs[at : at + _AT_ONCE]])
        for at in range(0, len(pairs), _AT_ONCE)
    ]
    embeddings = np.concatenate([part.embedding for part in parts])
    texts = encoder.embed_texts([caption for _, caption in pairs])
    hits = np.argsort(-(texts.embedding @ embeddings.T), axis=1, kind="stable")[:, :top]
    match, logit = np.full((2, *hits.shape), np.nan)
    for picture in range(len(pairs)):
        rows, places = np.nonzero(hits == picture)
        if rows.size:
            image = parts[picture // _AT_ONCE][[picture % _AT_ONCE]]
            logits = encoder.fuse(texts[rows], image, outputs=("match",)).match
            assert logits is not None
            logit[rows, places] = logits
            match[rows, places] = encoder.with_cosine(logits, texts[rows], image)
    own = np.arange(len(pairs))
    alone = hits[:, 0] == own
    return {
        "captions": len(pairs),
        "top": top,
        "dual_r@1": float(alone.mean()),
        "ceiling": float((hits == own[:, None]).any(axis=1).mean()),
        "match": _against(alone, hits[own, match.argmax(axis=1)] == own),
        "fusion_alone": _against(alone, hits[own, logit.argmax(axis=1)] == own),
    }


def _against(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> Report:
    """R@1, and by how much it is more than before, with its interval."""
    gain = after.astype(float) - before
    rng = np.random.default_rng(0)
    draws = [gain[rng.integers(0, len(gain), len(gain))].mean() for _ in range(2000)]
    return {
        "r@1": float(after.mean()),
        "gain": float(gain.mean()),
        "interval": [float(end) for end in np.quantile(draws, [0.025, 0.975])],
    }


if __name__ == "__main__":
    main()
