"""Winoground: two pictures, two captions of the same words.

Paper: Winoground (Thrush et al., 2022).
"""

from pathlib import Path

from evaluation.public.files import entry, no_split, not_empty, read_json_lines
from evaluation.readers import ImagePairRow, Rows


def read(path: Path, *, split: str | None = None) -> Rows:
    """Read `examples.jsonl`; the pictures are `<image_0>.png` and so on, the type is the `collapsed_tag`.

    Raises:
        DataError: the file cannot be read or a line has another layout.
    """
    no_split(split, path)
    rows = []
    for at, item in enumerate(read_json_lines(path)):
        with entry(path, at):
            rows.append(
                ImagePairRow(
                    image=f"{item['image_0']}.png",
                    negative_image=f"{item['image_1']}.png",
                    caption=item["caption_0"],
                    negative_caption=item["caption_1"],
                    type=item["collapsed_tag"],
                )
            )
    return not_empty(Rows(image_pairs=rows), path, split)
