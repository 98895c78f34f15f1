"""Photo bytes -> the pixels a network sees. The only place that knows how.

The result equals the plain way (decode all, turn, resize, centre crop) to a mean of 0.5/255, at a third of its
time for large JPEGs: libjpeg decodes at a reduced scale of at least twice the target (`draft`), and one
`resize(box=…)` both scales and crops. The box follows torchvision's rounding, since half a pixel off already
costs a mean difference of 4/255.
"""

from __future__ import annotations

import contextlib
import io
import threading
import warnings
from collections.abc import Callable, Iterator

import torch
from PIL import Image, ImageCms

from .errors import BadImage, RequestError, TooLarge, UnsupportedMedia
from .memory import give_back
from .spec import Preprocessing

MAX_PIXELS = 50_000_000
"""Photos of more pixels are refused before decoding: a 10 kB PNG can claim 81 megapixels."""

FORMAT_PIXELS = {"WEBP": 16_000_000, "AVIF": 25_000_000, "HEIF": 25_000_000}
"""Limits of formats whose decoders hold several whole copies: 50 megapixels of WebP would cost 750 MB."""

FOUR_BAND_PIXELS = 25_000_000
"""The limit for CMYK and for photos with transparency, which are resampled as a premultiplied copy."""

MIN_SIDE = 8
"""Photos narrower than this many pixels show nothing that could be classified."""

BIG_PIXELS = 8_000_000
"""Photos of more pixels are decoded one at a time: each may cost 300 MB while it is."""

DRAFT_FACTOR = 2
"""Reduced-scale decoding keeps at least this many times the target size; below 2 the difference shows."""

_DESIRED = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")
_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112
Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""
Window = Callable[[int, int], Box]
"""Chooses, by width and height of the turned photo, the part that is shown to the network."""

_big_photos = threading.Semaphore(1)


@contextlib.contextmanager
def _one_big_photo() -> Iterator[None]:
    """Waits for its turn; afterwards the memory that was taken goes back, whatever was put beside it meanwhile."""
    with _big_photos:
        try:
            yield
        finally:
            give_back()


def _readable_formats() -> tuple[str, ...]:
    """The wanted formats that this Pillow can open: an explicit list, so that EPS never starts Ghostscript."""
    try:
        import pillow_heif
    except ImportError:
        pass
    else:
        pillow_heif.register_heif_opener()
    Image.init()
    return tuple(name for name in _DESIRED if name in Image.OPEN)


FORMATS = _readable_formats()
# Pillow warns from 89 megapixels on; ours are refused long before, and a warning a request would fill the log.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)


def to_tensor(data: bytes, preprocessing: Preprocessing, window: Window | None = None) -> torch.Tensor:
    """The photo's pixels as uint8 (crop, crop, 3), RGB in sRGB, before mean and std.

    `window` takes another part of the photo than the centre, as training does for augmented views.
    RequestError (BadImage, TooLarge, UnsupportedMedia) for anything that is no usable photo.
    """
    image = to_image(data, preprocessing, window)
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return pixels.view(image.height, image.width, 3)


def normalise(pixels: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    """uint8 (N, H, W, 3) -> float32 (N, 3, H, W), channels last in memory: `(x/255 - mean) / std`."""
    mean = torch.tensor(preprocessing.mean, device=pixels.device)
    std = torch.tensor(preprocessing.std, device=pixels.device)
    scaled = torch.addcmul(-mean / std, pixels.to(torch.float32), 1 / (255 * std))
    return scaled.permute(0, 3, 1, 2)


def to_image(data: bytes, preprocessing: Preprocessing, window: Window | None = None) -> Image.Image:
    """The turned, resized and cropped photo as an RGB image of crop x crop pixels; errors as `to_tensor`."""
    if not data:
        raise BadImage("The photo is empty (0 bytes).", "Send the bytes of a photo.")
    with _open(data) as image:
        _check_size(image)
        return _decode(image, preprocessing, window)


def _open(data: bytes) -> Image.Image:
    """Read the header only. Pillow's plugins raise what they like on hostile files, so all is caught here."""
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_many_pixels() from None
    except Exception as error:
        if _looks_like_photo(data):
            raise BadImage(f"The header of the photo is damaged ({type(error).__name__}).", _RESEND) from None
        raise UnsupportedMedia(
            "The bytes are no photo of a format that is read here.", f"Send one of {', '.join(FORMATS)}."
        ) from None


_RESEND = "Open the file in a viewer; if it shows, save it again as JPEG and send that."


def _looks_like_photo(data: bytes) -> bool:
    """Whether a reader accepts the first bytes: then the file is damaged, not of another kind."""
    accepts = (Image.OPEN[name][1] for name in FORMATS)
    return any(accept is not None and accept(data[:16]) is True for accept in accepts)


def _too_many_pixels(limit: int = MAX_PIXELS) -> TooLarge:
    return TooLarge(
        f"The photo has more than {limit // 1_000_000} million pixels.",
        "Scale it down before sending; the client does so by itself.",
    )


def _check_size(image: Image.Image) -> None:
    width, height = image.size
    limit = FORMAT_PIXELS.get(image.format or "", MAX_PIXELS)
    if image.mode == "CMYK" or image.has_transparency_data:
        limit = min(limit, FOUR_BAND_PIXELS)
    if width * height > limit:
        raise _too_many_pixels(limit)
    if min(width, height) < MIN_SIDE:
        raise BadImage(f"The photo is {width} x {height} pixels.", f"Send one of at least {MIN_SIDE} pixels a side.")


def _decode(image: Image.Image, preprocessing: Preprocessing, window: Window | None) -> Image.Image:
    # A baseline JPEG is scaled down while it is decoded and never big.
    scaled = image.format in ("JPEG", "MPO") and "progressive" not in image.info
    big = image.width * image.height > BIG_PIXELS and not scaled
    try:
        with _one_big_photo() if big else contextlib.nullcontext():
            return _scaled(image, preprocessing, window)
    except RequestError:
        raise
    except MemoryError:
        raise _too_many_pixels() from None
    except Exception as error:
        raise BadImage(f"The photo is truncated or damaged ({type(error).__name__}).", _RESEND) from None


def _scaled(image: Image.Image, preprocessing: Preprocessing, window: Window | None) -> Image.Image:
    if image.format not in ("JPEG", "MPO"):
        # TIFF turns itself while loading, PNG may keep its EXIF behind the pixels: size and tag count after it.
        image.load()
    turn = orientation(image)
    turned = turn >= 5
    width, height = image.size
    full = (height, width) if turned else (width, height)
    crop = preprocessing.crop
    seen = window(*full) if window else _centre(full, preprocessing)
    # The whole photo at the scale at which the window is crop x crop pixels.
    size = (full[0] * crop / (seen[2] - seen[0]), full[1] * crop / (seen[3] - seen[1]))
    box = _stored_box(seen, full, turn)
    wanted = (size[1], size[0]) if turned else size
    drafted = image.draft("RGB", (round(wanted[0] * DRAFT_FACTOR), round(wanted[1] * DRAFT_FACTOR)))
    if drafted is not None:
        # A scaled decode rounds its size up; the box it reports keeps the exact ratio.
        ratio_x, ratio_y = drafted[1][2] / width, drafted[1][3] / height
        box = (box[0] * ratio_x, box[1] * ratio_y, box[2] * ratio_x, box[3] * ratio_y)
        box = (box[0], box[1], min(box[2], image.width), min(box[3], image.height))
    image.load()
    small = _resampleable(image).resize((crop, crop), _RESAMPLING[preprocessing.interpolation], box)
    small = _to_srgb(_on_white(small), image.info.get("icc_profile"))
    transpose = _TRANSPOSE.get(turn)
    return small if transpose is None else small.transpose(transpose)


def _resampleable(image: Image.Image) -> Image.Image:
    """A mode that can be resampled and loses nothing: RGB, RGBA, L, LA or CMYK; 16 bits become 8."""
    if image.mode.startswith("I"):
        # Pillow's own conversion clips 16-bit values to 255, which turns a photo white.
        image = image.point(lambda value: value / 257).convert("L")
    if image.mode in ("RGB", "L", "CMYK", "RGBA", "LA") and "transparency" not in image.info:
        return image
    if image.mode in ("F", "LAB"):
        raise UnsupportedMedia(
            f"The photo stores its pixels in mode {image.mode}.", "Save it as 8-bit RGB and send that."
        )
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image.convert("L" if image.mode == "1" else "RGB")


def _on_white(image: Image.Image) -> Image.Image:
    """Alpha on white. After resampling, which Pillow does on premultiplied colours: a copy of the size less."""
    if image.mode not in ("RGBA", "LA"):
        return image
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, "white")
    white.alpha_composite(rgba)
    return white.convert("RGB")


def _to_srgb(image: Image.Image, icc_profile: bytes | None) -> Image.Image:
    """RGB in sRGB. A profile that cannot be read, or is of another colour space, is as good as none."""
    if not icc_profile:
        return image.convert("RGB")
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc_profile))
        if "sRGB" in ImageCms.getProfileDescription(profile):
            return image.convert("RGB")
        converted = ImageCms.profileToProfile(image, profile, _SRGB, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image.convert("RGB")
    return image.convert("RGB") if converted is None else converted


_SRGB = ImageCms.createProfile("sRGB")


def orientation(image: Image.Image) -> int:
    """EXIF orientation 1..8; 1 for a missing, invalid or unreadable one."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # hostile EXIF raises anything; the pixels may still be good
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _centre(full: tuple[int, int], preprocessing: Preprocessing) -> Box:
    """The centre crop in pixels of the unscaled photo: torchvision's `CenterCrop`, which rounds half to even."""
    size, crop = _resized(full, preprocessing.resize), preprocessing.crop
    left, top = (round((side - crop) / 2.0) for side in size)
    x, y = full[0] / size[0], full[1] / size[1]
    return left * x, top * y, (left + crop) * x, (top + crop) * y


def _resized(size: tuple[int, int], shorter: int) -> tuple[int, int]:
    """Width and height with the shorter side at `shorter`: torchvision's `Resize`, which rounds down."""
    width, height = size
    if width <= height:
        return shorter, int(shorter * height / width)
    return int(shorter * width / height), shorter


def _stored_box(box: Box, full: tuple[int, int], orientation: int) -> Box:
    """The same box in the pixels as stored, before the EXIF turn; `full` is the turned size."""
    left, top, right, bottom = box
    if orientation in (2, 3, 6, 7):
        left, right = full[0] - right, full[0] - left
    if orientation in (3, 4, 7, 8):
        top, bottom = full[1] - bottom, full[1] - top
    return (top, left, bottom, right) if orientation >= 5 else (left, top, right, bottom)
