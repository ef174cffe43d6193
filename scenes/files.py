"""Scenes as files: pictures and the JSON lines that `vernier eval` reads."""

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import orjson

from runtime.errors import UsageError
from scenes.draft import Draft
from scenes.edits import edit_caption, edit_image
from scenes.scene import Scene, Thing, check_arguments, generate, stream
from scenes.truth import is_true
from scenes.world import Combination

Progress = Callable[[int, int], None]
"""Called with how many scenes are written and how many there will be."""

_Key = frozenset[Combination]

_MOST_REFUSED = 2000
_TEXT_EDITS, _IMAGE_EDITS = 1, 2


def write(
    out: Path, *, count: int, seed: int, split: str = "test", size_px: int = 96, progress: Progress | None = None
) -> None:
    """Write scenes, each with a caption that is true of no other picture written, and minimal pairs on both sides.

    The files are `images/NNNNNN.png`, `captions.jsonl`, `hard_negatives.jsonl`, `grounding.jsonl` and
    `image_pairs.jsonl`, whose changed pictures are `images/negatives/NNNNNN.png`. The folder appears when it is
    complete; the same arguments give the same bytes.

    Args:
        out: a folder that is not there yet, or empty.
        count: how many scenes.
        seed: which sequence of scenes; see `scenes.generate`.
        split: see `scenes.generate`.
        size_px: see `scenes.generate`.
        progress: called after each scene.

    Raises:
        UsageError: an argument cannot be meant, `out` has something in it, or so many scenes have no captions of their
            own.
    """
    check_arguments(seed=seed, index=0, split=split, size_px=size_px)
    if count < 1:
        raise UsageError(f"{count} scenes cannot be written; count must be at least 1.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is not an empty folder; name another for the scenes or remove it.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as partial:
        folder = Path(partial) / "scenes"
        _write_all(folder, count=count, seed=seed, split=split, size_px=size_px, progress=progress)
        if out.exists():
            out.rmdir()
        folder.rename(out)


def _write_all(folder: Path, *, count: int, seed: int, split: str, size_px: int, progress: Progress | None) -> None:
    (folder / "images" / "negatives").mkdir(parents=True)
    lines: dict[str, list[dict[str, Any]]] = defaultdict(list)
    chosen = _distinct_scenes(seed=seed, split=split, size_px=size_px, most=count)
    for number, (index, scene) in enumerate(chosen):
        name = f"{number:06d}.png"
        changed = edit_image(scene, stream(seed, index, split=split, purpose=_IMAGE_EDITS))
        edit = edit_caption(scene, stream(seed, index, split=split, purpose=_TEXT_EDITS))
        scene.image.save(folder / "images" / name)
        changed.scene.image.save(folder / "images" / "negatives" / name)
        lines["captions"].append({"image": name, "captions": [scene.caption], "split": split})
        lines["hard_negatives"].append(
            {
                "image": name,
                "caption": scene.caption,
                "negative_caption": edit.caption,
                "type": edit.kind,
                "diff": [
                    {"pos_words": list(pos), "neg_words": list(neg)}
                    for pos, neg in zip(edit.pos_words, edit.neg_words, strict=True)
                ],
            }
        )
        lines["grounding"].extend(
            {"image": name, "phrase": phrase.text, "boxes": [list(phrase.box)]} for phrase in scene.phrases
        )
        lines["image_pairs"].append(
            {
                "image": name,
                "negative_image": f"negatives/{name}",
                "caption": scene.caption,
                "negative_caption": changed.caption,
                "type": changed.kind,
            }
        )
        if progress is not None:
            progress(number + 1, count)
    for file, rows in lines.items():
        (folder / f"{file}.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))


def _distinct_scenes(*, seed: int, split: str, size_px: int, most: int) -> Iterator[tuple[int, Scene]]:
    """The first scenes of a sequence, with their indices, whose captions are true of one of them each."""
    kept = _Kept()
    index = refused = 0
    while kept.count < most:
        scene = generate(seed, index, split=split, size_px=size_px)
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


@dataclass(kw_only=True, slots=True)
class _Kept:
    """The scenes kept so far, found by one or two of the things in them and by the first one or two mentioned."""

    count: int = 0
    things: dict[_Key, list[tuple[Thing, ...]]] = field(default_factory=lambda: defaultdict(list))
    drafts: dict[_Key, list[Draft]] = field(default_factory=lambda: defaultdict(list))

    def tells_apart(self, scene: Scene) -> bool:
        """Whether the scene's caption is false of every picture kept, and their captions are false of it."""
        if any(is_true(scene.draft, things) for things in self.things.get(_key_of(scene.draft), ())):
            return False
        return not any(is_true(draft, scene.objects) for key in _keys_in(scene.objects) for draft in self.drafts[key])

    def add(self, scene: Scene) -> None:
        self.count += 1
        self.drafts[_key_of(scene.draft)].append(scene.draft)
        for key in _keys_in(scene.objects):
            self.things[key].append(scene.objects)


def _key_of(draft: Draft) -> _Key:
    return frozenset(look.combination for look in draft.looks[: min(2, draft.plan.shape.num_mentions)])


def _keys_in(things: Sequence[Thing]) -> Iterator[_Key]:
    """Every key that a caption true of these things can have."""
    for num in (1, 2):
        for chosen in combinations(things, num):
            yield frozenset(thing.look.combination for thing in chosen)
