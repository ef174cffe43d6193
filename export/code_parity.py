"""Codes of two engines beside each other: whole numbers that a hair's breadth between two vectors decides.

Which code a patch has is a decision like the nearest picture. What follows from it, the patch token, is compared where
the code is the same: a token moved towards another code is another token, however small the difference that led there.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

CODES = "codes"
_MOVED = "patch_tokens"


def with_same_codes(
    expected: Mapping[str, NDArray[Any]], found: Mapping[str, NDArray[Any]]
) -> tuple[dict[str, NDArray[Any]], NDArray[np.bool_]]:
    """Take the expected token wherever the code is another one.

    Args:
        expected: outputs of one batch, codes and patch tokens among them.
        found: the same of another engine.

    Returns:
        `found` with those tokens, and which patches have the same code: bool [images, patches].
    """
    is_same = expected[CODES] == found[CODES]
    return {**found, _MOVED: np.where(is_same[..., None], found[_MOVED], expected[_MOVED])}, is_same
