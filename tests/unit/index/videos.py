"""Small videos of plain colours, written on the spot."""

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
from PIL import Image

from runtime.engines.fake import PALETTE

RATE = 8  # frames a second


def write_video(
    file: Path, colours: Sequence[str], *, size: tuple[int, int] = (64, 48), seconds_each: float = 1.0
) -> Path:
    """Show each colour for some time, in this order."""
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libvpx-vp9" if file.suffix == ".webm" else "libx264", rate=RATE)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for colour in colours:
            picture = np.asarray(Image.new("RGB", size, PALETTE[colour]))
            for _ in range(int(seconds_each * RATE)):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return file


def write_sound(file: Path) -> Path:
    """Half a second of silence, and no moving picture."""
    with av.open(str(file), "w") as container:
        stream = container.add_stream("aac", rate=16_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8_000), np.float32), format="fltp", layout="mono")
        frame.rate = 16_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file
