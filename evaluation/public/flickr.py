"""Flickr8k and Flickr30k as their makers give them: retrieval, and the judgements of Flickr8k's experts.

Papers: Framing Image Description as a Ranking Task (Hodosh, Young and Hockenmaier, 2013); From Image Descriptions to
Visual Denotations (Young et al., 2014).
"""

import csv
from pathlib import Path

from evaluation.public.files import entry, not_empty, read_text
from evaluation.readers import JudgementRow, RetrievalRow, Rows
from runtime.errors import DataError


def tokens(path: Path, *, split: str | None = None) -> Rows:
    """Read `Flickr8k.token.txt`, `results_20130124.token` or a CSV of image and caption.

    A line of the first two is the picture's name, `#`, a number, a tab and the caption. A split is the list of names
    `Flickr_8k.<split>Images.txt` beside the file.

    Raises:
        DataError: a file cannot be read, a line has another layout, or no picture is of that split.
    """
    kept = None if split is None else set(read_text(path.parent / f"Flickr_8k.{split}Images.txt").split())
    found: dict[str, list[str]] = {}
    for name, _, caption in _captions(path):
        if kept is None or name in kept:
            found.setdefault(name, []).append(caption)
    rows = [RetrievalRow(image=name, captions=texts, split=split) for name, texts in found.items()]
    return not_empty(Rows(retrieval=rows), path, split)


def experts(path: Path, *, split: str | None = None) -> Rows:
    """Read `ExpertAnnotations.txt`: judgements of three experts, from 1 (not at all) to 4 (describes the picture).

    The captions are looked up in `Flickr8k.token.txt` beside it. Pairs of a picture with one of its own captions are
    left out, as CLIPScore does. A split is read as in `tokens`.

    Raises:
        DataError: a file cannot be read, a line has another layout, or no pair is of that split.
    """
    texts = {f"{name}#{number}": caption for name, number, caption in _captions(path.parent / "Flickr8k.token.txt")}
    kept = None if split is None else set(read_text(path.parent / f"Flickr_8k.{split}Images.txt").split())
    rows = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        with entry(path, f"at line {number}"):
            name, caption_id, *grades = line.split("\t")
            if (kept is None or name in kept) and caption_id.partition("#")[0] != name:
                scores = tuple(float(grade) for grade in grades)
                rows.append(JudgementRow(image=name, caption=texts[caption_id], scores=scores))
    return not_empty(Rows(judgements=rows), path, split)


def _captions(path: Path) -> list[tuple[str, str, str]]:
    """(picture, number, caption) of each line."""
    lines = read_text(path).splitlines()
    if lines and lines[0].replace(" ", "").lower() == "image,caption":
        return [(name, "", text.strip()) for name, text in _csv_rows(path, lines[1:])]
    found = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            caption_id, tab, text = line.partition("\t")
            name, hash_sign, which = caption_id.partition("#")
            if not (tab and hash_sign and text.strip()):
                raise DataError(f"{path}, line {number} is not 'picture.jpg#0', a tab and a caption.")
            found.append((name, which, text.strip()))
    return found


def _csv_rows(path: Path, lines: list[str]) -> list[tuple[str, str]]:
    found = []
    for number, row in enumerate(csv.reader(lines), start=2):
        if len(row) != 2 or not row[1].strip():
            raise DataError(f"{path}, line {number} is not a picture and its caption.")
        found.append((row[0], row[1]))
    return found
