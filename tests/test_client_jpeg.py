"""Metadata out of a JPEG's segments without touching a pixel."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageOps

from client import jpeg

SECRET = b"GPS-of-my-home"


def _photo(size: tuple[int, int] = (90, 60), **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.effect_mandelbrot(size, (-2, -1, 1, 1), 40).convert("RGB").save(buffer, "JPEG", **options)
    return buffer.getvalue()


def _pixels(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def _same(one: bytes, other: bytes) -> bool:
    first, second = _pixels(one), _pixels(other)
    return first.mode == second.mode and ImageChops.difference(first, second).getbbox() is None


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
def test_pixels_stay_and_metadata_goes(progressive: bool, subsampling: str) -> None:
    """EXIF, XMP and comments are gone, pixel by pixel it is the same picture, in baseline and in progressive files."""
    exif = Image.Exif()
    exif[0x010E] = SECRET.decode()
    data = _photo(progressive=progressive, subsampling=subsampling, exif=exif, comment=SECRET, xmp=SECRET)
    assert data.count(SECRET) == 3
    result = jpeg.stripped(data)
    assert result is not None and SECRET not in result
    assert _same(data, result)


def test_the_profile_stays() -> None:
    """The ICC profile is needed to see the colours right."""
    profile = b"\0" * 36 + b"acsp" + bytes(200)
    result = jpeg.stripped(_photo(icc_profile=profile))
    assert result is not None and _pixels(result).info["icc_profile"] == profile


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_the_only_tag_left(orientation: int) -> None:
    """Turned by that tag, the picture is what it was; an upright photo has no EXIF at all."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = orientation, SECRET.decode()
    data = _photo(exif=exif)
    result = jpeg.stripped(data, orientation)
    assert result is not None
    assert dict(_pixels(result).getexif()) == ({0x0112: orientation} if orientation > 1 else {})
    before, after = (ImageOps.exif_transpose(_pixels(each)) for each in (data, result))
    assert ImageChops.difference(before, after).getbbox() is None


def test_what_follows_the_picture_goes() -> None:
    """Phones hang films and second pictures behind the first."""
    data = _photo()
    result = jpeg.stripped(data + b"ftypmp42" + SECRET)
    assert result is not None and result.endswith(b"\xff\xd9") and SECRET not in result
    assert _same(data, result)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_other_modes(mode: str) -> None:
    """Grey photos, and CMYK ones, whose Adobe segment says how to read them."""
    buffer = io.BytesIO()
    Image.effect_mandelbrot((90, 60), (-2, -1, 1, 1), 40).convert(mode).save(buffer, "JPEG")
    result = jpeg.stripped(buffer.getvalue())
    assert result is not None and _same(buffer.getvalue(), result)


def test_files_that_are_cut_short_or_no_jpeg() -> None:
    """Whatever is missing at the end, it is not taken for a whole picture; nor is anything else."""
    data = _photo()
    for length in range(len(data) - 1):
        assert jpeg.stripped(data[:length]) is None
    assert jpeg.stripped(b"\x89PNG" + data) is None
    assert jpeg.stripped(b"\xff\xd8\xff\xe0\x00\x01") is None


def test_a_thumbnail_in_jfif_is_not_carried_along() -> None:
    """A small picture inside the JFIF segment may show what was cut away: such a file is left to the decoder."""
    data = _photo()
    assert data[2:4] == b"\xff\xe0"
    assert jpeg.stripped(data[:18] + b"\x01\x01" + data[20:]) is None
