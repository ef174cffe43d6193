"""Moving scenes: a few things of which some move, a caption that says who moves where, and the frames.

A thing keeps its look and goes in a straight line at an even pace, or stays. Ways do not cross, so nothing hides
anything. No two things of a scene have kind or colour in common, so that each is told by one word.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from scenes.draft import Look
from scenes.geometry import Box, separation
from scenes.scene import Background, Brush, background_of, brush_of, check_arguments, painted, stencil_of, stream
from scenes.stencil import Stencil
from scenes.world import World
from scenes.worlds import WORLD

MOTIONS: dict[str, tuple[int, int]] = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1), "still": (0, 0)}
"""Where a thing goes: x and y, y downwards."""

OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up"}

_PURPOSE = 5  # of the random stream; those before are of minimal pairs and probes
_WAY = 0.4  # how far a thing goes, as a share of the picture's side
_TRIES = 100
_SIZES = ("small", "medium")


@dataclass(frozen=True, kw_only=True, slots=True)
class MovingThing:
    """A thing and its way.

    Attributes:
        look: what can be said of it.
        motion: a name of `MOTIONS`.
        start: left and top in the first frame, in pixels.
        end: the same in the last.
        brush: how it is drawn.
        shape: its stencil.
    """

    look: Look
    motion: str
    start: tuple[int, int]
    end: tuple[int, int]
    brush: Brush
    shape: Stencil

    def at(self, share: float) -> tuple[int, int]:
        """Left and top when so much of the time has passed, 0..1."""
        left, top = (round(a + share * (b - a)) for a, b in zip(self.start, self.end, strict=True))
        return left, top

    @property
    def way(self) -> Box:
        """The box around all of its way."""
        width, height = self.shape.extent
        x0, y0 = min(self.start[0], self.end[0]), min(self.start[1], self.end[1])
        x1, y1 = max(self.start[0], self.end[0]), max(self.start[1], self.end[1])
        return x0, y0, x1 + width, y1 + height


@dataclass(frozen=True, kw_only=True, slots=True)
class MovingScene:
    """Things that move, and the truth about them.

    Attributes:
        caption: says of every thing what it is and where it goes.
        reversed_caption: the same with one motion turned round: false, and of the same things.
        things: in the order of the caption; at least one moves.
        background: what is behind them.
        size_px: side of the frames.
        world: what it is made of.
    """

    caption: str
    reversed_caption: str
    things: tuple[MovingThing, ...]
    background: Background
    size_px: int
    world: World

    def frame(self, share: float) -> Image.Image:
        """The picture when so much of the time has passed, 0..1."""
        image = self.background.image(self.size_px)
        for thing in self.things:
            left, top = thing.at(share)
            painted(image, thing.shape, thing.look, thing.brush, left=left, top=top, world=self.world)
        return image

    def frames(self, count: int) -> list[Image.Image]:
        """So many frames, the first and the last among them."""
        return [self.frame(number / max(1, count - 1)) for number in range(count)]

    @property
    def says(self) -> frozenset[tuple[str, str, str]]:
        """Kind, colour and motion of each thing: another scene's caption is true of this one if all it says is here."""
        return frozenset((thing.look.kind, thing.look.colour, thing.motion) for thing in self.things)


def generate_moving(
    seed: int, index: int, *, split: str = "train", size_px: int = 96, world: World = WORLD
) -> MovingScene:
    """Draw moving scene `index` of an endless sequence; the arguments are those of `scenes.generate`.

    The split "compositional" has a held-out combination of kind and colour in each scene, the others never one.

    Raises:
        UsageError: as `scenes.generate`.
    """
    check_arguments(seed=seed, index=index, split=split, size_px=size_px)
    rng = stream(seed, index, split=split, purpose=_PURPOSE)
    while True:
        looks = _looks(rng, world, held_out=split == "compositional")
        background, things = background_of(rng, world), _things(rng, looks, size_px, world)
        if things is not None:
            break
    moving = [number for number, thing in enumerate(things) if thing.motion != "still"]
    turned = moving[int(rng.integers(len(moving)))]
    motions = [thing.motion for thing in things]
    others = [OPPOSITE[motion] if number == turned else motion for number, motion in enumerate(motions)]
    return MovingScene(
        caption=_caption(looks, motions, world),
        reversed_caption=_caption(looks, others, world),
        things=things,
        background=background,
        size_px=size_px,
        world=world,
    )


def _looks(rng: np.random.Generator, world: World, *, held_out: bool) -> tuple[Look, ...]:
    """Two or three looks that share neither kind nor colour."""
    number = int(rng.integers(2, 4))
    ordinary, held = (world.combinations(held_out=which) for which in (False, True))
    chosen: list[tuple[str, str]] = []
    while len(chosen) < number:
        pool = held if held_out and not chosen else ordinary
        kind, colour = pool[int(rng.integers(len(pool)))]
        if all(kind != other and colour != paint for other, paint in chosen):
            chosen.append((kind, colour))
    order = rng.permutation(number)
    return tuple(
        Look(
            kind=chosen[at][0],
            colour=chosen[at][1],
            size=_SIZES[int(rng.integers(len(_SIZES)))],
            state=_state(rng, world, chosen[at][0]),
        )
        for at in order
    )


def _state(rng: np.random.Generator, world: World, kind: str) -> str | None:
    family = world.family_of_kind.get(kind)
    states = () if family is None else tuple(world.states[family].states)
    return states[int(rng.integers(len(states)))] if states else None


def _things(
    rng: np.random.Generator, looks: Sequence[Look], size_px: int, world: World
) -> tuple[MovingThing, ...] | None:
    """The looks on their ways, apart from each other; None when they find no room, or none moves."""
    names = tuple(MOTIONS)
    placed: list[MovingThing] = []
    for look in looks:
        brush = brush_of(rng)
        shape = stencil_of(look, brush, size_px, world)
        motion = names[int(rng.integers(len(names)))]
        for _ in range(_TRIES):
            thing = _somewhere(rng, look, motion, brush, shape, size_px)
            if thing is not None and all(separation(thing.way, other.way) >= 1 for other in placed):
                placed.append(thing)
                break
        else:
            return None
    return tuple(placed) if any(thing.motion != "still" for thing in placed) else None


def _somewhere(
    rng: np.random.Generator, look: Look, motion: str, brush: Brush, shape: Stencil, size_px: int
) -> MovingThing | None:
    """A thing somewhere, its whole way within the picture; None when it is too large for that."""
    dx, dy = (round(_WAY * size_px) * step for step in MOTIONS[motion])
    room_x, room_y = (size_px - side - abs(step) - 1 for side, step in zip(shape.extent, (dx, dy), strict=True))
    if room_x < 1 or room_y < 1:
        return None
    left, top = int(rng.integers(1, room_x + 1)) + max(0, -dx), int(rng.integers(1, room_y + 1)) + max(0, -dy)
    return MovingThing(look=look, motion=motion, start=(left, top), end=(left + dx, top + dy), brush=brush, shape=shape)


def _caption(looks: Sequence[Look], motions: Sequence[str], world: World) -> str:
    said = [
        f"a {world.colours[look.colour].words[0]} {world.kinds[look.kind][0]} "
        + ("stays still" if motion == "still" else f"moves {motion}")
        for look, motion in zip(looks, motions, strict=True)
    ]
    said = [f"an {one[2:]}" if one[2] in "aeiou" else one for one in said]
    return f"{', '.join(said[:-1])} and {said[-1]}"
