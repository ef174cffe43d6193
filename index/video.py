"""Videos: a few upright pictures of each, sampled evenly, in bounded memory.

PyAV decodes; it comes with the extra `video` (docs/adr/0043). Frames are the middles of equal parts of the video, so
neither the first nor the last moment is among them, which are often black.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from index.records import Floats
from runtime.errors import ImageError, VernierError
from runtime.preprocess.image import MAX_PIXELS

if TYPE_CHECKING:
    from av.container import InputContainer

VIDEO_SUFFIXES = frozenset(".mp4 .m4v .webm .mkv .mov .avi".split())

NUM_FRAMES = 16
"""How many frames are taken of a video; fewer of one that has fewer."""

MAX_SECONDS = 6 * 3600
"""Longer videos are refused from their header."""

_MOST_DECODED = 50_000  # frames of one video, on the way to those that are wanted
_SHORTEST = 1e-6
_READ_THROUGH_S = 10.0  # a frame so little ahead is reached by decoding on, a later one from the key frame before it


@dataclass(frozen=True, slots=True)
class VideoFrame:
    """One moment of a video."""

    time_s: float
    image: Image.Image


def is_video(file: Path) -> bool:
    """Say whether a file is a video by its name."""
    return file.suffix.lower() in VIDEO_SUFFIXES


def sample_frames(file: Path, *, count: int = NUM_FRAMES, longest_px: int | None = None) -> list[VideoFrame]:
    """Return frames of a video, evenly over its length, in order, RGB and upright.

    Args:
        file: a video with at least one frame; sound is passed over.
        count: at most so many frames.
        longest_px: frames are scaled down so that no side is longer.

    Raises:
        ImageError: `video_undecodable` when the file is no video, is damaged, has sound alone, or cannot be gone
            through; `video_too_large` when its frames have too many pixels or it lasts too long.
        VernierError: `extra_missing`: PyAV is not installed.
    """
    try:
        import av
    except ModuleNotFoundError as error:
        raise VernierError(
            "videos are decoded by PyAV, which is not installed; the extra `video` brings it: "
            "pip install 'vernier[video]'",
            code="extra_missing",
        ) from error
    try:
        with av.open(str(file)) as container:
            found = _sampled(container, count)
            frames = [VideoFrame(max(0.0, time_s), _shown(frame, longest_px)) for time_s, frame in found]
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise ImageError(f"the video is damaged or none ({error}).", code="video_undecodable") from error
    if not frames:
        raise ImageError("the video has no frame that can be shown.", code="video_undecodable")
    return frames


def mean_embedding(frames: Floats) -> Floats:
    """Return the vector of a video: the mean of its frames' unit vectors [frames, dim], of unit length again.

    Frames whose vectors cancel out, which no encoder gives, would leave the first one.
    """
    mean = frames.mean(axis=0)
    length = float(np.linalg.norm(mean))
    return np.asarray(mean / length if length > _SHORTEST else frames[0], np.float32)


def most_typical(frames: Floats) -> int:
    """Return which frame is nearest to the mean: it is shown, and looked at where one picture is needed."""
    return int(np.argmax(frames @ mean_embedding(frames)))


def _sampled(container: "InputContainer", count: int) -> list[tuple[float, Any]]:
    """The frames with their times, or as many as there are."""
    if not container.streams.video:
        raise ImageError("the file has no moving picture, only sound or text.", code="video_undecodable")
    stream = container.streams.video[0]
    if (stream.width or 0) * (stream.height or 0) > MAX_PIXELS:
        raise ImageError(
            f"the video's frames have {stream.width} x {stream.height} pixels; at most {MAX_PIXELS:,} are accepted.",
            code="video_too_large",
        )
    stream.thread_type = "AUTO"
    start_s = float((stream.start_time or 0) * stream.time_base) if stream.time_base else 0.0
    duration_s = _duration(container, stream)
    if duration_s is None:
        return _thinned(_decoded(container, stream, start_s), count)
    if duration_s > MAX_SECONDS:
        raise ImageError(
            f"the video lasts {duration_s / 3600:.1f} hours; at most {MAX_SECONDS // 3600} are accepted. Cut it.",
            code="video_too_large",
        )
    return _at_times(container, stream, [(at + 0.5) * duration_s / count for at in range(count)], start_s)


def _duration(container: "InputContainer", stream: Any) -> float | None:  # noqa: ANN401 - a stream of PyAV
    """How long the video is, where its header says so."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return None if not container.duration else container.duration / 1_000_000


def _at_times(
    container: "InputContainer",
    stream: Any,  # noqa: ANN401 - a stream of PyAV
    times_s: Sequence[float],
    start_s: float,
) -> list[tuple[float, Any]]:
    """The frame that is shown at each of some rising times; none twice."""
    found: dict[float, Any] = {}
    frames, shown, ahead = _decoded(container, stream, start_s), None, None
    for wanted_s in times_s:
        if ahead is None or wanted_s - ahead[0] > _READ_THROUGH_S:
            container.seek(int((wanted_s + start_s) / stream.time_base), stream=stream)
            frames, shown, ahead = _decoded(container, stream, start_s), None, None
        while ahead is None or ahead[0] <= wanted_s:
            shown = ahead or shown
            ahead = next(frames, None)
            if ahead is None:
                break
        best = shown or ahead
        if best is not None:
            found[best[0]] = best[1]
        if ahead is None:
            ahead = shown
    return sorted(found.items(), key=lambda entry: entry[0])


def _decoded(
    container: "InputContainer",
    stream: Any,  # noqa: ANN401 - a stream of PyAV
    start_s: float,
) -> Iterator[tuple[float, Any]]:
    """Frames from where the container stands, with their times."""
    for number, frame in enumerate(container.decode(stream)):
        if number == _MOST_DECODED:
            raise ImageError(
                "the video has too many frames between those that can be jumped to; encode it anew with key frames.",
                code="video_undecodable",
            )
        if frame.time is not None:
            yield frame.time - start_s, frame


def _thinned(frames: Iterator[tuple[float, Any]], count: int) -> list[tuple[float, Any]]:
    """At most so many of a stream of frames whose end is not known, evenly, never holding more than twice as many."""
    kept: list[tuple[float, Any]] = []
    stride = 1
    for number, frame in enumerate(frames):
        if number % stride == 0:
            kept.append(frame)
        if len(kept) == 2 * count:
            kept, stride = kept[::2], 2 * stride
    if len(kept) <= count:
        return kept
    return [kept[int((at + 0.5) * len(kept) / count)] for at in range(count)]


def _shown(frame: Any, longest_px: int | None) -> Image.Image:  # noqa: ANN401 - a frame of PyAV
    """A frame as a player would show it."""
    image: Image.Image = frame.to_image()
    if frame.rotation:
        image = image.rotate(frame.rotation, expand=True)
    if longest_px is not None:
        image.thumbnail((longest_px, longest_px), Image.Resampling.BICUBIC)
    return image
