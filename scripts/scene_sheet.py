"""Draw docs/scenes.png: every kind of thing in its states, the patterns, and some scenes with their captions.

Run from the source tree: `.venv/bin/python -m scripts.scene_sheet`.
"""

import textwrap
from pathlib import Path

from PIL import Image, ImageDraw

from scenes import WORLD, generate
from scenes.sheet import SUPERSAMPLING
from scenes.stencil import paint, stencil

_CELL, _SIDE, _COLUMNS = 76, 54, 15
_SCENE, _SCENE_CELL, _SCENES = 128, 190, 12
_PAPER, _INK = (244, 246, 248), (30, 30, 30)


def main() -> None:
    """Write the sheet."""
    looks = [(kind, state, "plain") for kind in WORLD.kinds for state in _states(kind)]
    looks += [("circle", None, pattern) for pattern in WORLD.patterns if pattern != "plain"]
    rows = -(-len(looks) // _COLUMNS)
    top = rows * _CELL
    per_row = _COLUMNS * _CELL // _SCENE_CELL
    sheet = Image.new("RGB", (_COLUMNS * _CELL, top + -(-_SCENES // per_row) * _SCENE_CELL), _PAPER)
    pen = ImageDraw.Draw(sheet)
    colours = [colour.rgb for colour in WORLD.colours.values()]
    for at, (kind, state, pattern) in enumerate(looks):
        x, y = at % _COLUMNS * _CELL, at // _COLUMNS * _CELL
        shape = stencil(kind, _SIDE * SUPERSAMPLING, False, state)
        paint(sheet, shape, left=x + 10, top=y + 4, rgb=colours[at % len(colours)], pattern=pattern)
        pen.text((x + 4, y + _CELL - 14), state or (kind if pattern == "plain" else pattern), fill=_INK)
    for number in range(_SCENES):
        scene = generate(5, number, split="test", size_px=_SCENE)
        x, y = number % per_row * _SCENE_CELL, top + number // per_row * _SCENE_CELL
        sheet.paste(scene.image, (x + 4, y + 2))
        for line, text in enumerate(textwrap.wrap(scene.caption, 30)[:5]):
            pen.text((x + 4, y + _SCENE + 4 + 11 * line), text, fill=_INK)
    place = Path(__file__).resolve().parent.parent / "docs" / "scenes.png"
    sheet.quantize(128, dither=Image.Dither.NONE).save(place, optimize=True)


def _states(kind: str) -> tuple[str | None, ...]:
    family = WORLD.family_of_kind.get(kind)
    return (None,) if family is None else tuple(WORLD.states[family].states)


if __name__ == "__main__":
    main()
