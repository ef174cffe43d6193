"""Writes into a bundle's manifest what its `min_match` is worth where pictures differ in one thing.

    python scripts/among_neighbours.py BUNDLE [--data DIR]

That is `match_fit.neighbours`. `vernier export` does it by itself; this is for bundles that were exported before.
Pictures that the recipe's data holds back are redrawn with one thing changed and scored by the bundle's own graphs;
nothing else of the manifest changes.
"""

import argparse
from pathlib import Path

import numpy as np

from export.assemble import CALIBRATION_SAMPLES
from export.calibrate import fit_neighbours, match_scores, replace_a_word, scores_among_neighbours
from runtime.bundle import read_bundle
from runtime.bundle.writer import MANIFEST
from runtime.encoder import Encoder
from training.train import load_recipe

QUERIES = 150


def main() -> None:
    """Measure, and write the manifest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", type=Path)
    asked = parser.parse_args()
    bundle, encoder = read_bundle(asked.bundle), Encoder.load(asked.bundle, provider="cpu")
    calibration = bundle.manifest.calibration
    if calibration.min_match is None or calibration.match_fit is None:
        raise SystemExit(f"{asked.bundle} has no min_match; export its checkpoint again.")
    config, texts = load_recipe(bundle.manifest.provenance.recipe, asked.data), bundle.text_transform()
    source = config.data.open(asked.data, tokenizer=texts.tokenizer, batch_size=config.batch_size, seed=config.seed)
    samples, rng = source.held_out(CALIBRATION_SAMPLES), np.random.default_rng(0)
    edited = [sample.edited or replace_a_word(sample.caption, samples, rng) for sample in samples]
    raw, is_right = match_scores(encoder, samples, edited, rng)
    chosen = [at for at, sample in enumerate(samples) if sample.redrawn][:QUERIES]
    if not chosen:
        raise SystemExit(f"{source.name} cannot be redrawn.")
    match, least = calibration.match, calibration.min_match
    cut = (float(np.log(least / (1 - least))) - match.bias) / match.scale
    neighbours = fit_neighbours(match, raw[is_right], scores_among_neighbours(encoder, samples, chosen), cut)
    fit = calibration.match_fit.model_copy(update={"neighbours": neighbours})
    manifest = bundle.manifest.model_copy(update={"calibration": calibration.model_copy(update={"match_fit": fit})})
    (asked.bundle / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    print(read_bundle(asked.bundle).manifest.calibration.match_fit)


if __name__ == "__main__":
    main()
