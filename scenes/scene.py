"""Drawing a scene: a pure function from (seed, index, split) to a picture with its truth."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from runtime.errors import UsageError
from scenes.caption import caption_of
from scenes.draft import Draft, Look, new_draft
from scenes.geometry import Box
from scenes.layout import Demand, Field, PixelBox, place
from scenes.things import SUPERSAMPLING, Stencil, paste, stencil
from scenes.world import WORLD, Rgb

SPLITS = ("train", "val", "test", "compositional")
"""The splits; a split's place here begins its random streams, so no two splits share one."""

LEAST_SIZE_PX = 32
MOST_SIZE_PX = 1024

_COLOUR_JITTER = 9
_BRUSH_LOW = np.array((0, -_COLOUR_JITTER, -_COLOUR_JITTER, -_COLOUR_JITTER))
_BRUSH_HIGH = np.array((2, _COLOUR_JITTER + 1, _COLOUR_JITTER + 1, _COLOUR_JITTER + 1))
_STREAM_LIMIT = 2**32


@dataclass(frozen=True, kw_only=True, slots=True)
class Brush:
    """How one thing is drawn, beyond what captions say.

    Attributes:
        side: its longest side, in supersampled pixels.
        mirrored: whether left and right are exchanged.
        jitter: added to its colour's channels.
    """

    side: int
    mirrored: bool
    jitter: Rgb


@dataclass(frozen=True, kw_only=True, slots=True)
class Thing:
    """A thing in a picture.

    Attributes:
        look: its kind, colour and size.
        box_px: the tight box of its pixels, [x0, x1) by [y0, y1).
        box: the same as fractions of the picture, 0..1.
        brush: how it is drawn.
    """

    look: Look
    box_px: PixelBox
    box: Box
    brush: Brush

    @property
    def kind(self) -> str:
        """Its kind, a name of `scenes.world.WORLD`."""
        return self.look.kind

    @property
    def colour(self) -> str:
        """Its colour, a name of `scenes.world.WORLD`."""
        return self.look.colour

    @property
    def size(self) -> str:
        """Its size, a name of `scenes.world.WORLD`."""
        return self.look.size


@dataclass(frozen=True, kw_only=True, slots=True)
class PhraseBox:
    """A noun phrase of the caption and the thing it speaks of.

    Attributes:
        text: the phrase, with its article.
        start: its first character in the caption.
        end: one past its last.
        box: the thing's tight box, 0..1.
        thing: the thing's number in the scene.
    """

    text: str
    start: int
    end: int
    box: Box
    thing: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """A drawn picture and the truth about it.

    Attributes:
        image: the picture, RGB and square.
        caption: a sentence that is true of it.
        objects: everything in it; no two share kind and colour.
        phrases: the caption's noun phrases, in the order of the things.
        draft: what the caption says and how it is worded.
        background: the tint behind the things.
    """

    image: Image.Image
    caption: str
    objects: tuple[Thing, ...]
    phrases: tuple[PhraseBox, ...]
    draft: Draft
    background: Rgb


def generate(seed: int, index: int, *, split: str = "train", size_px: int = 96) -> Scene:
    """Draw scene `index` of an endless sequence.

    The same arguments give the same bytes on every machine. Another `size_px` keeps the things and the caption and
    lays them out anew.

    Args:
        seed: which sequence, 0..2^32-1.
        index: which scene of it, 0..2^32-1.
        split: one of `SPLITS`. Only "compositional" draws the held-out combinations of kind and colour, one in each
            caption; the others never do.
        size_px: side of the picture, 32..1024.

    Raises:
        UsageError: an argument is outside what is said above.
    """
    check_arguments(seed=seed, index=index, split=split, size_px=size_px)
    rng = stream(seed, index, split=split)
    draft = new_draft(rng, held_out=split == "compositional")
    background = WORLD.backgrounds[rng.integers(len(WORLD.backgrounds))]
    brushes = tuple(_brush(look, size_px, rng) for look in draft.looks)
    shapes = [shape_of(look, brush) for look, brush in zip(draft.looks, brushes, strict=True)]
    boxes = place([shape.extent for shape in shapes], field_of(draft, size_px), rng)
    return draw(draft, brushes, boxes, background=background, size_px=size_px)


def stream(seed: int, index: int, *, split: str, purpose: int = 0) -> np.random.Generator:
    """The random stream of a scene; another `purpose` gives an independent one beside it."""
    entropy = [SPLITS.index(split), seed, index, purpose]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))


def check_arguments(*, seed: int, index: int, split: str, size_px: int) -> None:
    """Refuse what `generate` cannot mean.

    Raises:
        UsageError: naming the argument and what it may be.
    """
    if split not in SPLITS:
        raise UsageError(f"There is no split {split!r} of the drawn scenes; it is one of {', '.join(SPLITS)}.")
    for name, value in (("seed", seed), ("index", index)):
        if not 0 <= value < _STREAM_LIMIT:
            raise UsageError(f"The scenes' {name} is {value}; it must be from 0 to {_STREAM_LIMIT - 1}.")
    if not LEAST_SIZE_PX <= size_px <= MOST_SIZE_PX:
        raise UsageError(
            f"A scene of {size_px} px cannot be drawn; size_px must be from {LEAST_SIZE_PX} to {MOST_SIZE_PX}."
        )


def shape_of(look: Look, brush: Brush) -> Stencil:
    """The stencil of a thing."""
    return stencil(look.kind, brush.side, brush.mirrored)


def side_of(size: str, step: int, size_px: int) -> int:
    """The longest side of a thing in supersampled pixels; `step`, from `any_step`, varies it within its size."""
    span = WORLD.sizes[size]
    return (4 * span.least + step * (span.most - span.least)) * size_px * SUPERSAMPLING // 4000


def any_step(rng: np.random.Generator) -> int:
    """Where within its size a thing lies, 0..4."""
    return int(rng.integers(5))


def field_of(draft: Draft, size_px: int) -> Field:
    """The picture with what the draft's caption says as demands."""
    edges = zip(draft.plan.shape.edges, draft.relations, strict=True)
    return Field(
        size_px=size_px,
        demands=tuple(Demand(subject=a, object=b, relation=relation) for (a, b), relation in edges),
    )


def draw(draft: Draft, brushes: tuple[Brush, ...], boxes: list[PixelBox], *, background: Rgb, size_px: int) -> Scene:
    """Paint the things at their places and tell the truth about them."""
    image = Image.new("RGB", (size_px, size_px), background)
    things: list[Thing] = []
    for look, brush, box_px in zip(draft.looks, brushes, boxes, strict=True):
        red, green, blue = WORLD.colours[look.colour].rgb
        rgb = (_byte(red + brush.jitter[0]), _byte(green + brush.jitter[1]), _byte(blue + brush.jitter[2]))
        paste(image, shape_of(look, brush), left=box_px[0], top=box_px[1], rgb=rgb)
        x0, y0, x1, y1 = box_px
        box = (x0 / size_px, y0 / size_px, x1 / size_px, y1 / size_px)
        things.append(Thing(look=look, box_px=box_px, box=box, brush=brush))
    caption = caption_of(draft)
    phrases = tuple(
        PhraseBox(text=caption.text[start:end], start=start, end=end, box=things[i].box, thing=i)
        for i, (start, end) in enumerate(caption.phrases)
    )
    return Scene(
        image=image,
        caption=caption.text,
        objects=tuple(things),
        phrases=phrases,
        draft=draft,
        background=background,
    )


def _brush(look: Look, size_px: int, rng: np.random.Generator) -> Brush:
    step = any_step(rng)
    mirrored, red, green, blue = rng.integers(_BRUSH_LOW, _BRUSH_HIGH).tolist()
    return Brush(side=side_of(look.size, step, size_px), mirrored=mirrored == 1, jitter=(red, green, blue))


def _byte(value: int) -> int:
    return min(255, max(0, value))
