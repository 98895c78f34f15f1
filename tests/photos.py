"""Photos for tests: made by Pillow, or scikit-image's real ones."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from PIL import Image

from local_stack import models


def sample(name: str) -> bytes:
    """A real photo by its file name, as its package ships it."""
    return next(path for path in models.samples() if path.name == name).read_bytes()


def sample_image(name: str = "coffee.png") -> Image.Image:
    """The same, decoded."""
    return Image.open(io.BytesIO(sample(name))).convert("RGB")


def encode(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    """An image as a file's bytes."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg(size: tuple[int, int] = (500, 375), quality: int = 90, **options: Any) -> bytes:
    """A real photo as a JPEG of that size."""
    return encode(sample_image().resize(size), quality=quality, **options)


def save(folder: Path, name: str, data: bytes) -> Path:
    """Write a file and return its path."""
    path = folder / name
    path.write_bytes(data)
    return path
