"""What grounding finds: boxes with probabilities, and a heat map, for each phrase."""

from dataclasses import dataclass
from typing import Literal

from runtime.encoder import Floats

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in fractions of the encoder's input."""

Method = Literal["regions", "relevance", "patch_similarity", "shapley"]
"""How phrases are found. Raw scores of different methods are not comparable: a calibration belongs to one of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredBox:
    """A box with its calibrated probability."""

    box: Box
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounding:
    """Where one phrase is.

    Attributes:
        phrase: the phrase as given.
        boxes: best first, of which no two overlap much; none where the phrase is not in the picture.
        heat: [rows, columns] over the patch grid, 0..1; it is given for phrases without a box too.
        method: how it was found.
    """

    phrase: str
    boxes: tuple[ScoredBox, ...]
    heat: Floats
    method: Method


@dataclass(frozen=True, slots=True, kw_only=True)
class RawGrounding:
    """What a method says of one phrase, before calibration.

    Attributes:
        boxes: candidates, best first.
        raw: the score of each.
        heat: as in `Grounding`.
    """

    boxes: list[Box]
    raw: list[float]
    heat: Floats
