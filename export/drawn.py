"""Drawn scenes to compare engines on: pictures with captions that every machine has, and that are no noise."""

import numpy as np

import scenes
from export.parity import Case, case_of

_LEAST_PX, _MOST_PX = 96, 1024


def drawn_cases(count: int, *, size_px: int) -> list[Case]:
    """Return scenes of the validation split, each caption once.

    Args:
        count: how many.
        size_px: the side that the encoder takes; scenes are drawn at it where they can be.
    """
    found: dict[str, Case] = {}
    index = 0
    while len(found) < count:
        scene = scenes.generate(0, index, split="val", size_px=min(_MOST_PX, max(_LEAST_PX, size_px)))
        edited = scenes.edit_caption(scene, np.random.default_rng((0, index))).caption
        phrase = scene.phrases[0].text if scene.phrases else None
        found.setdefault(scene.caption, case_of(scene.image, scene.caption, edited, phrase))
        index += 1
    return list(found.values())
