"""Bytes -> pixels: equal to the plain way, for every kind of photo, and never anything but a clean refusal."""

from __future__ import annotations

import contextlib
import io
import random
import zlib

import pytest
import torch
from PIL import Image, ImageCms, ImageOps
from torchvision.transforms import InterpolationMode, v2

from model_serving.classifier import BadImage, Preprocessing, RequestError, TooLarge, UnsupportedMedia
from model_serving.classifier.preprocess import FORMATS, normalise, to_image, to_tensor
from model_serving.probe import png_claiming
from tests.photos import encode, jpeg, sample_image

PLAIN = Preprocessing()


def reference(data: bytes) -> Image.Image:
    """The plain way: decode all, turn, convert, torchvision's Resize and CenterCrop."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    resized = v2.Resize(256, interpolation=InterpolationMode.BICUBIC)(image)
    cropped: Image.Image = v2.CenterCrop(224)(resized)
    return cropped


def difference(a: Image.Image, b: Image.Image) -> float:
    """Mean absolute difference in 1/255."""
    pixels = [torch.frombuffer(bytearray(i.tobytes()), dtype=torch.uint8).float() for i in (a, b)]
    return float((pixels[0] - pixels[1]).abs().mean())


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (257, 400), (224, 224), (100, 90), (1001, 667), (2000, 301)])
def test_equals_the_plain_way(size: tuple[int, int]) -> None:
    """Any size, odd ones too: half a pixel off in the crop would cost a mean difference above 2."""
    data = jpeg(size)
    assert difference(to_image(data, PLAIN), reference(data)) < 0.5


def test_reduced_decoding_of_large_photos() -> None:
    """A 12-megapixel JPEG decoded at a quarter differs by at most 0.5/255 on average and 16/255 anywhere."""
    data = jpeg((4001, 3003), quality=92)
    fast, plain = to_image(data, PLAIN), reference(data)
    assert difference(fast, plain) < 0.5
    pairs = zip(fast.tobytes(), plain.tobytes(), strict=True)
    assert max(abs(a - b) for a, b in pairs) <= 16


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(kind: str, orientation: int) -> None:
    """All eight orientations are turned upright, whatever the format, exactly where the plain way puts them."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(sample_image().resize((501, 334)), kind, exif=exif)
    assert difference(to_image(data, PLAIN), reference(data)) < 0.6


@pytest.mark.parametrize("orientation", [0, 9, 99])
def test_invalid_orientation_is_ignored(orientation: int) -> None:
    """A nonsense tag leaves the photo as it is."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert difference(to_image(jpeg(exif=exif), PLAIN), to_image(jpeg(), PLAIN)) == 0


def test_transparency_goes_on_white() -> None:
    """The colour under transparent pixels does not show."""
    image = Image.new("RGBA", (300, 300), (0, 0, 0, 0))
    assert to_image(encode(image, "PNG"), PLAIN).getcolors() == [(224 * 224, (255, 255, 255))]
    half = Image.new("RGBA", (300, 300), (0, 0, 0, 128))
    assert to_image(encode(half, "PNG"), PLAIN).getpixel((100, 100)) == pytest.approx((127, 127, 127), abs=1)
    palette = Image.new("P", (300, 300), 0)
    palette.putpalette([200, 0, 0])
    assert to_image(encode(palette, "PNG", transparency=0), PLAIN).getpixel((9, 9)) == (255, 255, 255)
    gray = Image.new("LA", (300, 300), (7, 0))
    assert to_image(encode(gray, "PNG"), PLAIN).getpixel((9, 9)) == (255, 255, 255)


def test_sixteen_bits_become_eight() -> None:
    """Pillow alone would clip a 16-bit photo to white."""
    gray = sample_image().convert("L")
    wide = Image.frombytes("I;16", gray.size, b"".join(bytes((v, v)) for v in gray.tobytes()))
    deep = to_image(encode(wide, "PNG"), PLAIN)
    assert difference(deep, to_image(encode(gray, "PNG"), PLAIN)) < 1


@pytest.mark.parametrize(("kind", "mode"), [("JPEG", "CMYK"), ("TIFF", "CMYK"), ("GIF", "P"), ("BMP", "RGB")])
def test_other_modes_look_the_same(kind: str, mode: str) -> None:
    """CMYK is not inverted, palettes are looked up: the picture stays what it was."""
    image = sample_image()
    data = encode(image.convert(mode), kind)
    assert difference(to_image(data, PLAIN), to_image(encode(image, "PNG"), PLAIN)) < 12


def test_animations_show_their_first_frame() -> None:
    """The rest is not even decoded."""
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "lime", "blue")]
    for kind in ("GIF", "WEBP"):
        data = encode(frames[0], kind, save_all=True, append_images=frames[1:], duration=50)
        red, green, blue = to_image(data, PLAIN).getpixel((112, 112))  # type: ignore[misc]  # RGB has three
        assert red > 240 > 20 > max(green, blue)


def swapped_profile() -> bytes:
    """sRGB with red and blue exchanged: a valid profile whose effect nobody can miss."""
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = data.replace(b"rXYZ", b"?XYZ").replace(b"bXYZ", b"rXYZ").replace(b"?XYZ", b"bXYZ")
    return data.replace("sRGB".encode("utf-16-be"), "test".encode("utf-16-be"))


def test_colour_profiles_become_srgb() -> None:
    """Pixels are converted by their profile; one that cannot be read, or is of no RGB, is as good as none."""
    red = Image.new("RGB", (300, 300), (255, 0, 0))
    r, g, b = to_image(encode(red, "PNG", icc_profile=swapped_profile()), PLAIN).getpixel((9, 9))  # type: ignore[misc]  # RGB has three
    assert b > 250 > 5 > max(r, g)
    image = sample_image()
    plain = to_image(encode(image, "PNG"), PLAIN)
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    for useless in (b"not a profile", lab):
        assert difference(to_image(encode(image, "PNG", icc_profile=useless), PLAIN), plain) == 0


def test_strips_are_not_blown_up() -> None:
    """A panorama of 10,000 x 10 would be 256,000 x 256 when resized whole; only the crop is made."""
    assert to_image(encode(Image.new("RGB", (10_000, 10), "red")), PLAIN).size == (224, 224)


@pytest.mark.parametrize(
    ("data", "error", "status"),
    [
        (b"", BadImage, 400),
        (b"\xff\xd8\xff\xe0 no more", BadImage, 400),
        (jpeg()[:5000], BadImage, 400),
        (encode(sample_image(), "PNG")[:5000], BadImage, 400),
        (encode(Image.new("RGB", (1, 1)), "PNG"), BadImage, 400),
        (encode(Image.new("RGB", (10_000, 1)), "PNG"), BadImage, 400),
        (png_claiming(9000, 9000), TooLarge, 413),
        (png_claiming(30_000, 30_000), TooLarge, 413),
        (encode(Image.new("RGBA", (5100, 5000)), "PNG"), TooLarge, 413),
        (encode(Image.new("RGB", (4100, 4000)), "WEBP"), TooLarge, 413),
        (b"%PDF-1.7 some text", UnsupportedMedia, 415),
        (b"%!PS-Adobe-3.0 EPSF-3.0", UnsupportedMedia, 415),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", UnsupportedMedia, 415),
        (encode(Image.new("F", (64, 64)), "TIFF"), UnsupportedMedia, 415),
        (encode(Image.new("RGB", (64, 64)), "PPM"), UnsupportedMedia, 415),
    ],
)
def test_refusals(data: bytes, error: type[RequestError], status: int) -> None:
    """What is no usable photo is refused with the status of its reason, a detail and a hint."""
    with pytest.raises(error) as caught:
        to_image(data, PLAIN)
    assert caught.value.status == status
    assert caught.value.detail
    assert caught.value.hint


def test_dangerous_formats_are_not_even_tried() -> None:
    """EPS would start Ghostscript; only the listed formats are opened."""
    assert {"JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"} <= set(FORMATS)
    assert not {"EPS", "WMF", "PSD", "FPX", "MIC"} & set(FORMATS)


def test_mutated_files_never_raise_anything_else() -> None:
    """400 damaged files of seven formats end as pixels or as a RequestError: plugins raise whatever they like."""
    rng = random.Random(5)
    image = sample_image().resize((80, 60))
    originals = [
        encode(image, kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF") if kind in FORMATS
    ]
    for number in range(400):
        data = bytearray(originals[number % len(originals)])
        for _ in range(rng.randint(1, 30)):
            data[rng.randrange(min(len(data), rng.choice([64, 400, 10**6])))] = rng.randrange(256)
        with contextlib.suppress(RequestError):
            assert to_image(bytes(data), PLAIN).size == (224, 224)


def test_compressed_text_bomb() -> None:
    """A comment that inflates to 80 MB is refused, not inflated."""
    bomb = b"comment\0\0" + zlib.compress(bytes(80_000_000))
    chunk = len(bomb).to_bytes(4, "big") + b"zTXt" + bomb + zlib.crc32(b"zTXt" + bomb).to_bytes(4, "big")
    png = encode(sample_image(), "PNG")
    with pytest.raises(BadImage):
        to_image(png[:33] + chunk + png[33:], PLAIN)


def test_normalise_is_the_formula() -> None:
    """(x/255 - mean) / std, by channel, and channels last in memory."""
    spec = Preprocessing(mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.125))
    pixels = to_tensor(jpeg(), spec)
    batch = normalise(pixels[None], spec)
    expected = (pixels.float() / 255 - torch.tensor(spec.mean)) / torch.tensor(spec.std)
    assert batch.shape == (1, 3, 224, 224)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(batch[0].permute(1, 2, 0), expected, atol=1e-5)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_window_shows_that_part_of_the_turned_photo(orientation: int) -> None:
    """Augmented views take their part by the photo as people see it, whatever way it is stored."""
    image = Image.new("RGB", (400, 300), "black")
    image.paste("white", (100, 50, 200, 150))
    stored = {1: None, 3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    turn = stored[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    (image.transpose(turn) if turn is not None else image).save(buffer, "PNG", exif=exif)
    sizes = []

    def window(width: int, height: int) -> tuple[float, float, float, float]:
        sizes.append((width, height))
        return 100, 50, 200, 150

    shown = to_tensor(buffer.getvalue(), Preprocessing(32, 32), window)
    assert sizes == [(400, 300)]
    assert shown[2:-2, 2:-2].min() == 255
