"""Audits 1,000 captions of drawn scenes of which 5 % are wrong: how many suspects are wrong where 8 in 10 are found?

    python -m benchmarks.audit BUNDLE [--scenes 1000] [--share 0.05] [--world full] [--size 128] [--json OUT]

Scenes of the test split are drawn anew, a twentieth of their captions takes the place of its one-word edit, and
`vernier audit` ranks them by how probably they are wrong as wholes (by their most suspicious word, where the bundle's
calibration is older). Beside the precision stand the share of wrong captions (what a
ranking by chance gives) and the same audit with every caption beside another picture: what is left there was read from
the captions alone.
"""

import argparse
import json
import resource
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import scenes
from benchmarks.report import made_by, write_report
from evaluation.audit import audit
from evaluation.ranking import BinaryRanking
from runtime.encoder import Encoder
from runtime.word_judges import method_of

SEED = 11


def main() -> None:
    """Draw, corrupt, audit, and say how good the ranking is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--scenes", type=int, default=1000)
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--world", choices=sorted(scenes.WORLDS), default="full", help="that the bundle was trained on")
    parser.add_argument("--size", type=int, default=128, help="of the pictures, in pixels")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    encoder = Encoder.load(asked.bundle)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        captions, is_wrong, kinds = draw(
            work, count=asked.scenes, share=asked.share, size_px=asked.size, world=scenes.world_named(asked.world)
        )
        started = time.perf_counter()
        seen = ranking(encoder, captions, work, work / "seen")
        seconds = time.perf_counter() - started
        turned = [captions[(at + 1) % len(captions)] for at in range(len(captions))]
        blind = ranking(encoder, turned, work, work / "blind")
        is_wrong_turned = np.roll(is_wrong, -1)
        calibration = encoder.manifest.calibration
        whole = calibration.caption_error
        limit = calibration.word_error_threshold if whole is None else whole.threshold
        called = seen >= limit
        result = {
            **made_by("benchmarks.audit"),
            "bundle": {"name": encoder.manifest.name, "recipe": encoder.manifest.provenance.recipe},
            "captions": len(captions),
            "wrong": int(is_wrong.sum()),
            "ranked_by": "worst word" if whole is None else "worst word and match",
            "words_judged_by": method_of(encoder),
            "precision_at_recall_0.8": precision_at_recall(seen, is_wrong, 0.8),
            "precision_at_recall_0.5": precision_at_recall(seen, is_wrong, 0.5),
            "found_of_kind": {
                kind: float(called[is_wrong & (kinds == kind)].mean()) for kind in sorted(set(kinds[is_wrong]))
            },
            "average_precision": BinaryRanking.of(seen, is_wrong).average_precision(),
            "auroc": BinaryRanking.of(seen, is_wrong).auroc(),
            "by_chance": float(is_wrong.mean()),
            "blind_precision_at_recall_0.8": precision_at_recall(blind, is_wrong_turned, 0.8),
            "blind_auroc": BinaryRanking.of(blind, is_wrong_turned).auroc(),
            "at_the_bundles_threshold": {
                "threshold": limit,
                "precision": float(is_wrong[called].mean()) if called.any() else None,
                "recall": float(called[is_wrong].mean()),
            },
            "seconds": seconds,
            "captions_per_s": len(captions) / seconds,
            "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
    write_report(result, asked.json)


def draw(
    folder: Path, *, count: int, share: float, size_px: int, world: scenes.World = scenes.WORLD
) -> tuple[list[dict[str, Any]], np.ndarray, np.ndarray]:
    """Draw scenes into a folder; rows of a captions file, which of them are wrong, and by what kind of edit."""
    rng = np.random.default_rng(SEED)
    is_wrong = np.zeros(count, bool)
    is_wrong[rng.choice(count, round(share * count), replace=False)] = True
    rows, kinds = [], []
    for at in range(count):
        scene = scenes.generate(SEED, at, split="test", size_px=size_px, world=world)
        name = f"{at:06d}.png"
        scene.image.save(folder / name, compress_level=1)
        edit = scenes.edit_caption(scene, rng) if is_wrong[at] else None
        rows.append({"image": name, "captions": [edit.caption if edit else scene.caption]})
        kinds.append(edit.kind if edit else "")
    return rows, is_wrong, np.array(kinds)


def ranking(encoder: Encoder, rows: list[dict[str, Any]], images: Path, out: Path) -> np.ndarray:
    """Audit captions beside the pictures, in the pictures' order; how suspicious each is."""
    names = sorted(file.name for file in images.glob("*.png"))
    file = out.with_suffix(".jsonl")
    lines = (json.dumps({**row, "image": name}) for row, name in zip(rows, names, strict=True))
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    audit(encoder, file, images=images, out=out, num_worst=0)
    scores = np.zeros(len(rows))
    with sqlite3.connect(out / "journal.sqlite") as journal:
        for line, score in journal.execute("SELECT line, score FROM caption"):
            scores[line - 1] = score
    return scores


def precision_at_recall(scores: np.ndarray, is_wrong: np.ndarray, recall: float) -> float:
    """The best precision of a cut that finds at least this share of the wrong ones; what ties is taken together."""
    best = 0.0
    for cut in np.unique(scores[is_wrong]):
        taken = scores >= cut
        if is_wrong[taken].sum() >= recall * is_wrong.sum():
            best = max(best, float(is_wrong[taken].mean()))
    return best


if __name__ == "__main__":
    main()
