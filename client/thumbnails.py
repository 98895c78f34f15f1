"""Small pictures of photos, to be looked at by people."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from client.errors import PhotoError
from client.photo import Target, formats, prepare
from client.reading import MAX_FILE_BYTES
from lambda_api.schema import MAX_PIXELS

if TYPE_CHECKING:
    from PIL import Image

SHORT, LONG = 144, 256
"""Pixels of the shorter side of most photos, and of the longer side of a panorama: some 3 kB."""

PROFILE_BYTES = 1000
"""Larger colour profiles are left out. Those of phones and cameras with a wide gamut have some 550 bytes."""

_TARGET = Target(SHORT // 2, MAX_PIXELS, MAX_FILE_BYTES)


def thumbnail(data: bytes) -> bytes:
    """A photo as a small WebP, upright, on white where it is transparent; PhotoError where it cannot be decoded."""
    upload = prepare(data, _TARGET)
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(upload.body), formats=formats()) as image:
            small = ImageOps.exif_transpose(image)
            small.thumbnail((LONG, LONG))
            return _encoded(small)
    except Exception as error:  # as in `photo`: decoders raise nearly anything, here on formats that only the API reads
        raise PhotoError("bad_image", "This Pillow cannot show the photo.", "") from error


def _encoded(image: Image.Image) -> bytes:
    profile = image.info.get("icc_profile", b"") if image.mode == "RGB" else b""
    buffer = io.BytesIO()
    kept = profile if len(profile) <= PROFILE_BYTES else b""
    _shown(image).save(buffer, "WEBP", quality=50, method=4, icc_profile=kept, exif=b"", xmp=b"")
    return buffer.getvalue()


def _shown(image: Image.Image) -> Image.Image:
    """The picture in a mode that screens have; numbers of more than eight bits are spread from black to white."""
    from PIL import Image

    if image.mode.startswith(("I", "F")):
        low, high = image.getextrema()
        scale = 255 / ((high - low) or 1)  # type: ignore[operator]  # one band has two numbers
        return image.point(lambda value: value * scale - low * scale).convert("L")  # type: ignore[operator]
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")
