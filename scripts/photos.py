"""The photo recipe from nothing to answers: train, export, index, evaluate, and say how to serve.

Every stage that is done is passed over, so what was interrupted goes on where it stopped.

    .venv/bin/python scripts/photos.py DATA [--tower minilm|nothing] [--out runs/photos]
"""

import argparse
import subprocess
import sys
import time
import tomllib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

RECIPES = {"minilm": "training.recipes.photos:lit", "nothing": "training.recipes.photos:lit_from_nothing"}
HEADS = "training.recipes.photos:heads"
TESTED = ("test", "dev", "val")
SUITE = ROOT / "benchmarks/suites/photos.toml"
"""What is measured beside retrieval where the data has it: boxes, hard negatives, statements."""


def main() -> None:
    """Run the stages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the directory of photos, captions and backbone")
    parser.add_argument("--tower", choices=sorted(RECIPES), default="minilm", help="where the text side starts")
    parser.add_argument("--out", type=Path, help="where everything goes")
    given = parser.parse_args()
    out = given.out or Path("runs/photos" if given.tower == "minilm" else "runs/photos-from-nothing")
    started = time.monotonic()
    checkpoint = train(given.data, out / "work", RECIPES[given.tower])
    if given.tower == "minilm":
        checkpoint = train(given.data, out / "heads", HEADS, "--start-from", checkpoint)
    bundle = export(given.data, out, checkpoint)
    index(given.data, out, bundle)
    evaluate(given.data, out, bundle)
    print(f"\n{out} is ready after {(time.monotonic() - started) / 60:.1f} minutes. Serve it with")
    print(f"    .venv/bin/vernier serve --bundle {bundle} --gallery {out / 'gallery'}")


def train(data: Path, workdir: Path, recipe: str, *more: str | Path) -> Path:
    """Train to the end; the newest checkpoint."""
    from training.checkpoint import list_checkpoints

    resume = ["--resume"] if list_checkpoints(workdir) else []
    vernier("train", "--recipe", recipe, "--data", data, "--workdir", workdir, *more, *resume)
    return list_checkpoints(workdir)[-1]


def export(data: Path, out: Path, checkpoint: Path) -> Path:
    """Export the checkpoint, unless the bundle is already made of it."""
    from runtime.bundle import read_bundle
    from runtime.bundle.digest import file_digest
    from training.checkpoint import AVERAGE

    bundle = out / "bundle"
    if (bundle / "manifest.json").is_file():
        made_of = read_bundle(bundle).manifest.provenance.checkpoint
        if made_of == file_digest(checkpoint / AVERAGE):
            print(f"{bundle} is made of {checkpoint.name} already")
            return bundle
    vernier("export", checkpoint, "--out", bundle, "--data", data, "--name", out.name)
    return bundle


def index(data: Path, out: Path, bundle: Path) -> None:
    """Add every photo to the gallery; those that are there already are not added twice.

    Where a fusion encoder can re-score hits, what it looks at is kept too: 42 KB a photo.
    """
    from runtime.bundle import read_bundle
    from training.data.photo_folder import find_parts

    gallery = out / "gallery"
    made_by = out / "gallery.made-by"
    manifest = read_bundle(bundle).manifest
    space = manifest.space
    if gallery.exists() and made_by.is_file() and made_by.read_text() != space:
        number = 1 + sum(1 for _ in out.glob("gallery.old-*"))
        gallery.rename(out / f"gallery.old-{number}")
        print(f"the gallery was filled by an older bundle; it is kept as gallery.old-{number}")
    made_by.write_text(space)
    kept = ("--patch-tokens", "int8") if "fusion" in manifest.graphs else ()
    vernier("index", "add", gallery, data / find_parts(data).images, "--bundle", bundle, *kept)


def evaluate(data: Path, out: Path, bundle: Path) -> None:
    """Measure retrieval on the photos that were not trained on, and the suite where its files are there."""
    from training.data.jsonl_pairs import read_lines
    from training.data.photo_folder import find_parts

    parts = find_parts(data)
    counts = Counter(line.split for line in read_lines(data / parts.captions))
    split = next((name for name in TESTED if counts[name]), None)
    if split is None:
        print(f"no photo of {parts.captions} has the split test, dev or val, so nothing is measured")
        return
    files = ("--retrieval", data / parts.captions, "--images", data / parts.images)
    vernier("eval", bundle, *files, "--split", split, "--json", out / "evaluation.json")
    if all((data / file).is_file() for file in _files_of(SUITE)):
        pages = ("--json", out / "suite.json", "--report", out / "suite.html")
        vernier("eval", bundle, "--suite", SUITE, "--data", data, *pages)


def _files_of(suite: Path) -> list[str]:
    runs = tomllib.loads(suite.read_text())["run"]
    return [
        run[kind] for run in runs for kind in ("retrieval", "grounding", "hard_negatives", "statements") if kind in run
    ]


def vernier(*arguments: str | Path) -> None:
    """Run one command, shown first; the script ends where a command fails."""
    words = [str(argument) for argument in arguments]
    print(f"\n$ vernier {' '.join(words)}", flush=True)
    ended = subprocess.run([sys.executable, "-m", "vernier", *words], check=False)
    if ended.returncode:
        sys.exit(ended.returncode)


if __name__ == "__main__":
    main()
