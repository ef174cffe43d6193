"""Sentences that are true or false of a picture: VSR and NLVR.

Papers: Visual Spatial Reasoning (Liu, Emerson and Collier, 2023); A Corpus of Natural Language for Visual Reasoning
(Suhr et al., 2017).
"""

from pathlib import Path

from evaluation.public.files import entry, no_split, not_empty, read_json_lines
from evaluation.readers import Rows, StatementRow

_NLVR_ORDERS = 6


def vsr(path: Path, *, split: str | None = None) -> Rows:
    """Read a JSON-lines file of VSR; each split is a file of its own.

    Raises:
        DataError: the file cannot be read or a line has another layout.
    """
    no_split(split, path)
    rows = []
    for at, item in enumerate(read_json_lines(path)):
        with entry(path, at):
            rows.append(
                StatementRow(
                    image=item["image"], caption=item["caption"], label=item["label"], relation=item["relation"]
                )
            )
    return not_empty(Rows(statements=rows), path, split)


def nlvr(path: Path, *, split: str | None = None) -> Rows:
    """Read NLVR's `dev.json` (JSON lines); each split is a file of its own.

    The pictures are `<directory>/<split>-<identifier>-<order>.png` in the split's folder of images; each sentence is
    asked of all six orders of its three boxes.

    Raises:
        DataError: the file cannot be read or a line has another layout.
    """
    no_split(split, path)
    rows = []
    for at, item in enumerate(read_json_lines(path)):
        with entry(path, at):
            rows += [
                StatementRow(
                    image=f"{item['directory']}/{path.stem}-{item['identifier']}-{order}.png",
                    caption=item["sentence"],
                    label=item["label"],
                )
                for order in range(_NLVR_ORDERS)
            ]
    return not_empty(Rows(statements=rows), path, split)
