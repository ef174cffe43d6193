"""COCO captions and Karpathy's splits (of COCO, Flickr8k and Flickr30k): retrieval.

Papers: Microsoft COCO Captions (2015); Deep Visual-Semantic Alignments (Karpathy and Fei-Fei, 2015).
"""

from pathlib import Path
from typing import Any

from evaluation.public.files import entry, no_split, not_empty, read_json
from evaluation.readers import RetrievalRow, Rows


def captions(path: Path, *, split: str | None = None) -> Rows:
    """Read COCO's own `captions_*.json`; the pictures' names are their `file_name`. It has no splits.

    Raises:
        DataError: the file cannot be read or has another layout.
    """
    no_split(split, path)
    content = read_json(path)
    with entry(path, "'images'"):
        names = {image["id"]: image["file_name"] for image in content["images"]}
    found: dict[Any, list[str]] = {}
    with entry(path, "'annotations'"):
        for annotation in content["annotations"]:
            found.setdefault(annotation["image_id"], []).append(annotation["caption"].strip())
    rows = []
    for image_id, texts in found.items():
        with entry(path, f"image {image_id}"):
            rows.append(RetrievalRow(image=names[image_id], captions=tuple(texts)))
    return not_empty(Rows(retrieval=rows), path, split)


def karpathy(path: Path, *, split: str | None = None) -> Rows:
    """Read a `dataset_*.json` of Karpathy, or ALBEF's list form of one split of it (`coco_karpathy_test.json`).

    A picture's name is its `filepath`, where it has one, and `filename`. Pictures of `restval` belong to `train`, as
    usual. The list form has no splits.

    Raises:
        DataError: the file cannot be read, has another layout, or no picture of that split.
    """
    content = read_json(path)
    rows = []
    if isinstance(content, list):
        no_split(split, path)
        for at, image in enumerate(content):
            with entry(path, at):
                texts = image["caption"]
                rows.append(RetrievalRow(image=image["image"], captions=[texts] if isinstance(texts, str) else texts))
        return not_empty(Rows(retrieval=rows), path, split)
    with entry(path, "'images'"):
        images = list(content["images"])
    for at, image in enumerate(images):
        with entry(path, at):
            its_split = "train" if image["split"] == "restval" else image["split"]
            if split in (None, its_split):
                name = "/".join(part for part in (image.get("filepath"), image["filename"]) if part)
                texts = tuple(sentence["raw"].strip() for sentence in image["sentences"])
                rows.append(RetrievalRow(image=name, captions=texts, split=its_split))
    return not_empty(Rows(retrieval=rows), path, split)
