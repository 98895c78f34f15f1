"""What is sent of a photo: upright, small, without metadata, and never a surprise for a broken file."""

from __future__ import annotations

import io
import zlib
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageCms, ImageDraw, ImageOps

from client.errors import PhotoError
from client.photo import Target, prepare

TARGET = Target(side=64, pixels=1_000_000, image_bytes=200_000)
SECRET = b"GPS-of-my-home"


def _encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _sent(data: bytes, target: Target = TARGET) -> Image.Image:
    image = Image.open(io.BytesIO(prepare(data, target).body))
    image.load()
    return image


def _two_tone(size: tuple[int, int] = (300, 200)) -> Image.Image:
    """Red left, blue right: tells which way it is turned."""
    image = Image.new("RGB", size, "red")
    ImageDraw.Draw(image).rectangle((size[0] // 2, 0, *size), fill="blue")
    return image


def _exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    tags[0x010E] = SECRET.decode()
    return tags


def test_shrinks_to_twice_the_models_side() -> None:
    """The shorter side comes down to 2 x 64, the longer to twice what the model's own resize gives."""
    assert _sent(_encoded(_two_tone((905, 400)))).size == (2 * (64 * 905 // 400), 128)


def test_small_jpegs_keep_every_pixel() -> None:
    """A small JPEG is neither enlarged nor saved again."""
    data = _encoded(Image.effect_mandelbrot((100, 80), (-2, -1, 1, 1), 40).convert("RGB"), quality=60)
    before, after = Image.open(io.BytesIO(data)), _sent(data)
    assert after.size == (100, 80)
    assert ImageChops.difference(before.convert("RGB"), after.convert("RGB")).getbbox() is None


@pytest.mark.parametrize("size", [(100, 50), (900, 400)])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_turns_the_pixels(orientation: int, size: tuple[int, int]) -> None:
    """What arrives is seen as Pillow would turn the photo, whether it is turned here or keeps that one tag."""
    data = _encoded(_two_tone(size), exif=_exif(orientation))
    wanted = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    sent = _sent(data)
    assert set(sent.getexif()) <= {0x0112}
    result = ImageOps.exif_transpose(sent)
    assert (result.width > result.height) == (wanted.width > wanted.height)
    corner = wanted.convert("RGB").getpixel((2, 2))
    assert result.convert("RGB").getpixel((2, 2)) == pytest.approx(corner, abs=12)


def test_a_sideways_tiff_is_turned_once() -> None:
    """TIFF, which Pillow turns while loading, is not turned again."""
    result = _sent(_encoded(_two_tone((900, 400)), "TIFF", exif=_exif(6)))
    assert result.size == (128, 288)
    assert result.getpixel((5, 5)) == pytest.approx((255, 0, 0), abs=12)


@pytest.mark.parametrize("size", [(100, 80), (400, 300)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "I;16"])
def test_metadata_is_stripped_and_the_profile_kept(kind: str, mode: str, size: tuple[int, int]) -> None:
    """EXIF, comments and XMP never leave the machine; the ICC profile does, since the server needs it."""
    if (kind == "JPEG" and mode in ("RGBA", "I;16")) or (kind == "WEBP" and mode in ("L", "I;16")):
        pytest.skip("the format has no such mode")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    extra: dict[str, Any] = {"comment": SECRET} if kind == "JPEG" else {}
    image = Image.new(mode, size)
    data = _encoded(image, kind, exif=_exif(1), icc_profile=profile, xmp=b"<x>" + SECRET + b"</x>", **extra)
    assert SECRET in data
    upload = prepare(data, TARGET)
    assert SECRET not in upload.body
    result = Image.open(io.BytesIO(upload.body))
    assert result.info["icc_profile"] == profile
    assert upload.media_type == Image.MIME[result.format or ""]


def _palette(transparent: bool) -> bytes:
    image = _two_tone().quantize(4)
    return _encoded(image, "PNG", **({"transparency": image.getpixel((0, 0))} if transparent else {}))


@pytest.mark.parametrize(
    ("data", "mode", "kind"),
    [
        (_encoded(_two_tone().convert("CMYK")), "CMYK", "JPEG"),
        (_encoded(_two_tone().convert("L")), "L", "JPEG"),
        (_encoded(_two_tone().convert("1"), "PNG"), "L", "JPEG"),
        (_palette(False), "RGB", "JPEG"),
        (_palette(True), "RGBA", "WEBP"),
        (_encoded(_two_tone().convert("LA"), "PNG"), "LA", "PNG"),
        (_encoded(_two_tone(), "PNG", transparency=(255, 0, 0)), "RGBA", "WEBP"),
        (_encoded(_two_tone().convert("L"), "PNG", transparency=76), "LA", "PNG"),
        (_encoded(_two_tone().convert("F"), "TIFF"), "F", "TIFF"),
        (_encoded(_two_tone(), "GIF"), "RGB", "JPEG"),
        (_encoded(_two_tone(), "MPO", save_all=True, append_images=[_two_tone()]), "RGB", "JPEG"),
        (_encoded(_two_tone(), "BMP"), "RGB", "JPEG"),
    ],
)
def test_modes(data: bytes, mode: str, kind: str) -> None:
    """Every mode travels in a format that holds it; transparency is kept, because the server puts it on white."""
    result = _sent(data)
    assert (result.mode, result.format, min(result.size)) == (mode, kind, 128)


def test_transparency_keeps_its_place() -> None:
    """A see-through corner is still see-through after shrinking."""
    image = _two_tone().convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 150, 200))
    result = _sent(_encoded(image, "PNG"))
    assert result.getpixel((10, 60))[3] == 0  # type: ignore[index]
    assert result.getpixel((180, 60)) == pytest.approx((0, 0, 255, 255), abs=12)


def test_16_bit_values_survive() -> None:
    """High bit depths are not cut to 8 bits."""
    result = _sent(_encoded(Image.new("I;16", (300, 200), 40_000), "PNG"))
    assert result.getpixel((5, 5)) == 40_000


def test_first_frame_of_animations() -> None:
    """Of an animation the first frame is sent, alone."""
    frames = [Image.new("RGB", (50, 50), color) for color in ("red", "blue")]
    result = _sent(_encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert result.getpixel((20, 20)) == pytest.approx((255, 0, 0), abs=12)
    assert getattr(result, "n_frames", 1) == 1


def test_large_photos_lose_19_of_20_bytes() -> None:
    """A detailed 12-megapixel JPEG comes down to at most 5 % of its bytes for a model of 256 pixels."""
    grain = Image.effect_noise((4000, 3000), 12)
    shapes = Image.effect_noise((500, 375), 40).resize(grain.size, Image.Resampling.BICUBIC)
    light = Image.blend(grain, shapes, 0.5)
    data = _encoded(Image.merge("RGB", (light, light, shapes)), quality=90)
    upload = prepare(data, Target(256, 50_000_000, 4_000_000))
    assert len(upload.body) <= 0.05 * len(data)


def test_noise_can_be_sent() -> None:
    """A photo of nothing but colour noise, the worst for JPEG, is encoded all the same."""
    bands = [Image.effect_noise((900, 700), 200) for _ in range(3)]
    assert min(_sent(_encoded(Image.merge("RGB", bands)), Target(256, 1_000_000, 4_000_000)).size) == 512


@pytest.mark.parametrize("size", [(1001, 1000), (20_000, 20_000)])
def test_pixel_bombs_are_refused_unopened(size: tuple[int, int]) -> None:
    """More pixels than the API takes: `too_large`, told before any decoding."""
    header = bytearray(_encoded(Image.new("L", (1, 1)), "PNG"))
    header[16:24] = size[0].to_bytes(4, "big") + size[1].to_bytes(4, "big")
    header[29:33] = zlib.crc32(header[12:29]).to_bytes(4, "big")
    with pytest.raises(PhotoError) as caught:
        prepare(bytes(header), TARGET)
    assert caught.value.code == "too_large"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "bad_image"),
        (_encoded(_two_tone())[:900], "bad_image"),
        (_encoded(_two_tone(), "PNG")[:60], "bad_image"),
        (b"\xff\xd8\xff" + b"junk" * 50, "bad_image"),
        (b"\x89PNG\r\n\x1a\n" + b"\xff" * 300, "bad_image"),
        (b"GIF89a" + b"\xff" * 300, "bad_image"),
        (b"II*\x00" + b"\xff" * 300, "bad_image"),
        (b"RIFF\x00\x00\x00\x00WEBP" + b"\xff" * 300, "bad_image"),
        (b"BM\x00\x00\x00\x00\x00\x00\x00\x00" + b"\xff" * 300, "bad_image"),
        (b"%PDF-1.7", "unsupported_media_type"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "unsupported_media_type"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported_media_type"),
    ],
)
def test_broken_and_foreign_files(data: bytes, code: str) -> None:
    """Broken photos and files of other kinds are refused here, with a mend, instead of being sent."""
    with pytest.raises(PhotoError) as caught:
        prepare(data, TARGET)
    assert caught.value.code == code
    assert caught.value.hint


def test_heic_without_a_reader_is_sent_as_it_is() -> None:
    """What only the server can read is its decision, up to the size limit."""
    data = b"\x00\x00\x00\x18ftypheic" + b"\x00" * 100
    assert prepare(data, TARGET).body == data
    with pytest.raises(PhotoError, match="pillow-heif"):
        prepare(data + b"\x00" * TARGET.image_bytes, TARGET)


def test_no_shrink_sends_the_same_bytes() -> None:
    """Without shrinking the file goes as it is, and one above the limit is refused with the way out."""
    data = _encoded(_two_tone(), exif=_exif(6))
    upload = prepare(data, TARGET, shrink=False)
    assert (upload.body, upload.media_type) == (data, "image/jpeg")
    with pytest.raises(PhotoError, match="--no-shrink"):
        prepare(data, Target(64, 1_000_000, 100), shrink=False)


def test_a_strip_is_not_enlarged() -> None:
    """An extreme shape keeps its size where its shorter side is small."""
    assert _sent(_encoded(Image.new("RGB", (5000, 3), "red"))).size == (5000, 3)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_orientation_is_no_reason_to_fail() -> None:
    """Photos with orientation 99 or torn EXIF are sent as they lie."""
    assert _sent(_encoded(_two_tone(), exif=_exif(99))).size == (192, 128)
    assert _sent(_encoded(_two_tone(), exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")).size == (192, 128)
