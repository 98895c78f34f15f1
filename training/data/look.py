"""One photo looked at: read once, hashed, decoded as the classifier would decode it."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from model_serving.classifier import Preprocessing, RequestError
from model_serving.classifier.preprocess import FORMATS, orientation, to_image

from .files import SNIFF_BYTES, sniff

HASH_BITS = 255
"""Bits of the perceptual hash: the 16 x 16 lowest frequencies without the mean."""

_SIDE = 32
_FREQUENCIES = 16
_BATCH = 1024
_PREPROCESSING = Preprocessing()

Bits = npt.NDArray[np.bool_]
"""A perceptual hash: 255 truth values."""


@dataclass(frozen=True)
class Look:
    """What one file turned out to be.

    `sha256` is "" if the file could not be read. `media` is its format, "" for none that is known. `error` says
    why it is no usable photo. `size` is width and height as stored, in pixels, zeros if its header cannot be read.
    `bits` is its perceptual hash, None for a photo too plain to be compared.
    """

    sha256: str = ""
    media: str = ""
    error: str = ""
    size: tuple[int, int] = (0, 0)
    orientation: int = 1
    bits: Bits | None = None


def look(path: Path) -> Look:
    """Read, hash and decode one file; never raises for what the file holds."""
    try:
        data = path.read_bytes()
    except OSError as error:
        return Look(error=f"The file cannot be read ({error.strerror}).")
    sha256 = hashlib.sha256(data).hexdigest()
    media, size, turn = _header(data)
    try:
        pixels = to_image(data, _PREPROCESSING)
    except RequestError as error:
        return Look(sha256, media, error.detail, size)
    return Look(sha256, media, "", size, turn, perceptual_hash(pixels))


def _header(data: bytes) -> tuple[str, tuple[int, int], int]:
    """Format, size and EXIF orientation, without decoding; zeros and 1 (upright) where they cannot be read."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            # A JPEG with a second picture behind the first is a JPEG to everybody.
            media = (image.format or "").replace("MPO", "JPEG")
            return media, image.size, orientation(image)
    except Exception:  # Pillow's plugins raise what they like on damaged files
        return sniff(data[:SNIFF_BYTES]), (0, 0), 1


def look_at_all(paths: Sequence[Path]) -> Iterator[Look]:
    """The looks at many files, in their order. Threads: decoding and hashing hold no lock of Python's."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        # By batches, so that an interrupt ends it soon and 100,000 photos do not wait as 100,000 objects.
        for start in range(0, len(paths), _BATCH):
            yield from pool.map(look, paths[start : start + _BATCH])


def perceptual_hash(image: Image.Image) -> Bits | None:
    """Signs of an image's low frequencies: 255 bits, True where a DCT coefficient is above the median of all.

    Taken of the very pixels that the classifier sees, so photos that differ only outside its crop are the same.
    None for an image so plain (blank, one gradient) that most coefficients are zero: it would resemble every other
    plain image.
    """
    grey = np.asarray(image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX), dtype=np.float64)
    # Rounded, since the zeros of a plain image come out as noise of 1e-13.
    low = np.round(_DCT @ grey @ _DCT.T, 3).ravel()[1:]
    bits: Bits = low > np.median(low)
    return bits if bits.sum() >= HASH_BITS // 4 else None


def _cosines() -> npt.NDArray[np.float64]:
    """The first rows of the type II cosine transform, (16, 32)."""
    frequency, position = np.ogrid[:_FREQUENCIES, :_SIDE]
    return np.asarray(np.cos(np.pi * (2 * position + 1) * frequency / (2 * _SIDE)))


_DCT = _cosines()
