"""The pixel work behind `photo.prepare`: decode, shrink, turn, encode. Errors are whatever Pillow raises."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, NamedTuple

from PIL import Image

SHRUNK_JPEG = {"quality": 88, "subsampling": "4:4:4"}
"""Least change of labels within 5 % of the bytes of a 12-megapixel photo of 2 MB.

Colour at full resolution is worth more than quality: at the same size 92 with 4:2:0 moved 2.3 % of the top
labels, 90 with 4:4:4 0.5 % (220 upsampled dogs; WebP did worse, 95 takes 7 % and moved no fewer).
No `optimize`: Pillow then fails on photos so noisy that they exceed its buffer.
"""

UNSHRUNK_JPEG = {"quality": 95, "subsampling": "4:4:4"}
"""For small photos that come from another format: the model may see these pixels one to one."""

SHRUNK_WEBP = {"quality": 95, "alpha_quality": 100}
"""For photos with transparency, which the server puts on white."""

_JPEG_MODES = ("RGB", "L", "CMYK", "YCbCr")
_LOSSLESS = {
    "I;16": "PNG",
    "I;16B": "PNG",
    "I;16L": "PNG",
    "LA": "PNG",  # WebP knows no grey: a grey ICC profile would come loose from its pixels
    "I": "TIFF",
    "F": "TIFF",
    "LAB": "TIFF",
}
_MEDIA_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "TIFF": "image/tiff"}
_ORIENTATION_TAG = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Decoded(NamedTuple):
    """Pixels ready to encode, and whether there were more of them."""

    image: Image.Image
    shrunk: bool


def decode(image: Image.Image, target: Callable[[int, int], tuple[int, int]]) -> Decoded:
    """The first frame of an opened photo, in a mode that can be sent, shrunk to `target` and upright."""
    jpeg = image.format in ("JPEG", "MPO")
    size = target(*image.size)
    if jpeg and size != image.size:
        # The scale at which the server would decode the whole photo, to twice its input as well: a larger one takes a
        # third longer and moves the model's answers no less.
        image.draft(None, size)
    image.load()
    if not jpeg:
        size = target(*image.size)  # a TIFF turns itself while loading
    shrunk = size != image.size
    turn = _TURNS.get(orientation(image))
    result = _sendable(image)
    if size != result.size:
        result = result.resize(size, Image.Resampling.LANCZOS)
    if turn is not None:  # after shrinking, where it costs next to nothing
        result = result.transpose(turn)
    return Decoded(result, shrunk)


def encode(decoded: Decoded) -> tuple[bytes, str]:
    """The bytes to send and their media type; of all metadata only the ICC profile is in them."""
    image = decoded.image.copy()  # a copy has no TIFF tags
    name, options = _encoder(image.mode, decoded)
    if profile := image.info.get("icc_profile"):
        options["icc_profile"] = profile
    image.info = {}  # where Pillow's encoders look for comments, EXIF and XMP to carry over
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue(), _MEDIA_TYPES[name]


def _encoder(mode: str, decoded: Decoded) -> tuple[str, dict[str, Any]]:
    if mode in _LOSSLESS:
        return _LOSSLESS[mode], {}
    if mode not in _JPEG_MODES:
        return "WEBP", dict(SHRUNK_WEBP)
    return "JPEG", dict(SHRUNK_JPEG if decoded.shrunk else UNSHRUNK_JPEG)


def orientation(image: Image.Image) -> int:
    """How an opened photo is to be turned, by EXIF; 1 where nothing readable says so."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # EXIF is often broken where the pixels are fine; every viewer shows such a photo
        return 1


def _sendable(image: Image.Image) -> Image.Image:
    """The photo in a mode that resizes well and that JPEG, WebP, PNG or TIFF can hold."""
    if image.mode in _LOSSLESS or image.mode in ("CMYK", "YCbCr"):
        return image
    clear = image.has_transparency_data
    grey = image.mode in ("1", "L", "La")
    mode = ("L" if grey else "RGB") + ("A" if clear else "")
    return image if image.mode == mode else image.convert(mode)
