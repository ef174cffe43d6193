"""Public datasets in the layouts that their makers give them, read into the rows that are evaluated."""

from collections.abc import Callable
from pathlib import Path

from evaluation.public import coco, flickr, flickr_entities, foils, refcoco, truths, winoground
from evaluation.readers import Rows

__all__ = ["FORMATS", "read"]

FORMATS: dict[str, Callable[..., Rows]] = {
    "coco-captions": coco.captions,
    "karpathy": coco.karpathy,
    "flickr-tokens": flickr.tokens,
    "flickr8k-experts": flickr.experts,
    "refcoco": refcoco.read,
    "flickr30k-entities": flickr_entities.read,
    "sugarcrepe": foils.sugarcrepe,
    "valse": foils.valse,
    "aro": foils.aro,
    "winoground": winoground.read,
    "vsr": truths.vsr,
    "nlvr": truths.nlvr,
}
"""What a suite may name as `format`; each takes a path and a split."""


def read(name: str, path: Path, *, split: str | None = None) -> Rows:
    """Read a dataset in the layout of that name.

    Raises:
        KeyError: there is no such format.
        DataError: a file cannot be read or has another layout.
    """
    return FORMATS[name](path, split=split)
