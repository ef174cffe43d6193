"""Probes: pictures whose main thing is covered, and galleries of near-duplicates.

Both ask for what a model sees beside the foremost thing. An *occlusion* covers the largest of the things that a caption
speaks of with a patch of noise; the wrong caption is wrong about another, visible thing, and says the same of the
covered one, so only the rest of the picture can tell the two apart. Its control has the same patch where it hides
nothing that is spoken of. *Near-duplicates* are pictures redrawn with one thing changed: the caption is false of each.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from scenes.caption import caption_of
from scenes.edits import EDIT_KINDS, Change, ImageEdit, WordRange, change_of, edit_image
from scenes.layout import PixelBox
from scenes.scene import Scene

_EDITS = ("object", "colour")
_TRIES = 24


@dataclass(frozen=True, kw_only=True, slots=True)
class Occlusion:
    """A caption and a wrong one, beside a picture in which the main thing is covered.

    Attributes:
        image: the picture with its main thing covered.
        elsewhere: the picture with the same patch where it covers no thing that is spoken of.
        caption: true of the picture.
        negative_caption: wrong about a thing that is not covered.
        kind: "object" or "colour".
        pos_words: the words of the caption that were replaced.
        neg_words: the words of the wrong caption that stand there.
    """

    image: Image.Image
    elsewhere: Image.Image
    caption: str
    negative_caption: str
    kind: str
    pos_words: tuple[WordRange, ...]
    neg_words: tuple[WordRange, ...]


def occlusion(scene: Scene, rng: np.random.Generator) -> Occlusion | None:
    """Cover the largest thing that the caption speaks of, and make the caption wrong about another one.

    Args:
        scene: which picture.
        rng: advanced by what is drawn from it.

    Returns:
        None where the caption speaks of one thing alone, the patch would hide what is wrong, or it fits nowhere else.
    """
    boxes = [thing.box_px for thing in scene.objects[: len(scene.phrases)]]
    if len(boxes) < 2:
        return None
    main = max(range(len(boxes)), key=lambda number: (_area(boxes[number]), -number))
    patch = _grown(boxes[main], scene.image.width)
    change = _change_of_another(scene, main, patch, rng)
    free = _free_place(patch, boxes, scene.image.width, rng)
    if change is None or free is None:
        return None
    noise = rng.integers(0, 256, (patch[3] - patch[1], patch[2] - patch[0], 3), dtype=np.uint8)
    return Occlusion(
        image=_covered(scene.image, patch, noise),
        elsewhere=_covered(scene.image, free, noise),
        caption=scene.caption,
        negative_caption=caption_of(change.draft, scene.world).text,
        kind=change.kind,
        pos_words=change.word_ranges(scene.draft, scene.world),
        neg_words=change.word_ranges(change.draft, scene.world),
    )


def near_duplicates(scene: Scene, rng: np.random.Generator, *, count: int) -> list[ImageEdit]:
    """Pictures in which one thing is changed, each in another way, by edits of all kinds; the caption is false of all.

    Args:
        scene: which picture.
        rng: advanced by what is drawn from it.
        count: how many; fewer where no more different changes were found.
    """
    found: dict[str, ImageEdit] = {}
    for _ in range(_TRIES):
        if len(found) == count:
            break
        edit = edit_image(scene, rng, kinds=EDIT_KINDS)
        found.setdefault(edit.caption, edit)
    return list(found.values())


def _change_of_another(scene: Scene, main: int, patch: PixelBox, rng: np.random.Generator) -> Change | None:
    """A change of a thing that is spoken of, is not the main one, and is nowhere under the patch."""
    for _ in range(_TRIES):
        change = change_of(scene.draft, rng, world=scene.world, kinds=_EDITS)
        ((_, thing),) = change.slots
        if thing != main and not _meet(scene.objects[thing].box_px, patch):
            return change
    return None


def _free_place(patch: PixelBox, boxes: list[PixelBox], size_px: int, rng: np.random.Generator) -> PixelBox | None:
    """Where a patch of that size hides nothing of the boxes."""
    width, height = patch[2] - patch[0], patch[3] - patch[1]
    for _ in range(_TRIES):
        left, top = (int(rng.integers(0, size_px - side + 1)) for side in (width, height))
        place = (left, top, left + width, top + height)
        if not any(_meet(place, box) for box in boxes):
            return place
    return None


def _covered(
    image: Image.Image, place: PixelBox, noise: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
) -> Image.Image:
    covered = image.copy()
    covered.paste(Image.fromarray(noise), place[:2])
    return covered


def _grown(box: PixelBox, size_px: int) -> PixelBox:
    """The box and a pixel around it: what is drawn over its edge must not show."""
    return max(0, box[0] - 1), max(0, box[1] - 1), min(size_px, box[2] + 1), min(size_px, box[3] + 1)


def _area(box: PixelBox) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _meet(one: PixelBox, other: PixelBox) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
