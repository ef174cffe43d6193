"""Moving scenes as files: videos with captions that say what moves where."""

from collections.abc import Iterator
from pathlib import Path

import orjson
from PIL import Image

from runtime.errors import UsageError, VernierError
from scenes.files import Progress, folder_made_whole
from scenes.moving import MovingScene, generate_moving
from scenes.scene import check_arguments
from scenes.world import World
from scenes.worlds import WORLD

NUM_FRAMES = 16
FRAMES_PER_S = 8

_MOST_REFUSED = 2000


def write_videos(
    out: Path,
    *,
    count: int,
    seed: int,
    split: str = "test",
    size_px: int = 96,
    world: World = WORLD,
    progress: Progress | None = None,
) -> None:
    """Write moving scenes, two seconds each, with captions of which each is true of its own video alone.

    The files are `videos/NNNNNN.mp4`, `captions.jsonl` as `vernier index add` and training read it, and
    `motion_pairs.jsonl`: `{"image", "caption", "negative_caption"}`, where one thing is said to go the other way. The
    folder appears when it is complete; the same arguments give the same frames.

    Args:
        out: a folder that is not there yet, or empty.
        count: how many videos.
        seed: which sequence of scenes; see `scenes.generate`.
        split: see `scenes.moving.generate_moving`.
        size_px: side of the frames; even.
        world: see `scenes.generate`.
        progress: called after each video.

    Raises:
        UsageError: an argument cannot be meant, `out` has something in it, or there are not so many scenes.
        VernierError: `extra_missing`: PyAV is not installed.
    """
    check_arguments(seed=seed, index=0, split=split, size_px=size_px)
    if count < 1 or size_px % 2:
        raise UsageError(f"{count} videos of {size_px} px cannot be written: at least 1, of an even number of pixels.")
    pairs: list[dict[str, object]] = []
    captions: list[dict[str, object]] = []
    with folder_made_whole(out) as folder:
        (folder / "videos").mkdir(parents=True)
        for number, scene in enumerate(distinct(seed=seed, split=split, size_px=size_px, world=world, most=count)):
            name = f"videos/{number:06d}.mp4"
            write_video(folder / name, scene.frames(NUM_FRAMES))
            captions.append({"image": name, "captions": [scene.caption], "split": split})
            pairs.append({"image": name, "caption": scene.caption, "negative_caption": scene.reversed_caption})
            if progress is not None:
                progress(number + 1, count)
        for file, rows in (("captions", captions), ("motion_pairs", pairs)):
            (folder / f"{file}.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))


def distinct(*, seed: int, split: str, size_px: int, world: World, most: int) -> Iterator[MovingScene]:
    """Scenes of which no caption is true of another one.

    Raises:
        UsageError: so many cannot be found.
    """
    kept: list[frozenset[tuple[str, str, str]]] = []
    refused, index = 0, -1
    while len(kept) < most:
        index += 1
        scene = generate_moving(seed, index, split=split, size_px=size_px, world=world)
        if any(scene.says <= other or other <= scene.says for other in kept):
            refused += 1
            if refused > _MOST_REFUSED:
                raise UsageError(f"there are no {most} moving scenes of which each caption is true of one alone.")
            continue
        kept.append(scene.says)
        yield scene


def write_video(file: Path, frames: list[Image.Image]) -> None:
    """Write pictures of one size as a video: H.264 in MP4, `FRAMES_PER_S`.

    Raises:
        VernierError: `extra_missing`: PyAV is not installed.
    """
    try:
        import av
    except ModuleNotFoundError as error:
        raise VernierError(
            "videos are written by PyAV, which is not installed; the extra `video` brings it: "
            "pip install 'vernier[video]'",
            code="extra_missing",
        ) from error
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=FRAMES_PER_S, options={"crf": "16", "threads": "1"})
        stream.width, stream.height = frames[0].size
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_image(frame)))
        container.mux(stream.encode(None))
