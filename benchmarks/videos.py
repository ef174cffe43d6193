"""Measures how drawn videos are found by their captions, and how hits know when.

    python -m benchmarks.videos BUNDLE [--videos 100] [--films 25] [--seed 7] [--json OUT]

Moving scenes of the split `test` go into a gallery as `vernier index add` puts them there, and each caption is searched
for. Beside the mean of frames stand its controls: captions of other videos (chance), the middle frame alone, captions
without what moves where, and captions in which one thing goes the other way, which a mean of frames cannot tell (equal
scores count half).

A film is four still scenes, a second each; each of its captions asks for its own second, among four.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

import scenes
from benchmarks.report import Report, made_by, write_report
from index import LocalGallery, open_folder
from index.ingest import add
from runtime.encoder import Encoder, Floats
from scenes.videos import FRAMES_PER_S, write_video

AT = (1, 5, 10)
PARTS = 4


def main() -> None:
    """Measure and say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--videos", type=int, default=100)
    parser.add_argument("--films", type=int, default=25)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    encoder = Encoder.load(asked.bundle, provider="cpu", num_threads=1)
    with tempfile.TemporaryDirectory() as folder:
        report = {
            **made_by("benchmarks.videos"),
            "recipe": encoder.manifest.provenance.recipe,
            "videos": asked.videos,
            "moving": moving(encoder, asked.videos, asked.seed, Path(folder)),
            "films": asked.films,
            "times": times(encoder, asked.films, asked.seed, Path(folder)),
        }
    write_report(report, asked.json)


def moving(encoder: Encoder, count: int, seed: int, folder: Path) -> Report:
    """Recall of moving scenes by their captions, with controls."""
    drawn = folder / "moving"
    scenes.write_videos(drawn, count=count, seed=seed)
    lines = [json.loads(line) for line in (drawn / "motion_pairs.jsonl").read_text().splitlines()]
    ids = [line["image"] for line in lines]
    with _filled(encoder, folder / "videos", drawn / "captions.jsonl") as gallery:
        mean = np.stack([gallery.vectors(ids)[name] for name in ids])
        frames = gallery.frames(ids)
        middle = np.stack([frames[name].embeddings[len(frames[name].times_s) // 2] for name in ids])
    said = encoder.embed_texts([line["caption"] for line in lines]).embedding
    turned = encoder.embed_texts([line["negative_caption"] for line in lines]).embedding
    things = encoder.embed_texts([_things(line["caption"]) for line in lines]).embedding
    return {
        "caption": _recall(said, mean),
        "caption_shuffled": _recall(np.roll(said, 1, axis=0), mean),
        "caption_on_middle_frame": _recall(said, middle),
        "things_alone": _recall(things, mean),
        "direction_told": float(np.mean((np.sign(np.sum((said - turned) * mean, axis=1)) + 1) / 2)),
    }


def times(encoder: Encoder, count: int, seed: int, folder: Path) -> Report:
    """How often the best frame lies in the part of a film that the caption is of; chance is one in four."""
    films = folder / "films"
    films.mkdir()
    captions: dict[str, list[str]] = {}
    for number in range(count):
        parts = [scenes.generate(seed, number * PARTS + part, split="test") for part in range(PARTS)]
        write_video(films / f"{number}.mp4", [part.image for part in parts for _ in range(FRAMES_PER_S)])
        captions[f"{number}.mp4"] = [part.caption for part in parts]
    with _filled(encoder, folder / "of-films", films) as gallery:
        frames = gallery.frames(list(captions))
    told = [
        int(frames[name].best_time_s(vector)) == part
        for name, texts in captions.items()
        for part, vector in enumerate(encoder.embed_texts(texts).embedding)
    ]
    return {"right_part": float(np.mean(told)), "questions": len(told), "chance": 1 / PARTS}


def _filled(encoder: Encoder, folder: Path, source: Path) -> LocalGallery:
    gallery = open_folder(folder, space=encoder.space, dim=encoder.dim, create=True)
    report = add(gallery, encoder, [source])
    assert not report.broken, report.broken
    return gallery


def _things(caption: str) -> str:
    """A caption without what moves where."""
    for motion in ("left", "right", "up", "down"):
        caption = caption.replace(f" moves {motion}", "")
    return caption.replace(" stays still", "")


def _recall(queries: Floats, videos: Floats) -> Report:
    """Share of queries whose own video is among the best."""
    scores = queries @ videos.T
    ranks = (scores > np.diag(scores)[:, None]).sum(axis=1)
    return {**{f"r@{at}": float(np.mean(ranks < at)) for at in AT}, "median_rank": float(np.median(ranks) + 1)}


if __name__ == "__main__":
    main()
