"""The decoder of outside pictures: what a person sees in a viewer is what the model is shown."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from common.facts import LONGEST_EDGE
from common.pictures import PictureError, decode, png

RED, BLUE = (220, 20, 20), (20, 20, 220)


def saved(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def halves() -> Image.Image:
    """200x100 pixels, red on the left, blue on the right."""
    picture = Image.new("RGB", (200, 100), RED)
    picture.paste(BLUE, (100, 0, 200, 100))
    return picture


def near(pixel: tuple[int, ...], wanted: tuple[int, ...], by: int = 30) -> bool:
    return all(abs(one - other) <= by for one, other in zip(pixel, wanted, strict=True))


# The place of red after the orientation is applied, and the size.
ORIENTED = {
    1: ((200, 100), (10, 50)),
    2: ((200, 100), (190, 50)),
    3: ((200, 100), (190, 50)),
    4: ((200, 100), (10, 50)),
    5: ((100, 200), (50, 10)),
    6: ((100, 200), (50, 10)),
    7: ((100, 200), (50, 190)),
    8: ((100, 200), (50, 190)),
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", ORIENTED)
def test_the_orientation_is_applied(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode(saved(halves(), kind, exif=exif))
    size, red = ORIENTED[orientation]
    assert decoded.size == size
    assert near(decoded.getpixel(red), RED)
    assert 0x0112 not in Image.open(io.BytesIO(png(decoded))).getexif()


def transparent(mode: str) -> Image.Image:
    """Black in the middle of what is transparent."""
    picture = Image.new("RGBA", (60, 40), (0, 0, 0, 0))
    picture.paste((0, 0, 0, 255), (20, 10, 40, 30))
    if mode == "P":
        with_palette = Image.new("P", (60, 40), 0)
        with_palette.putpalette([0, 0, 0, 1, 1, 1])
        with_palette.paste(1, (20, 10, 40, 30))
        with_palette.info["transparency"] = 0
        return with_palette
    return picture.convert(mode)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "TIFF"])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_black_on_transparent_stays_readable(mode, kind):
    if (mode, kind) in {("LA", "GIF"), ("P", "TIFF")}:
        pytest.skip("the format has no such pictures")
    decoded = decode(saved(transparent(mode), kind))
    assert decoded.mode == "RGB"
    assert near(decoded.getpixel((2, 2)), (255, 255, 255), 2)
    assert near(decoded.getpixel((30, 20)), (0, 0, 0), 2)


def test_a_colour_named_transparent_in_rgb_and_grey_is_white():
    red = Image.new("RGB", (20, 20), RED)
    red.paste(BLUE, (0, 0, 5, 5))
    assert decode(saved(red, transparency=RED)).getpixel((10, 10)) == (255, 255, 255)
    grey = Image.new("L", (20, 20), 7)
    assert decode(saved(grey, transparency=7)).getpixel((10, 10)) == (255, 255, 255)


def test_half_transparent_is_half_white():
    decoded = decode(saved(Image.new("RGBA", (8, 8), (0, 0, 0, 128))))
    assert near(decoded.getpixel((4, 4)), (127, 127, 127), 2)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_are_scaled_and_not_clipped(kind):
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(8, axis=0)
    decoded = decode(saved(Image.fromarray(ramp), kind))
    shown = np.asarray(decoded)[4, :, 0].astype(int)
    assert np.abs(shown - np.arange(256)).max() <= 1
    assert decoded.mode == "RGB"


def test_one_of_65536_greys_may_be_transparent():
    deep = np.full((9, 9), 300, np.uint16)
    deep[:, 5:] = 301
    decoded = decode(saved(Image.fromarray(deep), transparency=300))
    assert decoded.getpixel((2, 4)) == (255, 255, 255)
    assert decoded.getpixel((7, 4)) == (1, 1, 1)


def test_16_bits_keep_their_orientation():
    deep = np.zeros((10, 30), np.uint16)
    deep[:, :10] = 65535
    exif = Image.Exif()
    exif[0x0112] = 6
    decoded = decode(saved(Image.fromarray(deep), exif=exif))
    assert decoded.size == (10, 30)
    assert decoded.getpixel((5, 2)) == (255, 255, 255)
    assert decoded.getpixel((5, 25)) == (0, 0, 0)


@pytest.mark.parametrize("mode", ["1", "P", "L"])
def test_few_colours_become_rgb_before_they_are_resized(mode):
    fine = Image.fromarray(np.indices((2000, 2000)).sum(axis=0).astype(np.uint8) % 2 * 255)
    decoded = decode(saved(fine.convert(mode)))
    assert decoded.size == (LONGEST_EDGE, LONGEST_EDGE)
    middle = np.asarray(decoded)[100:900, 100:900]
    assert 90 < middle.min() <= middle.max() < 165, "black and white: resized before it was RGB"


def test_other_colours_and_sizes():
    cmyk = halves().convert("CMYK")
    assert near(decode(saved(cmyk, "JPEG", quality=95)).getpixel((10, 50)), RED)
    assert decode(saved(Image.new("RGB", (9000, 3)))).size == (1024, 1)
    assert decode(saved(Image.new("RGB", (9000, 3))), None).size == (9000, 3)
    small = Image.new("RGB", (5, 7))
    assert decode(saved(small)).size == (5, 7)


def header(width: int, height: int) -> bytes:
    """A PNG file that says its size and holds nothing to show."""
    about = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    file = b"\x89PNG\r\n\x1a\n"
    for name, data in ((b"IHDR", about), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")):
        crc = struct.pack(">I", zlib.crc32(name + data))
        file += struct.pack(">I", len(data)) + name + data + crc
    return file


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (header(40_000, 30_000), "pixels"),
        (header(9_000, 9_000), "9000x9000 pixels"),
        (header(20, 20), "give a whole PNG"),
        (saved(halves())[:-40], "give a whole PNG"),
        (saved(halves(), "JPEG")[:300], "give a whole PNG"),
        (b"", "give a whole PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "give a whole PNG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "give a whole PNG"),
        (saved(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), "pixels of kind F"),
        (
            saved(halves(), "GIF", save_all=True, append_images=[Image.new("RGB", (200, 100))]),
            "several pictures",
        ),
    ],
)
def test_what_is_no_picture_is_refused_in_one_line(data, says, tmp_path):
    (tmp_path / "x.png").write_bytes(data)
    for source in (data, tmp_path / "x.png"):
        with pytest.raises(PictureError, match=says) as refused:
            decode(source)
        assert "\n" not in str(refused.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(PictureError, match="No such file"):
        decode(tmp_path / "x.png")


def test_the_same_picture_gives_the_same_bytes():
    exif = Image.Exif()
    exif[0x010E] = "a description"
    assert png(decode(saved(halves(), exif=exif))) == png(decode(saved(halves())))
