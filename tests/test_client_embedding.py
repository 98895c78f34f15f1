"""Packets of XMP inside photos."""

from __future__ import annotations

import contextlib
import io
import zlib
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from client import embedding
from tests.photos import encode, sample_image

EXIF = Image.Exif()
EXIF[0x0112] = 6
OLD, NEW = b"<old/>" * 50, b"<new packet/>"


def _photo(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    image = sample_image().resize((91, 60)).convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    return encode(image, kind, **options)


def _opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def _put(data: bytes, packet: bytes = NEW) -> tuple[bytes, bytes]:
    """The photo with this packet, and the packet it had."""
    had = []

    def change(old: bytes) -> bytes:
        had.append(old)
        return packet

    return embedding.with_xmp(data, change), had[0]


def _animation(kind: str) -> bytes:
    frames = [sample_image().resize((60, 40)).rotate(angle) for angle in (0, 90, 180)]
    return encode(frames[0], kind, save_all=True, append_images=frames[1:], duration=100)


PHOTOS = {
    "JPEG": _photo("JPEG"),
    "JPEG, progressive, with EXIF": _photo("JPEG", progressive=True, exif=EXIF),
    "JPEG of several pictures": _animation("MPO"),
    "PNG": _photo("PNG"),
    "PNG with alpha and EXIF": _photo("PNG", "RGBA", exif=EXIF),
    "PNG with a palette": _photo("PNG", "P"),
    "PNG, animated": _animation("PNG"),
    "WebP": _photo("WebP"),
    "WebP, lossless": _photo("WebP", lossless=True),
    "WebP, lossless, with alpha": _photo("WebP", "RGBA", lossless=True),
    "WebP with alpha and EXIF": _photo("WebP", "RGBA", exif=EXIF),
    "WebP, animated": _animation("WebP"),
}


def _same(one: bytes, other: bytes) -> bool:
    """Whether two photos look the same, picture by picture, and have the same EXIF."""
    first, second = _opened(one), _opened(other)
    frames = getattr(first, "n_frames", 1)
    if (first.size, first.mode, frames) != (second.size, second.mode, getattr(second, "n_frames", 1)):
        return False
    for number in range(frames):
        first.seek(number)
        second.seek(number)
        if first.convert("RGBA").tobytes() != second.convert("RGBA").tobytes():
            return False
    return first.getexif() == second.getexif()


@pytest.mark.parametrize("name", PHOTOS)
def test_pixels_stay(name: str) -> None:
    """A packet goes in, is found by Pillow, is replaced by another and by its own, and the pictures are the same."""
    data = PHOTOS[name] + b"a film behind it"
    first, had = _put(data, OLD)
    assert had == b"" and len(first) > len(data)
    second, had = _put(first)
    assert had == OLD
    assert _opened(second).info["xmp" if "PNG" not in name else "XML:com.adobe.xmp"] in (NEW, NEW.decode())
    assert _same(data, first) and _same(data, second)
    assert second.endswith(b"a film behind it")
    assert _put(second) == (second, NEW)


def test_what_pillow_wrote_is_found() -> None:
    """Its packets are replaced, not added to."""
    for kind in ("JPEG", "WebP"):
        data, had = _put(_photo(kind, xmp=OLD))
        assert (had, data.count(OLD), data.count(NEW)) == (OLD, 0, 1)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("lossless", [False, True])
def test_webp_is_as_libwebp_writes_it(mode: str, lossless: bool) -> None:
    """Byte for byte, with the flags and sides that a simple file does not have."""
    assert _put(_photo("WebP", mode, lossless=lossless))[0] == _photo("WebP", mode, lossless=lossless, xmp=NEW)


@pytest.mark.parametrize("compressed", [False, True])
def test_png_packets_may_be_compressed(compressed: bool) -> None:
    """Both kinds are read; what else is in the file stays."""
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", "somebody")
    info.add_itxt("XML:com.adobe.xmp", OLD.decode(), "en", "", zip=compressed)
    data, had = _put(_photo("PNG", pnginfo=info))
    assert had == OLD
    assert _opened(data).info["Author"] == "somebody"


def _chunk(name: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")


ITXT = b"XML:com.adobe.xmp\0"


@pytest.mark.parametrize(
    "text",
    [
        ITXT,
        ITXT + b"\1\0",
        ITXT + b"\1\0\0\0no zip",
        ITXT + b"\1\0\0\0" + zlib.compress(OLD)[:-6],
        ITXT + b"\1\0\0\0" + zlib.compress(bytes(embedding.LARGEST_PACKET + 1)),
    ],
)
def test_broken_and_exploding_png_packets(text: bytes) -> None:
    """They are not unpacked beyond a limit, and the photo is not changed."""
    with pytest.raises(ValueError, match=r"."):
        _put(PHOTOS["PNG"][:33] + _chunk(b"iTXt", text) + PHOTOS["PNG"][33:])


@pytest.mark.parametrize("name", PHOTOS)
def test_photos_that_are_cut_short(name: str) -> None:
    """They are no place for anything, wherever they end."""
    data = PHOTOS[name]
    for end in range(0, len(data), max(1, len(data) // 50)):
        if name == "JPEG of several pictures" and end > len(data) // 4:
            break  # what is behind the first picture is nobody's business
        with pytest.raises(ValueError, match=r"."):
            _put(data[:end])


@pytest.mark.parametrize("name", PHOTOS)
def test_photos_with_a_wrong_byte(name: str) -> None:
    """Whatever is in a file, the answer is a photo or a ValueError."""
    data = PHOTOS[name]
    for position in range(min(len(data), 200)):
        for value in (0x00, 0xFF, data[position] ^ 0x10):
            broken = data[:position] + bytes([value]) + data[position + 1 :]
            with contextlib.suppress(ValueError):
                assert len(_put(broken)[0]) > len(NEW)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF"])
def test_other_formats(kind: str) -> None:
    """They have no place for it that this knows."""
    with pytest.raises(ValueError, match="Its format"):
        _put(_photo(kind))


def test_packets_too_large_for_a_jpeg() -> None:
    """A segment takes 64 kB; a PNG takes more."""
    with pytest.raises(ValueError, match="too large"):
        _put(PHOTOS["JPEG"], bytes(70_000))
    assert len(_put(PHOTOS["PNG"], bytes(70_000))[0]) > 70_000


def test_a_packet_behind_the_list_of_other_pictures() -> None:
    """Those are found by their distance from the list, which another length between them would change."""
    data = PHOTOS["JPEG of several pictures"]
    mpf = data.index(b"MPF\0") - 4
    behind = mpf + 2 + int.from_bytes(data[mpf + 2 : mpf + 4], "big")
    packet = b"http://ns.adobe.com/xap/1.0/\0" + OLD
    segment = b"\xff\xe1" + (len(packet) + 2).to_bytes(2, "big") + packet
    with pytest.raises(ValueError, match="other pictures"):
        _put(data[:behind] + segment + data[behind:])
