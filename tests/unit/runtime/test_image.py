"""Decoding shows a picture as a viewer would; bad bytes are refused by name."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from runtime.errors import ImageError
from runtime.preprocess.image import ImageTransform, decode_image, image_size


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def two_halves(mode: str = "RGB") -> Image.Image:
    """Left half red, right half blue."""
    image = Image.new("RGB", (40, 20), (255, 0, 0))
    image.paste((0, 0, 255), (20, 0, 40, 20))
    return image.convert(mode)


def header_only_png(width: int, height: int) -> bytes:
    """A PNG whose header promises many pixels and whose body holds compressed zeros."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes((width + 1) * 64), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
def test_formats_decode_to_rgb(form: str) -> None:
    image = decode_image(encoded(two_halves(), form))
    assert image.mode == "RGB"
    assert image.size == (40, 20)
    red, blue = image.getpixel((5, 10)), image.getpixel((35, 10))
    assert red[0] > 200 > 60 > red[2]
    assert blue[2] > 200 > 60 > blue[0]


def test_cmyk_palette_and_grey() -> None:
    assert decode_image(encoded(two_halves("CMYK"), "JPEG")).getpixel((5, 10))[0] > 200
    assert decode_image(encoded(two_halves("P"), "PNG")).getpixel((5, 10)) == (255, 0, 0)
    assert decode_image(encoded(two_halves("L"), "PNG")).getpixel((5, 10)) == (76, 76, 76)


def test_sixteen_bit_grey_keeps_its_brightness() -> None:
    grey = Image.fromarray(np.full((4, 4), 32768, np.uint16))
    assert decode_image(encoded(grey, "PNG")).getpixel((0, 0)) == (127, 127, 127)


def test_transparency_is_shown_over_white() -> None:
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert decode_image(encoded(clear, "PNG")).getpixel((0, 0)) == (255, 255, 255)


def test_first_frame_of_an_animation() -> None:
    first, second = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
    data = encoded(first, "GIF", save_all=True, append_images=[second])
    assert decode_image(data).getpixel((0, 0)) == (255, 0, 0)


def test_exif_orientation_turns_the_picture() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise: the left half comes to the top
    data = encoded(two_halves(), "PNG", exif=exif)
    image = decode_image(data)
    assert image.size == (20, 40) == image_size(data)
    assert image.getpixel((10, 5)) == (255, 0, 0)
    assert image.getpixel((10, 35)) == (0, 0, 255)


@pytest.mark.parametrize("data", [b"", b"not a picture", b"\xff\xd8\xff\xe0" + b"\0" * 50, b"GIF89a", b"%PDF-1.4"])
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(ImageError) as caught:
        decode_image(data)
    assert caught.value.code == "image_undecodable"


def test_a_truncated_jpeg_is_refused() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    data = encoded(noise, "JPEG")
    with pytest.raises(ImageError, match="damaged") as caught:
        decode_image(data[: len(data) // 2])
    assert caught.value.code == "image_undecodable"


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_too_many_pixels_are_refused_from_the_header() -> None:
    bomb = header_only_png(12_000, 12_000)
    assert len(bomb) < 20_000
    with pytest.raises(ImageError, match="12000 x 12000") as caught:
        decode_image(bomb)
    assert caught.value.code == "image_too_large"
    with pytest.raises(ImageError) as caught:  # beyond Pillow's own limit too
        decode_image(header_only_png(60_000, 60_000))
    assert caught.value.code == "image_too_large"


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 300))
def test_damaged_bytes_give_an_image_error_or_a_picture(garbage: bytes, at: int) -> None:
    data = bytearray(encoded(two_halves(), "JPEG"))
    data[at : at + len(garbage)] = garbage
    try:
        image = decode_image(bytes(data))
    except ImageError as error:
        assert error.code in ("image_undecodable", "image_too_large")
    else:
        assert image.mode == "RGB"


def test_transform_by_hand() -> None:
    transform = ImageTransform(size_px=2, mean=(0.5, 0.25, 0.0), std=(0.5, 1.0, 2.0))
    pixels = transform.apply(Image.new("RGB", (2, 2), (255, 0, 102)))
    assert pixels.shape == (3, 2, 2)
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels[:, 0, 0], [1.0, -0.25, 0.2], atol=1e-6)


def test_squash_keeps_all_in_view_and_crop_cuts_the_sides() -> None:
    wide = two_halves()
    squashed = ImageTransform(size_px=20).apply(wide)
    assert squashed[0, 10, 2] == pytest.approx(1, abs=0.05)
    assert squashed[2, 10, 17] == pytest.approx(1, abs=0.05)
    crop = ImageTransform(size_px=20, resize="crop")
    assert crop.box_in_picture((0, 0, 1, 1), width_px=40, height_px=20) == (0.25, 0, 0.75, 1)
    assert ImageTransform(size_px=20).box_in_picture((0, 0, 1, 1), width_px=40, height_px=20) == (0, 0, 1, 1)


def test_a_jpeg_may_be_decoded_smaller_but_never_below_the_target() -> None:
    data = encoded(Image.new("RGB", (1024, 768), "red"), "JPEG")
    assert decode_image(data).size == (1024, 768)
    width, height = decode_image(data, target_px=224).size
    assert 224 <= height < 768
    assert 224 <= width < 1024


def test_a_format_that_runs_programs_is_not_opened() -> None:
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n"
    with pytest.raises(ImageError, match="not a picture"):
        decode_image(postscript)
