"""Drawing a scene: a pure function from (seed, index, split, world) to a picture with its truth."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from runtime.errors import UsageError
from scenes.blocks import Body, arrange, body
from scenes.caption import caption_of
from scenes.draft import Draft, Look, new_draft
from scenes.geometry import Box
from scenes.layout import Field, PixelBox, place
from scenes.sheet import SUPERSAMPLING
from scenes.stencil import Bools, Stencil, paint, stencil
from scenes.truth import is_true
from scenes.world import Rgb, World
from scenes.worlds import WORLD

SPLITS = ("train", "val", "test", "compositional", "edit-type")
"""The splits; a split's place here begins its random streams, so no two splits share one."""

LEAST_SIZE_PX = 32
MOST_SIZE_PX = 1024

_COLOUR_JITTER = 9
_TURNS = 12
_STEPS = 5
_BRUSH_LOW = np.array((0, 0, 0, -_COLOUR_JITTER, -_COLOUR_JITTER, -_COLOUR_JITTER))
_BRUSH_HIGH = np.array((_STEPS, 2, _TURNS, _COLOUR_JITTER + 1, _COLOUR_JITTER + 1, _COLOUR_JITTER + 1))
_STREAM_LIMIT = 2**32
_RIM: Rgb = (252, 252, 252)
_SCENERY = 40
"""How many in a hundred pictures have a further and a nearer ground."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Brush:
    """How one thing is drawn, beyond what captions say.

    Attributes:
        step: where within its size it lies, 0..4.
        mirrored: whether left and right are exchanged.
        turn: which of several arrangements is taken, of like things or of things close to each other.
        jitter: added to its colour's channels.
    """

    step: int
    mirrored: bool
    turn: int
    jitter: Rgb


@dataclass(frozen=True, kw_only=True, slots=True)
class Background:
    """What is behind the things: one tint, or two with a straight or a round border.

    Attributes:
        rgb: the tint, or the further of two.
        near: the nearer ground, or None.
        horizon: where it begins, in thousandths from the top.
        is_round: whether its upper border is a hill.
    """

    rgb: Rgb
    near: Rgb | None = None
    horizon: int = 1000
    is_round: bool = False

    def image(self, size_px: int) -> Image.Image:
        """An empty picture."""
        empty = Image.new("RGB", (size_px, size_px), self.rgb)
        if self.near is not None:
            top = self.horizon * size_px // 1000
            pen = ImageDraw.Draw(empty)
            if self.is_round:
                pen.ellipse((-size_px // 2, top, size_px * 3 // 2, top + 2 * size_px), fill=self.near)
            else:
                pen.rectangle((0, top, size_px, size_px), fill=self.near)
        return empty


@dataclass(frozen=True, kw_only=True, slots=True)
class Thing:
    """A thing in a picture, or several alike that are counted.

    Attributes:
        look: what can be said of it.
        boxes_px: the tight box of each piece, [x0, x1) by [y0, y1): one, or `look.count`. What another thing hides
            of it is in the box.
        box_px: the box around all of them.
        boxes: `boxes_px` as fractions of the picture, 0..1.
        box: `box_px` as fractions.
        depth: when it is painted; what has a greater depth is nearer.
        brush: how it is drawn.
        shape: the stencil of each piece.
    """

    look: Look
    boxes_px: tuple[PixelBox, ...]
    box_px: PixelBox
    boxes: tuple[Box, ...]
    box: Box
    depth: int
    brush: Brush
    shape: Stencil

    @property
    def kind(self) -> str:
        """Its kind, a name of the world."""
        return self.look.kind

    @property
    def colour(self) -> str:
        """Its colour, a name of the world."""
        return self.look.colour

    @property
    def size(self) -> str:
        """Its size, a name of the world."""
        return self.look.size


@dataclass(frozen=True, kw_only=True, slots=True)
class PhraseBox:
    """A noun phrase of the caption and the thing it speaks of.

    Attributes:
        text: the phrase, with its article or number.
        start: its first character in the caption.
        end: one past its last.
        box: the thing's tight box, 0..1; around all of them when there are several.
        boxes: the box of each.
        thing: the thing's number in the scene.
    """

    text: str
    start: int
    end: int
    box: Box
    boxes: tuple[Box, ...]
    thing: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Edge:
    """A relation that the caption says: the scene graph's edges between the things, its nodes.

    Attributes:
        relation: its name in the world.
        subject: the thing of which it is said, by number.
        objects: the one thing, or two, seen from which it is.
    """

    relation: str
    subject: int
    objects: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """A drawn picture and the truth about it.

    Attributes:
        image: the picture, RGB and square.
        caption: a sentence that is true of it.
        objects: everything in it; no two share kind and colour.
        edges: the relations that the caption says.
        phrases: the caption's noun phrases, in the order of the things.
        draft: what the caption says and how it is worded.
        background: what is behind the things.
        split: the split it was drawn for.
        world: what it is made of.
    """

    image: Image.Image
    caption: str
    objects: tuple[Thing, ...]
    edges: tuple[Edge, ...]
    phrases: tuple[PhraseBox, ...]
    draft: Draft
    background: Background
    split: str
    world: World

    def mask(self, number: int) -> Bools:
        """The pixels at which thing `number` is seen: covered by it at least by half, and hidden by nothing."""
        size_px = self.image.width
        thing = self.objects[number]
        seen = silhouette(thing, size_px)
        for other in self.objects:
            if other.depth > thing.depth:
                seen &= ~silhouette(other, size_px, with_rim=other.depth == _front(self.objects, self.edges))
        return seen


def generate(seed: int, index: int, *, split: str = "train", size_px: int = 96, world: World = WORLD) -> Scene:
    """Draw scene `index` of an endless sequence.

    The same arguments give the same bytes on every machine. Another `size_px` keeps the things and the caption (but for
    a very full scene, in which distractors may be left out) and lays them out anew.

    Args:
        seed: which sequence, 0..2^32-1.
        index: which scene of it, 0..2^32-1.
        split: one of `SPLITS`. Only "compositional" draws what is held out, in each caption one combination of kind and
            colour or one of kind and relation; the others never do. "edit-type" is like "test", with captions of
            which something can be made wrong that training never makes wrong.
        size_px: side of the picture, 32..1024.
        world: what may be in it.

    Raises:
        UsageError: an argument is outside what is said above.
    """
    check_arguments(seed=seed, index=index, split=split, size_px=size_px)
    rng = stream(seed, index, split=split)
    says = ("pattern", "state", "count") if split == "edit-type" else ()
    while True:
        draft = new_draft(rng, world=world, held_out=split == "compositional", says=says)
        background = background_of(rng, world)
        brushes = tuple(
            _brush(row) for row in rng.integers(_BRUSH_LOW, _BRUSH_HIGH, size=(len(draft.looks), 6)).tolist()
        )
        for trial in (draft, draft.without_distractors()):
            field = field_of(trial, brushes, size_px, world)
            places = place(field, rng)
            if places is None:
                continue
            scene = draw(trial, brushes, field, places, background=background, split=split, world=world)
            if is_true(draft, scene.objects, size_px=size_px):  # else a thing of a few pixels lost its shape
                return scene


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


def field_of(draft: Draft, brushes: Sequence[Brush], size_px: int, world: World) -> Field:
    """The picture as a place for the draft's things, with what its caption says as demands."""
    bodies = [_body(look, brush, size_px, world) for look, brush in zip(draft.looks, brushes, strict=False)]
    blocks, demands = arrange(bodies, draft.plan.shape.edges, draft.relations, size_px)
    return Field(size_px=size_px, blocks=blocks, demands=demands)


def draw(
    draft: Draft,
    brushes: Sequence[Brush],
    field: Field,
    places: Sequence[PixelBox],
    *,
    background: Background,
    split: str,
    world: World,
) -> Scene:
    """Paint the things at their places and tell the truth about them."""
    size_px = field.size_px
    boxes = field.things(places)
    edges = tuple(
        Edge(relation=relation, subject=edge[0], objects=edge[1:])
        for edge, relation in zip(draft.plan.shape.edges, draft.relations, strict=True)
    )
    order = _paint_order(len(draft.looks), edges)
    things = tuple(
        _thing(look, brush, boxes[i], order.index(i), size_px, world)
        for i, (look, brush) in enumerate(zip(draft.looks, brushes, strict=False))
    )
    image = background.image(size_px)
    front = _front(things, edges)
    for i in order:
        _paint(image, things[i], world, has_rim=things[i].depth == front)
    caption = caption_of(draft, world)
    phrases = tuple(
        PhraseBox(
            text=caption.text[start:end],
            start=start,
            end=end,
            box=things[i].box,
            boxes=things[i].boxes,
            thing=i,
        )
        for i, (start, end) in enumerate(caption.phrases)
    )
    return Scene(
        image=image,
        caption=caption.text,
        objects=things,
        edges=edges,
        phrases=phrases,
        draft=draft,
        background=background,
        split=split,
        world=world,
    )


def silhouette(thing: Thing, size_px: int, *, with_rim: bool = False) -> Bools:
    """The pixels that a thing covers at least by half, hidden or not."""
    covered = np.zeros((size_px, size_px), dtype=bool)
    seen = np.asarray(thing.shape.rim) >= 128 if with_rim else thing.shape.seen
    border = 1 if with_rim else 0
    for x0, y0, _, _ in thing.boxes_px:
        left, top = x0 - border, y0 - border
        right, bottom = left + seen.shape[1], top + seen.shape[0]
        cut = seen[max(0, -top) : size_px - top, max(0, -left) : size_px - left]
        covered[max(0, top) : bottom, max(0, left) : right] |= cut
    return covered


def background_of(rng: np.random.Generator, world: World) -> Background:
    """What is behind a scene: a tint, or two."""
    share, tint, scenery, horizon, is_round = rng.integers(
        (100, len(world.tints), len(world.sceneries), 250, 2)
    ).tolist()
    if share >= _SCENERY:
        return Background(rgb=world.tints[tint])
    far, near = world.sceneries[scenery]
    return Background(rgb=far, near=near, horizon=500 + horizon, is_round=is_round == 1)


def brush_of(rng: np.random.Generator) -> Brush:
    """How one thing is drawn."""
    return _brush(rng.integers(_BRUSH_LOW, _BRUSH_HIGH).tolist())


def _brush(row: Sequence[int]) -> Brush:
    step, mirrored, turn, red, green, blue = row
    return Brush(step=step, mirrored=mirrored == 1, turn=turn, jitter=(red, green, blue))


def _body(look: Look, brush: Brush, size_px: int, world: World) -> Body:
    shape = stencil_of(look, brush, size_px, world)
    return body(look.kind, shape, count=look.count, turn=brush.turn, size_px=size_px)


def stencil_of(look: Look, brush: Brush, size_px: int, world: World) -> Stencil:
    """The shape of a thing."""
    span = world.sizes[look.size]
    last = _STEPS - 1
    side = (last * span.least + brush.step * (span.most - span.least)) * size_px * SUPERSAMPLING // (last * 1000)
    return stencil(look.kind, side, brush.mirrored, look.state)


def _paint_order(count: int, edges: Sequence[Edge]) -> list[int]:
    """The things from the furthest to the nearest: as they are numbered, but for what is in front or inside."""
    order = list(range(count))
    for edge in edges:
        if edge.relation in ("front", "inside", "behind"):
            upper, lower = edge.subject, edge.objects[0]
            if edge.relation == "behind":
                upper, lower = lower, upper
            if upper < lower:
                order[upper], order[lower] = lower, upper
    return order


def _front(things: Sequence[Thing], edges: Sequence[Edge]) -> int | None:
    """The depth of the thing that is in front of another, if one is: it has a rim."""
    for edge in edges:
        if edge.relation in ("front", "behind"):
            return max(things[edge.subject].depth, things[edge.objects[0]].depth)
    return None


def _thing(look: Look, brush: Brush, box: PixelBox, depth: int, size_px: int, world: World) -> Thing:
    whole = _body(look, brush, size_px, world)
    width, height = whole.shape.extent
    boxes = tuple((box[0] + x, box[1] + y, box[0] + x + width, box[1] + y + height) for x, y in whole.places)
    return Thing(
        look=look,
        boxes_px=boxes,
        box_px=box,
        boxes=tuple(_fractions(one, size_px) for one in boxes),
        box=_fractions(box, size_px),
        depth=depth,
        brush=brush,
        shape=whole.shape,
    )


def _fractions(box: PixelBox, size_px: int) -> Box:
    return box[0] / size_px, box[1] / size_px, box[2] / size_px, box[3] / size_px


def painted(
    image: Image.Image,
    shape: Stencil,
    look: Look,
    brush: Brush,
    *,
    left: int,
    top: int,
    world: World,
    has_rim: bool = False,
) -> None:
    """Paint one piece of a thing onto a picture."""
    red, green, blue = (
        min(255, max(0, value + jitter))
        for value, jitter in zip(world.colours[look.colour].rgb, brush.jitter, strict=True)
    )
    paint(
        image,
        shape,
        left=left,
        top=top,
        rgb=(red, green, blue),
        pattern=look.pattern,
        rim=_RIM if has_rim else None,
    )


def _paint(image: Image.Image, thing: Thing, world: World, *, has_rim: bool) -> None:
    for left, top, _, _ in thing.boxes_px:
        painted(image, thing.shape, thing.look, thing.brush, left=left, top=top, world=world, has_rim=has_rim)
