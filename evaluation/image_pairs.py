"""Pictures that differ in one thing: does a caption pick its own picture, and a picture its own caption?

A row is two pictures and two captions, each caption true of one picture alone. *Accuracy* is the picture's side:
the caption scores its picture above the other one (chance 0.5). *Text*, *image* and *group* are Winoground's: both
pictures pick their caption (chance 0.25), both captions pick their picture (0.25), and both at once (0.167). A tie is
a miss. The *blind* accuracy asks for the same picture with a caption of another row: it should stand at chance.

Paper: Winoground (2022), section 3.3.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.intervals import Outcomes, estimate_rates
from evaluation.ranking import strictly_above

Scores = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class QuadScores:
    """Scores of one judge for rows of two pictures and two captions, each `[rows]`; higher fits better.

    Attributes:
        caption_image: The caption with its picture.
        caption_negative_image: The caption with the other picture.
        negative_caption_image: The other caption with the first picture.
        negative_caption_negative_image: The other caption with its own, the other, picture.
    """

    caption_image: Scores
    caption_negative_image: Scores
    negative_caption_image: Scores
    negative_caption_negative_image: Scores

    def accuracy(self) -> NDArray[np.bool_]:
        """Where the caption scores its own picture strictly above the other one."""
        return strictly_above(self.caption_image, self.caption_negative_image)

    def text(self) -> NDArray[np.bool_]:
        """Winoground's text score: where both pictures score their own caption strictly higher."""
        return strictly_above(self.caption_image, self.negative_caption_image) & strictly_above(
            self.negative_caption_negative_image, self.caption_negative_image
        )

    def image(self) -> NDArray[np.bool_]:
        """Winoground's image score: where both captions score their own picture strictly higher."""
        return self.accuracy() & strictly_above(self.negative_caption_negative_image, self.negative_caption_image)

    def group(self) -> NDArray[np.bool_]:
        """Winoground's group score: where both text and image score hold."""
        return self.text() & self.image()


@dataclass(frozen=True, slots=True, kw_only=True)
class BlindScores:
    """Scores of a caption of *another* row with a row's two pictures, each `[rows]`; `nan` where none was to be had.

    Attributes:
        image: With the row's picture.
        negative_image: With the row's other picture.
    """

    image: Scores
    negative_image: Scores

    def accuracy(self) -> NDArray[np.bool_]:
        """Where the other row's caption scores the first picture strictly above the second."""
        return strictly_above(self.image, self.negative_image)


def compare(*, judge: QuadScores, dual: QuadScores, blind: BlindScores, blind_dual: BlindScores) -> Outcomes:
    """Compare the four scores of each row: everything by the judge, but what is named `dual`.

    Args:
        judge: Scores by match, or by the dual encoder where the bundle has no fusion graph.
        dual: Cosines of the dual encoder.
        blind: The judge's scores with a caption of another row.
        blind_dual: The dual encoder's scores with that caption.
    """
    has_blind = ~np.isnan(blind.image)
    return Outcomes(
        hits={
            "accuracy": judge.accuracy(),
            "dual_accuracy": dual.accuracy(),
            "text": judge.text(),
            "image": judge.image(),
            "group": judge.group(),
            "dual_group": dual.group(),
            "blind_accuracy": blind.accuracy(),
            "blind_dual_accuracy": blind_dual.accuracy(),
        },
        counted={"blind_accuracy": has_blind, "blind_dual_accuracy": has_blind},
    )


def summarise(found: Outcomes, types: Sequence[str], *, seed: int = 0) -> dict[str, Any]:
    """The `image_pairs` group of the result.

    Args:
        found: What became of each row.
        types: Kind of difference of each row.
        seed: Of the intervals.
    """
    kind = np.asarray(types, dtype=object)
    return {
        **estimate_rates(found, seed=seed),
        "by_type": {name: estimate_rates(found, rows=kind == name, seed=seed) for name in sorted(set(types))},
    }
