"""RefCOCO, RefCOCO+ and RefCOCOg: grounding of referring expressions, each with one box.

The layout of `refer`: `instances.json` and `refs(unc).p` (or `refs(google).p`, `refs(umd).p`) in one folder. The latter
is a pickle; it is read without running anything that it names.

Papers: Modeling Context in Referring Expressions (Yu et al., 2016); Generation and Comprehension of Unambiguous Object
Descriptions (Mao et al., 2016).
"""

import io
import pickle
from pathlib import Path
from typing import Any, NoReturn

from evaluation.public.files import entry, fractions, not_empty, read_json
from evaluation.readers import GroundingRow, Rows
from runtime.errors import DataError


def read(path: Path, *, split: str | None = None) -> Rows:
    """Read a `refs(*).p` file with the `instances.json` beside it, or a folder that holds one of each.

    Args:
        path: the file or folder.
        split: `val`, `testA`, `testB`, `test` or `train`; `test` takes `testA` and `testB` too. All of them when None.

    Raises:
        DataError: a file cannot be read, has another layout, or no expression is of that split.
    """
    refs_file = _refs_file(path)
    instances = read_json(refs_file.parent / "instances.json")
    with entry(refs_file.parent / "instances.json", "'images' or 'annotations'"):
        images = {image["id"]: image for image in instances["images"]}
        boxes = {annotation["id"]: annotation["bbox"] for annotation in instances["annotations"]}
    rows = []
    for at, ref in enumerate(_load(refs_file)):
        with entry(refs_file, at):
            if split is None or ref["split"] == split or (split == "test" and ref["split"].startswith("test")):
                image = images[ref["image_id"]]
                x, y, width, height = boxes[ref["ann_id"]]
                box = fractions((x, y, x + width, y + height), width_px=image["width"], height_px=image["height"])
                if box is not None:
                    rows += [
                        GroundingRow(image=image["file_name"], phrase=sentence["sent"], boxes=(box,))
                        for sentence in ref["sentences"]
                    ]
    return not_empty(Rows(grounding=rows), refs_file, split)


def _refs_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    found = sorted(path.glob("refs(*).p"))
    if len(found) != 1:
        there = ", ".join(file.name for file in found) or "none"
        raise DataError(f"{path} should hold one refs(*).p file and holds {there}; name the file itself.")
    return found[0]


class _PlainUnpickler(pickle.Unpickler):
    """Reads lists, dictionaries, texts and numbers; whatever would have to be imported is refused."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no list of expressions needs")


def _load(path: Path) -> list[Any]:
    try:
        content = _PlainUnpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    except Exception as error:  # a damaged pickle raises almost anything
        raise DataError(f"{path} is no list of referring expressions: {error}.") from error
    if not isinstance(content, list):
        raise DataError(f"{path} is no list of referring expressions.")
    return content
