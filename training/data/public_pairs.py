"""COCO captions and Flickr, in the layouts that their makers give them, as training pairs.

The files are read by the readers that evaluation has for them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from training.data.folder_store import Line, divided_by_split
from training.data.jsonl_pairs import needed
from training.data.listed_pairs import Division, ListedPairsConfig

Layout = Literal["coco-captions", "karpathy", "flickr-tokens"]

_SPLITS_OF_TOKENS = ("train", "dev")


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicPairsConfig(ListedPairsConfig):
    """A file of captions and a folder of pictures.

    `coco-captions` is COCO's own `captions_*.json`; `karpathy` a `dataset_*.json` with splits; `flickr-tokens` is
    `Flickr8k.token.txt` (with its lists of splits beside it, where they are there) or `results_20130124.token`.
    """

    layout: Layout
    captions: str
    images: str

    def divided(self, data: Path | None) -> Division:
        """Train on the split `train` and hold `val` or `dev` out, where the layout has splits."""
        directory = needed(data, f"{self.captions} and {self.images}/")
        return divided_by_split(
            f"{directory.name}/{self.captions}",
            directory / self.images,
            self._lines(directory / self.captions),
            train_splits=("train",),
            held_out_splits=("val", "dev"),
            least_held_out=self.least_held_out,
        )

    def _lines(self, file: Path) -> list[Line]:
        from evaluation.public import read

        has_lists = self.layout == "flickr-tokens" and (file.parent / "Flickr_8k.trainImages.txt").is_file()
        return [
            Line(image=row.image, captions=tuple(row.captions), split=row.split or "train")
            for split in (_SPLITS_OF_TOKENS if has_lists else (None,))
            for row in read(self.layout, file, split=split).retrieval
            if row.captions
        ]
