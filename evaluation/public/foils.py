"""Captions beside wrong ones: SugarCrepe, VALSE and ARO's Visual Genome parts.

None of them says which words were changed; that is found by comparing the captions, so that they are proofread too.

Papers: SugarCrepe (Hsieh et al., 2023); VALSE (Parcalabescu et al., 2022); When and Why Vision-Language Models Behave
like Bags-of-Words (ARO; Yuksekgonul et al., 2023).
"""

from pathlib import Path
from typing import Any

from evaluation.pictures import with_region
from evaluation.public.files import entry, hard_negative, no_split, not_empty, read_json
from evaluation.readers import Rows
from runtime.errors import DataError


def sugarcrepe(path: Path, *, split: str | None = None) -> Rows:
    """Read SugarCrepe's folder of `add_obj.json`, `swap_att.json`, …, or one of these; the type is the file's name.

    Raises:
        DataError: a file cannot be read or has another layout.
    """
    no_split(split, path)
    rows = []
    for file in _json_files(path):
        for name, item in _items(file):
            with entry(file, name):
                rows.append(
                    hard_negative(
                        image=item["filename"],
                        caption=item["caption"],
                        negative_caption=item["negative_caption"],
                        kind=file.stem,
                    )
                )
    return not_empty(Rows(hard_negatives=rows), path, split)


def valse(path: Path, *, split: str | None = None) -> Rows:
    """Read VALSE's folder of `existence.json`, `plurals.json`, …, or one of these files; the type is the file's name.

    Only valid foils are kept: those where at least two of three people chose the caption and not the foil.

    Raises:
        DataError: a file cannot be read or has another layout.
    """
    no_split(split, path)
    rows = []
    for file in _json_files(path):
        for name, item in _items(file):
            with entry(file, name):
                if item["mturk"]["caption"] >= 2:
                    caption = item["caption"]
                    rows.append(
                        hard_negative(
                            image=item["image_file"],
                            caption=caption if isinstance(caption, str) else caption[0],
                            negative_caption=item["foil"],
                            kind=file.stem,
                        )
                    )
    return not_empty(Rows(hard_negatives=rows), path, split)


def aro(path: Path, *, split: str | None = None) -> Rows:
    """Read ARO's `visual_genome_relation.json` or `visual_genome_attribution.json`.

    The type is the relation, or the two attributes. Each row is about its part of a picture, as in the paper.

    Raises:
        DataError: the file cannot be read or has another layout.
    """
    no_split(split, path)
    rows = []
    for name, item in _items(path):
        with entry(path, name):
            kind = item["relation_name"] if "relation_name" in item else "_".join(item["attributes"][:2])
            region = with_region(
                item["image_path"],
                x=int(item["bbox_x"]),
                y=int(item["bbox_y"]),
                width=int(item["bbox_w"]),
                height=int(item["bbox_h"]),
            )
            rows.append(
                hard_negative(
                    image=region, caption=item["true_caption"], negative_caption=item["false_caption"], kind=kind
                )
            )
    return not_empty(Rows(hard_negatives=rows), path, split)


def _json_files(path: Path) -> list[Path]:
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    if not files:
        raise DataError(f"there is no JSON file in {path}.")
    return files


def _items(path: Path) -> list[tuple[Any, Any]]:
    content = read_json(path)
    if not isinstance(content, dict | list):
        raise DataError(f"{path} is neither a list nor a dictionary of entries.")
    return list(content.items() if isinstance(content, dict) else enumerate(content))
