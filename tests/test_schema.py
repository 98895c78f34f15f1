"""The contract's magic bytes: real files are known, near misses are not."""

from __future__ import annotations

import pytest

from lambda_api import schema
from tests.photos import encode, sample_image


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_sniffing_knows_what_pillow_writes(kind: str) -> None:
    """Magic bytes of every format, from real files."""
    if kind == "AVIF":
        pytest.importorskip("PIL._avif", reason="this Pillow has no AVIF")
    data = encode(sample_image().resize((32, 32)), kind)
    assert schema.sniff_media_type(data[: schema.SNIFF_BYTES]) == f"image/{kind.lower()}"


@pytest.mark.parametrize(
    "data", [b"", b"BM", b"BM, said the text", b"RIFF1234AVI ", b"\xff\xd8", b"    ftypqt  ", b"GIF88a"]
)
def test_sniffing_is_not_fooled(data: bytes) -> None:
    """Near misses are no photos."""
    assert schema.sniff_media_type(data) is None
