"""Measures every way in which bundles can judge words, whichever of them their calibration chose.

    python -m benchmarks.word_judges BUNDLE… --scenes DIR [--names NAME…] [--methods word_errors] [--json OUT]

DIR is what `vernier scenes` writes. For each bundle and each of its ways, on the hard negatives: AUROC of words and,
of the words that can be wrong at all, the same with another picture (`blind_…`), whether the most suspicious word is a
wrong one and the first suggestion the right word, and whether the wrong caption is told by its worst word.
"""

import argparse
from pathlib import Path
from typing import get_args

from benchmarks.report import Report, made_by, write_report
from evaluation.run import evaluate
from runtime.encoder import Encoder
from runtime.word_judges import Method, methods_of

NUMBERS = (
    "auroc",
    "blind_auroc",
    "judged_auroc",
    "blind_judged_auroc",
    "pair_accuracy",
    "word_top1",
    "blind_word_top1",
    "correction_top1",
    "blind_correction_top1",
)


def main() -> int:
    """Measure every bundle, print it, and write it as JSON when asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--scenes", type=Path, required=True)
    parser.add_argument("--names", nargs="+", help="of the bundles, for the report; their paths when left out")
    parser.add_argument("--methods", nargs="+", choices=get_args(Method), help="all that a bundle has when left out")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    names = arguments.names or [str(bundle) for bundle in arguments.bundles]
    found: Report = {"bundles": {}}
    for name, bundle in zip(names, arguments.bundles, strict=True):
        encoder = Encoder.load(bundle, provider="cpu", num_threads=1)
        asked = [way for way in methods_of(encoder) if not arguments.methods or way in arguments.methods]
        found["bundles"][name] = {method: measured(encoder, method, arguments.scenes) for method in asked}
    write_report({**made_by("benchmarks.word_judges"), **found}, arguments.json)
    return 0


def measured(encoder: Encoder, method: Method, folder: Path) -> Report:
    """What the bundle finds in this way; its probabilities belong to the way that it chose, their order to each."""
    result = evaluate(by(encoder, method), images=folder / "images", hard_negatives=folder / "hard_negatives.jsonl")
    return {name: result["proofreading"][name] for name in NUMBERS}


def by(encoder: Encoder, method: Method) -> Encoder:
    """The same bundle, judging words in this way."""
    calibration = encoder.manifest.calibration
    fit = calibration.word_error_fit
    assert fit is not None, "a bundle that judges words says how its calibration was fitted"
    chosen = calibration.model_copy(update={"word_error_fit": fit.model_copy(update={"method": method})})
    manifest = encoder.manifest.model_copy(update={"calibration": chosen})
    return Encoder(manifest, encoder.text_transform, encoder.engines, lexicon=encoder.lexicon)


if __name__ == "__main__":
    raise SystemExit(main())
