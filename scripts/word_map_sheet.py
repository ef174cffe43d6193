"""Draw docs/images/word-maps.png and docs/images/phrase-maps.png: where the demo bundle sees words, on drawn scenes.

The scenes are the first ones of a seed of the split `test`, whatever the maps look like.

Run from the source tree: `.venv/bin/python -m scripts.word_map_sheet [BUNDLE]`.
"""

import sys
import textwrap
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from runtime.encoder import Encoder, Floats
from runtime.word_judges import UNJUDGED
from runtime.word_maps import MapMethod, phrase_maps, word_maps
from scenes import Scene, generate
from vernier.client.drawing import draw
from vernier.client.models import GroundAnswer, Grounding

_SEED, _SPLIT = 8, "test"
_SIDE, _CELL, _LINE = 132, 140, 13
_ROOM = 46  # for what is written under a picture
_WORDS, _WORD_ROWS, _PHRASES = 7, 6, 8
_METHODS: tuple[MapMethod, ...] = ("grad_cam", "attention", "patch_similarity")
_PAPER, _INK, _SOFT = (255, 255, 255), (25, 25, 25), (110, 110, 110)
_FOLDER = Path(__file__).resolve().parent.parent / "docs" / "images"


def main() -> None:
    """Draw both sheets."""
    bundle = sys.argv[1] if len(sys.argv) > 1 else "bundles/demo"
    encoder = Encoder.load(bundle, provider="cpu", num_threads=1)
    scenes = [generate(_SEED, number, split=_SPLIT, size_px=encoder.manifest.image.size_px) for number in range(24)]
    _save(_words(encoder, scenes[:_WORD_ROWS]), "word-maps.png")
    _save(_phrases(encoder, scenes), "phrase-maps.png")


def _words(encoder: Encoder, scenes: list[Scene]) -> Image.Image:
    """A row per scene: the picture with its caption, then its words."""
    sheet, pen, font = _sheet(_WORDS + 1, len(scenes), _ROOM)
    for row, scene in enumerate(scenes):
        y = row * (_CELL + _ROOM)
        _put(sheet, pen, font, scene.image, (0, y), scene.caption, lines=4, width=22)
        image = encoder.embed_images([scene.image])
        maps = [one for one in word_maps(encoder, image, scene.caption) if one.word.lower() not in UNJUDGED]
        for column, one in enumerate(maps[:_WORDS], start=1):
            _put(sheet, pen, font, _over(scene.image, one.heat), (column * _CELL, y), one.word)
    return sheet


def _phrases(encoder: Encoder, scenes: list[Scene]) -> Image.Image:
    """A column per phrase: the picture, then the phrase by each way; the first phrase of each scene in turn."""
    sheet, pen, font = _sheet(_PHRASES, 1 + len(_METHODS), 18)
    asked = [(scene, scene.phrases[number % len(scene.phrases)]) for number, scene in enumerate(scenes[:_PHRASES])]
    for column, (scene, phrase) in enumerate(asked):
        x = column * _CELL
        _put(sheet, pen, font, scene.image, (x, 0), phrase.text)
        image = encoder.embed_images([scene.image])
        for row, method in enumerate(_METHODS, start=1):
            (heat,) = phrase_maps(encoder, image, [phrase.text], method=method)
            _put(sheet, pen, font, _over(scene.image, heat), (x, row * (_CELL + 18)), method)
    return sheet


def _over(picture: Image.Image, heat: Floats) -> Image.Image:
    grid = tuple(tuple(float(value) for value in row) for row in heat)
    grounding = Grounding(phrase="it", start=0, end=2, boxes=(), heatmap=grid)
    return draw(picture, GroundAnswer(groundings=(grounding,), image_size=picture.size), heat="it")


def _sheet(
    columns: int, rows: int, room: int
) -> tuple[Image.Image, ImageDraw.ImageDraw, ImageFont.FreeTypeFont | ImageFont.ImageFont]:
    sheet = Image.new("RGB", (columns * _CELL, rows * (_CELL + room)), _PAPER)
    return sheet, ImageDraw.Draw(sheet), ImageFont.load_default(size=11)


def _put(
    sheet: Image.Image,
    pen: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    picture: Image.Image,
    at: tuple[int, int],
    said: str,
    *,
    lines: int = 1,
    width: int = 24,
) -> None:
    x, y = at
    sheet.paste(picture.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS), (x + 4, y + 4))
    for line, part in enumerate(textwrap.wrap(said, width)[:lines]):
        pen.text((x + 4, y + _SIDE + 6 + _LINE * line), part, fill=_INK if lines == 1 else _SOFT, font=font)


def _save(sheet: Image.Image, name: str) -> None:
    sheet.quantize(200, dither=Image.Dither.NONE).save(_FOLDER / name, optimize=True)


if __name__ == "__main__":
    main()
