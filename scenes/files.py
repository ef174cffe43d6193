"""Scenes as files: pictures with the JSON lines that `vernier eval` reads, or WebDataset shards."""

import io
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from PIL import Image

from runtime.errors import UsageError
from scenes.absent import absent_phrases
from scenes.coco import Detection
from scenes.edits import ImageEdit, TextEdit, edit_caption, edit_image
from scenes.probes import near_duplicates, occlusion
from scenes.scene import Scene, check_arguments, generate, stream
from scenes.unique import Kept
from scenes.world import World
from scenes.worlds import WORLD

Progress = Callable[[int, int], None]
"""Called with how many scenes are written and how many there will be."""

_MOST_REFUSED = 2000
_TEXT_EDITS, _IMAGE_EDITS, _OCCLUSIONS, _NEAR_DUPLICATES = 1, 2, 3, 4
_NEAR_DUPLICATES_EACH = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class _Example:
    """A scene with its minimal pairs."""

    name: str
    index: int
    scene: Scene
    edit: TextEdit
    changed: ImageEdit


def write(
    out: Path,
    *,
    count: int,
    seed: int,
    split: str = "test",
    size_px: int = 96,
    world: World = WORLD,
    probes: bool = False,
    progress: Progress | None = None,
) -> None:
    """Write scenes, each with a caption that is true of no other picture written, and minimal pairs on both sides.

    The files are `images/NNNNNN.png`, `captions.jsonl`, `hard_negatives.jsonl`, `grounding.jsonl` (with phrases of
    what is not in the picture), `detection.json` (every thing's kind and boxes, in COCO's format) and
    `image_pairs.jsonl`, whose changed pictures are `images/negatives/NNNNNN.png`. Probes are `mentions.jsonl` (phrases
    within their captions), `occlusions.jsonl` and `near_duplicates.jsonl` (see `scenes.probes`), with pictures in
    `images/occluded` and `images/near`. The folder appears when it is complete; the same arguments give the same bytes.

    Args:
        out: a folder that is not there yet, or empty.
        count: how many scenes.
        seed: which sequence of scenes; see `scenes.generate`.
        split: see `scenes.generate`.
        size_px: see `scenes.generate`.
        world: see `scenes.generate`.
        probes: write those too.
        progress: called after each scene.

    Raises:
        UsageError: an argument cannot be meant, `out` has something in it, or so many scenes have no captions of their
            own.
    """
    examples = _examples(count=count, seed=seed, split=split, size_px=size_px, world=world)
    with folder_made_whole(out) as folder:
        (folder / "images" / "negatives").mkdir(parents=True)
        lines: dict[str, list[dict[str, Any]]] = defaultdict(list)
        before: Scene | None = None
        detection = Detection()
        for done, example in enumerate(examples, 1):
            name = f"{example.name}.png"
            example.scene.image.save(folder / "images" / name)
            example.changed.scene.image.save(folder / "images" / "negatives" / name)
            lines["captions"].append({"image": name, "captions": [example.scene.caption], "split": split})
            lines["hard_negatives"].append({"image": name, **_hard_negative(example)})
            lines["grounding"].extend(_grounding(example.scene, before, name))
            detection.add(name, example.scene)
            before = example.scene
            lines["image_pairs"].append({"image": name, "negative_image": f"negatives/{name}", **_image_pair(example)})
            if probes:
                _write_probes(folder, example, lines, _Stream(seed=seed, index=example.index, split=split))
            if progress is not None:
                progress(done, count)
        (folder / "detection.json").write_bytes(orjson.dumps(detection.file()))
        for file, rows in lines.items():
            (folder / f"{file}.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))


def _grounding(scene: Scene, before: Scene | None, name: str) -> list[dict[str, Any]]:
    """Rows of a scene's phrases, over which phrases of the scene before are spread that are of nothing here."""
    absent = [] if before is None else absent_phrases(scene, before)
    return [
        {
            "image": name,
            "phrase": phrase.text,
            "boxes": [list(phrase.box)],
            "rivals": rivals,
            "absent": absent[at :: len(scene.phrases)],
        }
        for at, (phrase, rivals) in enumerate(zip(scene.phrases, _rivals(scene), strict=True))
    ]


def _rivals(scene: Scene) -> list[int]:
    """For each phrase, how many other things of the picture are of its kind: only attributes tell them apart."""
    kinds = [thing.kind for thing in scene.objects]
    return [kinds.count(kinds[phrase.thing]) - 1 for phrase in scene.phrases]


def write_shards(
    out: Path,
    *,
    count: int,
    seed: int,
    shards: int,
    split: str = "test",
    size_px: int = 96,
    world: World = WORLD,
    progress: Progress | None = None,
) -> None:
    """Write scenes as WebDataset shards `out/scenes-NNNNNN.tar`, filled in turn.

    Sample NNNNNN is NNNNNN.png (the picture), NNNNNN.negative.png (the picture with one thing changed), NNNNNN.txt (the
    caption) and NNNNNN.json: `caption`, `split`, `things` (look and boxes), `relations` between them by number,
    `phrases` with spans and boxes, `hard_negative` and `image_pair` as in the JSON lines of `write`. Scenes are those
    of `write` with the same arguments, and the same arguments give the same bytes.

    Args:
        out: a folder that is not there yet, or empty.
        count: how many scenes.
        seed: which sequence of scenes; see `scenes.generate`.
        shards: how many shards; at most `count`.
        split: see `scenes.generate`.
        size_px: see `scenes.generate`.
        world: see `scenes.generate`.
        progress: called after each scene.

    Raises:
        UsageError: as `write`.
    """
    examples = _examples(count=count, seed=seed, split=split, size_px=size_px, world=world)
    if not 1 <= shards <= count:
        raise UsageError(f"{count} scenes do not fill {shards} shards; name 1 to {count}.")
    with folder_made_whole(out) as folder, ExitStack() as stack:
        folder.mkdir()
        tars = [stack.enter_context(tarfile.open(folder / f"scenes-{i:06d}.tar", "w")) for i in range(shards)]
        for done, example in enumerate(examples, 1):
            for ending, content in _members(example).items():
                info = tarfile.TarInfo(f"{example.name}.{ending}")  # of no owner and no time: the same bytes always
                info.size = len(content)
                tars[(done - 1) % shards].addfile(info, io.BytesIO(content))
            if progress is not None:
                progress(done, count)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Stream:
    """Which scene it is: its random streams."""

    seed: int
    index: int
    split: str

    def of(self, purpose: int) -> np.random.Generator:
        return stream(self.seed, self.index, split=self.split, purpose=purpose)


def _write_probes(folder: Path, example: _Example, lines: dict[str, list[dict[str, Any]]], streams: _Stream) -> None:
    scene, name = example.scene, f"{example.name}.png"
    lines["mentions"].extend(
        {
            "image": name,
            "phrase": phrase.text,
            "boxes": [list(phrase.box)],
            "caption": scene.caption,
            "start": phrase.start,
        }
        for phrase in sorted(scene.phrases, key=lambda phrase: phrase.start)
    )
    covered = occlusion(scene, streams.of(_OCCLUSIONS))
    if covered is not None:
        row: dict[str, Any] = {"caption": covered.caption, "negative_caption": covered.negative_caption}
        for key, place, image in (
            ("image", "occluded", covered.image),
            ("elsewhere_image", "occluded/elsewhere", covered.elsewhere),
        ):
            row[key] = f"{place}/{name}"
            _save(image, folder / "images" / row[key])
        lines["occlusions"].append({**row, "type": covered.kind})
    near = near_duplicates(scene, streams.of(_NEAR_DUPLICATES), count=_NEAR_DUPLICATES_EACH)
    names = [f"near/{example.name}-{number}.png" for number in range(len(near))]
    for near_name, edit in zip(names, near, strict=True):
        _save(edit.scene.image, folder / "images" / near_name)
    lines["near_duplicates"].append({"image": name, "caption": scene.caption, "near": names})


def _save(image: Image.Image, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file)


@contextmanager
def folder_made_whole(out: Path) -> Iterator[Path]:
    """A folder that does not exist yet and becomes `out` when all went well."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is not an empty folder; name another for the scenes or remove it.")
    if out.resolve() == Path.cwd():
        raise UsageError(f"{out} is the folder you are in, which cannot be replaced; name one in it for the scenes.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as partial:
        folder = Path(partial) / "scenes"
        yield folder
        if out.exists():
            out.rmdir()
        folder.rename(out)


def _examples(*, count: int, seed: int, split: str, size_px: int, world: World) -> Iterator[_Example]:
    """Check the arguments, then draw scenes with their minimal pairs."""
    check_arguments(seed=seed, index=0, split=split, size_px=size_px)
    if count < 1:
        raise UsageError(f"{count} scenes cannot be written; count must be at least 1.")
    chosen = _distinct_scenes(seed=seed, split=split, size_px=size_px, world=world, most=count)
    return (
        _Example(
            name=f"{number:06d}",
            index=index,
            scene=scene,
            edit=edit_caption(scene, stream(seed, index, split=split, purpose=_TEXT_EDITS)),
            changed=edit_image(scene, stream(seed, index, split=split, purpose=_IMAGE_EDITS)),
        )
        for number, (index, scene) in enumerate(chosen)
    )


def _hard_negative(example: _Example) -> dict[str, Any]:
    edit = example.edit
    return {
        "caption": example.scene.caption,
        "negative_caption": edit.caption,
        "type": edit.kind,
        "diff": [
            {"pos_words": list(pos), "neg_words": list(neg)}
            for pos, neg in zip(edit.pos_words, edit.neg_words, strict=True)
        ],
    }


def _image_pair(example: _Example) -> dict[str, Any]:
    return {
        "caption": example.scene.caption,
        "negative_caption": example.changed.caption,
        "type": example.changed.kind,
    }


def _members(example: _Example) -> Mapping[str, bytes]:
    """The files of a sample by their endings."""
    scene = example.scene
    truth = {
        "caption": scene.caption,
        "split": scene.split,
        "things": [{**asdict(thing.look), "box": thing.box, "boxes": thing.boxes} for thing in scene.objects],
        "relations": [asdict(edge) for edge in scene.edges],
        "phrases": [asdict(phrase) for phrase in scene.phrases],
        "hard_negative": _hard_negative(example),
        "image_pair": _image_pair(example),
    }
    return {
        "png": _png(scene.image),
        "negative.png": _png(example.changed.scene.image),
        "txt": scene.caption.encode(),
        "json": orjson.dumps(truth),
    }


def _png(image: Image.Image) -> bytes:
    stored = io.BytesIO()
    image.save(stored, "PNG")
    return stored.getvalue()


def _distinct_scenes(*, seed: int, split: str, size_px: int, world: World, most: int) -> Iterator[tuple[int, Scene]]:
    """The first scenes of a sequence, with their indices, whose captions are true of one of them each."""
    kept = Kept()
    index = refused = 0
    while kept.count < most:
        scene = generate(seed, index, split=split, size_px=size_px, world=world)
        if kept.tells_apart(scene):
            kept.add(scene)
            refused = 0
            yield index, scene
        else:
            refused += 1
        index += 1
        if refused > _MOST_REFUSED:
            raise UsageError(
                f"After {kept.count} scenes no caption is left that is true of one alone; ask for fewer than {most}."
            )
