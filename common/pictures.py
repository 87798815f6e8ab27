"""The one decoder for pictures from outside: importers and evaluation see the same pixels.

The orientation that a camera wrote beside the pixels is applied, what is transparent lies on
white, 16 bits are scaled to 8, and the picture is RGB before it is resized.
"""

import base64
import io
import struct
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from common.errors import AetherError
from common.facts import LONGEST_EDGE, MAX_PIXELS

Image.init()  # knows every format by its name only then
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
# Eight bits a channel, which PIL turns into RGB as they are. What is 16 bits is scaled before.
_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
_DEEP = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_DAMAGED = (OSError, SyntaxError, ValueError, TypeError, LookupError, struct.error, OverflowError)


class PictureError(AetherError):
    """A picture that cannot be used; the text says what is wrong with it and what to do."""


def decode(source: Path | bytes, longest_edge: int | None = LONGEST_EDGE) -> Image.Image:
    """A picture from outside as upright RGB on white, scaled down to `longest_edge` pixels.

    Args:
        source: A file, or what it holds.
        longest_edge: None leaves the size as it is.

    Raises:
        PictureError: It is damaged, animated, no picture of the known formats, or too large.
    """
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(file, "r", FORMATS) as picture:
            decoded = plain(picture)
            if longest_edge is not None:
                decoded.thumbnail((longest_edge, longest_edge), Image.Resampling.LANCZOS)
            return decoded
    except PictureError:
        raise
    except Image.DecompressionBombError:
        raise PictureError(
            f"too many pixels, at most {MAX_PIXELS:,} are read; scale it down"
        ) from None
    except UnidentifiedImageError:
        raise PictureError(
            "no picture that is known; give a whole PNG, JPEG or WebP file"
        ) from None
    except _DAMAGED as error:
        problem = " ".join(str(error).split()) or type(error).__name__
        raise PictureError(f"{problem}; give a whole PNG, JPEG or WebP file") from None


def plain(picture: Image.Image) -> Image.Image:
    """An opened picture as upright RGB on white. Raises PictureError for one that is too large,
    animated, or of a kind that is not known.
    """
    _check(picture)
    return _on_white(ImageOps.exif_transpose(_eight_bits(picture)))


def png(picture: Image.Image) -> bytes:
    """A picture as a PNG file without metadata."""
    file = io.BytesIO()
    Image.frombytes(picture.mode, picture.size, picture.tobytes()).save(
        file, "PNG", compress_level=4
    )
    return file.getvalue()


def picture_part(file: bytes, kind: str = "png") -> dict:
    """A PNG or JPEG file as OpenAI's chat completions take it."""
    url = f"data:image/{kind};base64,{base64.b64encode(file).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


def _check(picture: Image.Image) -> None:
    """Raise PictureError for what is too large, animated, or of a kind that is not known."""
    if picture.width * picture.height > MAX_PIXELS:
        limit = f"at most {MAX_PIXELS:,} are read; scale it down"
        raise PictureError(f"{picture.width}x{picture.height} pixels, {limit}")
    # A phone's MPO file holds its picture first and what belongs to it after.
    if picture.format != "MPO" and getattr(picture, "n_frames", 1) > 1:
        raise PictureError("several pictures in one file; give one")
    if picture.mode not in (*_MODES, *_DEEP):
        raise PictureError(f"pixels of kind {picture.mode}; save it with 8 bits a channel")


def _eight_bits(picture: Image.Image) -> Image.Image:
    """The picture with 8 bits a channel; 65535 becomes 255."""
    if picture.mode not in _DEEP:
        return picture
    values = np.asarray(picture.convert("I"))
    if values.min() < 0 or values.max() > 65535:
        raise PictureError("more than 16 bits a channel; save it with 8 bits a channel")
    scaled = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    # A PNG file may name one of its 65,536 greys as transparent.
    scaled.paste(255, mask=Image.fromarray(values == picture.info.get("transparency")))
    scaled.info["exif"] = picture.getexif().tobytes()
    return scaled


def _on_white(picture: Image.Image) -> Image.Image:
    """The picture as RGB, white where it is transparent."""
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    coloured = picture.convert("RGBA")
    ground = Image.new("RGBA", coloured.size, "white")
    return Image.alpha_composite(ground, coloured).convert("RGB")
