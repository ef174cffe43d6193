"""A small world that the model without weights understands: pictures of one colour on white."""

import json

import pytest
from PIL import Image

from runtime.engines.fake import PALETTE

COLOURS = [colour for colour in PALETTE if colour != "white"]


def draw(folder, name, colour, *, cell=(0, 0), size_px=32):
    """A white picture with one of its 4 x 4 cells in a colour."""
    picture = Image.new("RGB", (size_px, size_px), PALETTE["white"])
    side = size_px // 4
    picture.paste(
        PALETTE[colour],
        (cell[0] * side, cell[1] * side, (cell[0] + 1) * side, (cell[1] + 1) * side),
    )
    picture.save(folder / name)


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def images(tmp_path):
    """One picture for each colour, `red.png` and so on, its cell on the diagonal."""
    folder = tmp_path / "images"
    folder.mkdir()
    for at, colour in enumerate(COLOURS):
        draw(folder, f"{colour}.png", colour, cell=(at % 4, at % 4))
    return folder
