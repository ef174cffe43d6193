"""Pictures that the fake model understands: a coloured square on white."""

import io
import struct
import zlib

from PIL import Image, ImageDraw

from runtime.engines.fake import PALETTE


def square(
    colour: str, *, size: tuple[int, int] = (128, 128), box: tuple[int, int, int, int] | None = None
) -> Image.Image:
    """A square of one colour, by default in the top left quarter."""
    image = Image.new("RGB", size, "white")
    ImageDraw.Draw(image).rectangle(box or (0, 0, size[0] // 2 - 1, size[1] // 2 - 1), fill=PALETTE[colour])
    return image


def file_of(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    """The bytes of a picture's file."""
    stream = io.BytesIO()
    image.save(stream, kind, **({"quality": 95} if kind == "JPEG" else {}), **options)
    return stream.getvalue()


def jpeg(colour: str = "red") -> bytes:
    """A JPEG of a square."""
    return file_of(square(colour))


def huge_png(side_px: int = 12_000) -> bytes:
    """A PNG of side_px² pixels in a few kilobytes: one-bit black, as a decompression bomb would be."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = b"\0" + bytes(side_px // 8)
    compressor = zlib.compressobj(9)
    pixels = b"".join(compressor.compress(row) for _ in range(side_px)) + compressor.flush()
    header = struct.pack(">IIBBBBB", side_px, side_px, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
