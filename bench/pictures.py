"""Photos for the benchmarks of the client: real ones, in any number and at twelve megapixels."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from PIL import Image

from lambda_api.schema import MAX_IMAGE_BYTES, MAX_PIXELS
from local_stack import models
from tests.conftest import ROOT

LARGE = (4000, 3000)
LARGE_SIDE = 1500
"""Pixels of the shorter side from which a photo is called large."""
NOISE = 6.0
"""Standard deviation of the noise in enlarged photos, of 255: with it a JPEG has the 2 to 3 MB of a camera's."""


PHOTOS = Path(os.environ.get("WHIPPET_TEST_PHOTOS", ROOT.parent / "shared" / "data"))
"""Where real photos are looked for."""


def originals() -> list[Path]:
    """Real photos of some 500 pixels, dogs and others; scikit-image's where there are none."""
    found = sorted(path for name in ("dogs/test", "not_dogs") for path in (PHOTOS / name).rglob("*.jpg"))
    return found or models.samples()


def real_large(folder: Path | None = None) -> Iterator[bytes]:
    """JPEGs of a camera's size below a folder, by default the one where real photos are looked for."""
    for path in sorted((folder or PHOTOS).rglob("*.[jJ][pP]*[gG]")):
        with suppress(OSError), Image.open(path) as image:
            if min(image.size) >= LARGE_SIDE and image.width * image.height <= MAX_PIXELS:
                yield path.read_bytes()


def jpegs(paths: Sequence[Path]) -> list[bytes]:
    """The photos as JPEG files: as they are, or converted."""
    return [data if (data := path.read_bytes())[:2] == b"\xff\xd8" else _encoded(Image.open(path)) for path in paths]


def enlarged(path: Path, number: int = 0) -> bytes:
    """A photo at twelve megapixels, turned as it was and with a sensor's noise; `number` seeds the noise."""
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    size = LARGE if image.width >= image.height else LARGE[::-1]
    pixels = np.asarray(image.resize(size, Image.Resampling.LANCZOS), dtype=np.float32)
    noise = np.random.default_rng(number).normal(0.0, NOISE, pixels.shape[:2]).astype(np.float32)
    return _encoded(Image.fromarray(np.clip(pixels + noise[..., None], 0, 255).astype(np.uint8)), quality=85)


def all_enlarged(paths: Sequence[Path]) -> Iterator[bytes]:
    """Each photo at twelve megapixels, in order."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(enlarged, paths, range(len(paths)))


def write(folder: Path, photos: Sequence[bytes], number: int) -> None:
    """So many files, the photos over and over, no two with the same bytes."""
    for i, data in enumerate(islice(cycle(photos), number)):
        (folder / f"{i:06}.jpg").write_bytes(_numbered(data, i))


def is_sendable(data: bytes) -> bool:
    """Whether a photo may be sent directly as it is."""
    return len(data) <= MAX_IMAGE_BYTES


def _numbered(jpeg: bytes, number: int) -> bytes:
    """The same photo with a comment of its own (ITU-T T.81, B.2.4.5)."""
    return jpeg[:2] + b"\xff\xfe\x00\x0a" + b"%08d" % number + jpeg[2:]


def _encoded(image: Image.Image, quality: int = 92) -> bytes:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
