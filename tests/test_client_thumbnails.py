"""Small pictures: upright, in the colours of the photo, small in bytes, and of every photo that can be decoded."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image, ImageCms

from client.errors import PhotoError
from client.thumbnails import LONG, PROFILE_BYTES, SHORT, thumbnail
from tests.photos import encode, jpeg, sample_image

RED, BLUE = (200, 30, 30), (30, 30, 200)


def _small(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(thumbnail(data)))
    assert image.format == "WEBP" and image.mode == "RGB"
    return image


def _near(pixel: Any, wanted: tuple[int, int, int]) -> bool:
    return all(abs(a - b) < 25 for a, b in zip(pixel, wanted, strict=True))


def _halves(left: Any, right: Any, mode: str = "RGB", size: tuple[int, int] = (400, 300)) -> Image.Image:
    image = Image.new(mode, size, left)
    image.paste(right, (size[0] // 2, 0, *size))
    return image


@pytest.mark.parametrize("size", [(1600, 1200), (1200, 1600), (300, 200), (4000, 100), (16, 16)])
def test_sizes(size: tuple[int, int]) -> None:
    """The shorter side as wanted and no panorama too long; small photos do not grow; the shape stays."""
    small = _small(jpeg(size))
    assert min(small.size) <= SHORT and max(small.size) <= LONG and small.width <= size[0]
    assert small.width / small.height == pytest.approx(size[0] / size[1], rel=0.2)
    assert min(small.size) == SHORT or max(small.size) == LONG or small.size == size


def test_a_photo_is_some_three_kilobytes() -> None:
    """Ten thousand of them are one page."""
    assert len(thumbnail(jpeg((1600, 1200)))) < 8_000


@pytest.mark.parametrize("size", [(200, 100), (2000, 1000)])
def test_it_stands_upright(size: tuple[int, int]) -> None:
    """By the EXIF orientation, for photos that are shrunk and for those that are small already."""
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise: what was left is above
    small = _small(encode(_halves(RED, BLUE, size=size), "JPEG", exif=exif))
    assert small.height == 2 * small.width
    assert _near(small.getpixel((small.width // 2, 5)), RED)
    assert _near(small.getpixel((small.width // 2, small.height - 5)), BLUE)


@pytest.mark.parametrize(
    ("mode", "black", "white", "kind"),
    [
        ("L", 0, 255, "PNG"),
        ("1", 0, 1, "PNG"),
        ("I;16", 100, 60_000, "PNG"),
        ("I;16", 100, 60_000, "TIFF"),
        ("I", -5, 100_000, "TIFF"),
        ("F", 0.0, 1.0, "TIFF"),
        ("CMYK", (255, 255, 255, 255), (0, 0, 0, 0), "JPEG"),
        ("RGBA", (0, 0, 0, 255), (9, 9, 9, 0), "PNG"),
        ("LA", (0, 255), (0, 0), "PNG"),
    ],
)
def test_every_mode_can_be_seen(mode: str, black: Any, white: Any, kind: str) -> None:
    """Numbers of many bits are spread over what a screen has; what is transparent is white."""
    small = _small(encode(_halves(black, white, mode), kind))
    assert _near(small.getpixel((10, 70)), (0, 0, 0)) and _near(small.getpixel((180, 70)), (255, 255, 255))


def test_a_grey_photo_of_many_bits_may_be_even() -> None:
    """All of it one number: there is nothing to spread."""
    assert _small(encode(Image.new("I;16", (40, 30), 500), "PNG")).size == (40, 30)


def test_small_profiles_stay_and_large_ones_go() -> None:
    """Colours of a wide gamut stay right at 0.5 kB; a profile of more would outweigh the picture. No EXIF stays."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert len(profile) < PROFILE_BYTES
    exif = Image.Exif()
    exif[0x010F] = "camera"
    image = sample_image().resize((400, 300))
    small = _small(encode(image, "JPEG", icc_profile=profile, exif=exif))
    assert small.info.get("icc_profile") == profile and "exif" not in small.info
    assert "icc_profile" not in _small(encode(image, "JPEG", icc_profile=profile + bytes(PROFILE_BYTES))).info


@pytest.mark.parametrize("data", [b"", b"no photo", b"\xff\xd8\xff\xe0", b"\0\0\0\x18ftypheic" + bytes(40)])
def test_what_cannot_be_shown_says_so(data: bytes) -> None:
    """As an error of the photo; also a format that only the API may read."""
    with pytest.raises(PhotoError):
        thumbnail(data)
