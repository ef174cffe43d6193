"""Measures what each thing that a bundle does takes on this machine: milliseconds, and the share of all of them.

    python -m benchmarks.bundle_parts BUNDLE [--rounds 30] [--json OUT]

One picture embedded with all that proofreading needs, one text embedded, one edited caption proofread and
corrected, three phrases grounded, and 32 hits re-scored from their features; each once in every round, medians
of the clock. Pictures are drawn scenes of the test split.
"""

import argparse
from pathlib import Path

import numpy as np

import scenes
from benchmarks.proofread import in_turn
from benchmarks.report import Report, made_by, write_report
from runtime.encoder import Encoder
from runtime.grounding import ground
from runtime.proofread import proofread

PHRASES = 3
HITS = 32
SEED = 5


def main() -> None:
    """Measure and say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    encoder = Encoder.load(asked.bundle, provider="cpu")
    report = {**made_by("benchmarks.bundle_parts"), "recipe": encoder.manifest.provenance.recipe}
    write_report({**report, **measure(encoder, rounds=asked.rounds)}, asked.json)


def measure(encoder: Encoder, *, rounds: int) -> Report:
    """Median milliseconds and share of each part."""
    size_px = encoder.manifest.image.size_px
    drawn = [scenes.generate(SEED, index, split="test", size_px=size_px) for index in range(HITS)]
    caption, wrong = drawn[0].caption, scenes.edit_caption(drawn[0], np.random.default_rng(SEED)).caption
    phrases = [phrase.text for phrase in drawn[0].phrases][:PHRASES]
    image = encoder.embed_images([drawn[0].image], to_proofread=True)
    pictures = encoder.embed_images([scene.image for scene in drawn])
    query = encoder.embed_texts([caption])[np.zeros(HITS, np.intp)]
    times = in_turn(
        {
            "image encode": lambda: encoder.embed_images([drawn[0].image], to_proofread=True),
            "text encode": lambda: encoder.embed_texts([caption]),
            "proofread": lambda: proofread(encoder, image, wrong),
            f"ground {len(phrases)} phrases": lambda: ground(encoder, image, phrases),
            f"rerank {HITS}": lambda: encoder.match_scores(query, pictures),
        },
        rounds,
    )
    whole = sum(times.values())
    return {"parts": {name: {"ms": round(ms, 2), "share": round(ms / whole, 3)} for name, ms in times.items()}}


if __name__ == "__main__":
    main()
