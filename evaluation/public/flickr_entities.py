"""Flickr30k Entities: grounding of the phrases of captions.

A phrase may mean several things and then has several boxes; they all stand in its row, so it counts for pointing, and
for Acc@0.5 only when there is one. Phrases without a box (the scene, what is not to be seen) are left out.

Paper: Flickr30k Entities (Plummer et al., 2015).
"""

import re
from pathlib import Path
from xml.etree import ElementTree

from evaluation.grounding import Box
from evaluation.public.files import entry, fractions, not_empty, read_text
from evaluation.readers import GroundingRow, Rows
from runtime.errors import DataError

_PHRASE = re.compile(r"\[/EN#(\d+)(?:/[^\s\]]*)*\s+([^\]]+?)\s*\]")


def read(path: Path, *, split: str | None = None) -> Rows:
    """Read a folder with `Annotations/*.xml` and `Sentences/*.txt`.

    Args:
        path: the folder.
        split: `train`, `val` or `test`: the list of ids in `<split>.txt` beside the two folders; every picture when
            None.

    Raises:
        DataError: a file cannot be read or has another layout, or there is no phrase.
    """
    if split is None:
        ids = sorted(file.stem for file in (path / "Sentences").glob("*.txt"))
    else:
        ids = read_text(path / f"{split}.txt").split()
    rows = []
    for image_id in ids:
        boxes = _boxes(path / "Annotations" / f"{image_id}.xml")
        phrases = _PHRASE.findall(read_text(path / "Sentences" / f"{image_id}.txt"))
        rows += [
            GroundingRow(image=f"{image_id}.jpg", phrase=phrase, boxes=tuple(boxes[chain]))
            for chain, phrase in phrases
            if chain in boxes
        ]
    return not_empty(Rows(grounding=rows), path, split)


def _boxes(path: Path) -> dict[str, list[Box]]:
    """Boxes of each chain of phrases, in fractions."""
    try:
        root = ElementTree.fromstring(read_text(path))
    except ElementTree.ParseError as error:
        raise DataError(f"{path} is not valid XML: {error}.") from error
    found: dict[str, list[Box]] = {}
    with entry(path, "'size'"):
        width_px, height_px = (float(root.findtext(f"size/{side}", "")) for side in ("width", "height"))
    for at, thing in enumerate(root.iter("object")):
        for drawn in thing.iter("bndbox"):
            with entry(path, f"object {at}"):
                # Corners are counted from 1 and belong to the box.
                x0, y0, x1, y1 = (float(drawn.findtext(key, "")) for key in ("xmin", "ymin", "xmax", "ymax"))
                box = fractions((x0 - 1, y0 - 1, x1, y1), width_px=width_px, height_px=height_px)
            if box is not None:
                for name in thing.iter("name"):
                    found.setdefault(name.text or "", []).append(box)
    return found
