"""Opening a picture by the name that a row gives it.

A name may end in a media fragment, `photo.jpg#xywh=10,20,300,200`: x, y, width and height in pixels of the part of the
picture that the row is about, as the W3C writes it. Visual Genome crops (ARO) are named so.
"""

import re
from pathlib import Path

from PIL import Image

from runtime.errors import ImageError
from runtime.preprocess.image import decode_image

_FRAGMENT = re.compile(r"#xywh=(\d+),(\d+),(\d+),(\d+)$")


def with_region(name: str, *, x: int, y: int, width: int, height: int) -> str:
    """Return the name of a part of a picture, in pixels."""
    return f"{name}#xywh={x},{y},{width},{height}"


def open_picture(folder: Path, name: str) -> Image.Image:
    """Open a picture, or the part of it that the name asks for, upright and RGB.

    Raises:
        OSError: the file is not there or cannot be read.
        ImageError: it is no picture, or the part lies outside it.
    """
    found = _FRAGMENT.search(name)
    if found is None:
        return decode_image((folder / name).read_bytes())
    picture = decode_image((folder / name[: found.start()]).read_bytes())
    x, y, width, height = (int(number) for number in found.groups())
    right, bottom = min(x + width, picture.width), min(y + height, picture.height)
    if right <= x or bottom <= y:
        raise ImageError(f"the part {found.group()[1:]} lies outside the picture ({picture.width} x {picture.height}).")
    return picture.crop((x, y, right, bottom))
