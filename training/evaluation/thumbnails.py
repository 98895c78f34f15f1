"""Small photos as text, for a report that is one file."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

from model_serving.classifier import Preprocessing, RequestError
from model_serving.classifier.preprocess import to_image

SIDE = 96
"""Pixels of a thumbnail's sides."""


def thumbnail(path: Path, preprocessing: Preprocessing) -> str | None:
    """The centre of a photo that the network sees, turned by EXIF, as a JPEG `data:` URI of about 4 kB.

    None for a file that is gone or is no photo: a report of yesterday's photos must still be written.
    """
    small = Preprocessing(max(SIDE, round(SIDE * preprocessing.resize / preprocessing.crop)), SIDE)
    try:
        image = to_image(path.read_bytes(), small)
    except (OSError, RequestError):
        return None
    return "data:image/jpeg;base64," + base64.b64encode(_jpeg(image)).decode("ascii")


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()
