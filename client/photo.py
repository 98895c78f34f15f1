"""Make a photo ready to send: turned upright, shrunk, and without its metadata.

The ICC profile stays, because the server converts colours; this module has no colour logic of its own. A JPEG that is
small already keeps its pixels bit for bit, and its orientation as the one tag of an EXIF that has no other.
Everything else (EXIF with its GPS, XMP, comments) is dropped. A trap: HEIC and AVIF files that the
installed Pillow cannot read are sent as they are, metadata included; `pip install pillow-heif` cures it.
"""

from __future__ import annotations

import functools
import io
import logging
import threading
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from client.errors import PhotoError
from lambda_api.schema import MEDIA_TYPES, SNIFF_BYTES, ModelDescription, sniff_media_type

if TYPE_CHECKING:
    from PIL import Image

SHRINK_FACTOR = 2
"""Shrink to this many times the model's input side.

With a whole number the server's own resize meets the same grid as on the full photo (a mean pixel
difference of 0.8 in 255 on 12-megapixel photos; 1.5 shifts the crop by half a pixel and gives 3), and 2
halves what JPEG adds before the model sees it.
"""

BIG_PIXELS = 16_000_000
"""Photos of more pixels are decoded one at a time: 50 megapixels take 150 to 200 MB."""

_BIG = threading.Lock()
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")  # MPO opens as JPEG
_NOT_IN_PILLOW = ("image/avif", "image/heic")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Upload:
    """What is posted: the bytes and their media type."""

    body: bytes
    media_type: str


@dataclass(frozen=True)
class Target:
    """What a photo must come down to: the model's shorter side in pixels, and the API's limits."""

    side: int
    pixels: int
    image_bytes: int

    @classmethod
    def of(cls, model: ModelDescription) -> Target:
        """The target that `GET /v1/model` publishes; what is too large to be sent directly may be uploaded first."""
        limits = model.limits
        return cls(model.input.resize, limits.pixels, max(limits.image_bytes, limits.upload_bytes))

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Size after shrinking, in pixels; the same size where the photo is small already.

        The longer side is a multiple too, of what the model's own resize makes of it, so that both
        ways end on the same grid.
        """
        short, long = sorted((width, height))
        if short <= SHRINK_FACTOR * self.side:
            return width, height
        short, long = SHRINK_FACTOR * self.side, SHRINK_FACTOR * (self.side * long // short)
        return (short, long) if width <= height else (long, short)


def prepare(data: bytes, target: Target, *, shrink: bool = True) -> Upload:
    """The upload for a photo's bytes; with `shrink=False` the bytes as they are, metadata included.

    Raises PhotoError: `bad_image`, `too_large` (in pixels, or in bytes after all), `unsupported_media_type`.
    """
    media_type = _media_type(data)
    if not shrink:
        return _checked(Upload(data, media_type), target, "Drop --no-shrink and it is shrunk before sending.")
    image = _open(data, media_type, target)
    if image is None:
        hint = "Install pillow-heif and it is shrunk before sending, or convert it to JPEG."
        return _checked(Upload(data, media_type), target, hint)
    upload = _stripped(image, data, target) or _shrunk(image, target)
    return _checked(upload, target, "Crop it: it stays too large even when shrunk.")


@functools.cache
def formats() -> tuple[str, ...]:
    """Formats the API takes and the installed Pillow reads; an explicit list keeps EPS and kin out."""
    from PIL import Image

    try:
        import pillow_heif  # type: ignore[import-not-found, unused-ignore]  # an optional extra

        pillow_heif.register_heif_opener()
    except ImportError:
        log.debug("pillow_heif is not installed: HEIC files are sent as they are")
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _media_type(data: bytes) -> str:
    if not data:
        raise PhotoError("bad_image", "The file is empty.", "Copy it again from where it came.")
    media_type = sniff_media_type(data[:SNIFF_BYTES])
    if media_type is None:
        names = ", ".join(MEDIA_TYPES.values())
        raise PhotoError("unsupported_media_type", "The file is no photo the API reads.", f"It reads {names}.")
    return media_type


def _checked(upload: Upload, target: Target, hint: str) -> Upload:
    if len(upload.body) > target.image_bytes:
        fact = f"The photo has {len(upload.body):,} bytes to send; the API takes {target.image_bytes:,}."
        raise PhotoError("too_large", fact, hint)
    return upload


def _open(data: bytes, media_type: str, target: Target) -> Image.Image | None:
    """The opened photo, not yet decoded; None for a format that only the API reads."""
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(io.BytesIO(data), formats=formats())
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels("The photo claims far more pixels", target) from error
    except UnidentifiedImageError as error:
        if media_type in _NOT_IN_PILLOW:
            return None
        raise _bad_image("cannot be read") from error
    except Exception as error:  # hostile headers raise SyntaxError, struct.error, EOFError and more
        raise _bad_image("cannot be read") from error
    if image.width * image.height > target.pixels:
        raise _too_many_pixels(f"The photo has {image.width:,} x {image.height:,} pixels", target)
    return image


def _stripped(image: Image.Image, data: bytes, target: Target) -> Upload | None:
    """A JPEG that is small enough, without its metadata: nothing is decoded, which is most of the work."""
    from client import jpeg, pixels

    if image.format not in ("JPEG", "MPO") or target.size(*image.size) != image.size:
        return None
    body = jpeg.stripped(data, pixels.orientation(image))
    return Upload(body, "image/jpeg") if body else None


def _shrunk(image: Image.Image, target: Target) -> Upload:
    from client import pixels

    try:
        with image, _BIG if image.width * image.height > BIG_PIXELS else nullcontext():
            small = pixels.decode(image, target.size)
    except Exception as error:  # as above: decoders raise nearly anything on broken data
        raise _bad_image("is broken or cut short") from error
    try:
        return Upload(*pixels.encode(small))
    except Exception as error:  # an encoder's refusal, such as a side of more than 65,535 pixels
        raise _bad_image("cannot be saved again for sending") from error


def _too_many_pixels(fact: str, target: Target) -> PhotoError:
    return PhotoError("too_large", f"{fact}; the API takes {target.pixels:,}.", "Shrink it with another program.")


def _bad_image(what: str) -> PhotoError:
    return PhotoError("bad_image", f"The photo {what}.", "If a viewer shows it, save it again as JPEG.")
