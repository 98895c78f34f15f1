"""Files that nobody should send, to a whole stack: readable refusals, and memory that stays within bounds."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from local_stack.stack import Description
from model_serving.probe import HOSTILE
from tests.conftest import described, photo_folder, start_stack
from tests.photos import encode, jpeg
from tests.running import Memory, classify

pytestmark = pytest.mark.stack


def big(side: int, kind: str, mode: str, **options: Any) -> bytes:
    """A square photo in a few bytes, just below its limit of pixels: costly to decode."""
    return encode(Image.new("RGB", (side, side), "red").convert(mode), kind, **options)


def test_hostile_files(archive: Path, own_state: dict[str, str]) -> None:
    """Every answer is 200 or a 4xx problem; the whole stack, which has done nothing else before, stays below 1.5 GB."""
    with start_stack(archive, env=own_state) as process:
        stack = described(process)
        with Memory(stack.pid) as memory:
            _send_hostile_files(stack)
    assert 0.5e9 < memory.peak < 1.5e9, f"{memory.peak / 1e6:.0f} MB"


def _send_hostile_files(stack: Description) -> None:
    good = jpeg()
    files = [make() for make, _ in HOSTILE.values()]
    files += [good[:n] for n in (3, 20, 200, 2000)] + [good[:500] + os.urandom(3000)]
    files += [b"%!PS-Adobe-3.0", b"%PDF-1.7", b"PK\x03\x04", b"MZ", b"\x00" * 100_000, b"{}", b"\xff" * 50]
    files += [big(7000, "PNG", "RGB"), big(7000, "GIF", "P"), big(5000, "PNG", "RGBA"), big(4000, "WEBP", "RGB")]
    files += [big(5000, "JPEG", "CMYK", quality=30, progressive=True), big(7000, "TIFF", "RGB", compression="tiff_lzw")]
    for content_type in ("image/jpeg", "application/octet-stream", "text/plain", "application/json", "multipart/x"):
        for data in files:
            answer = classify(stack, data, content_type)
            assert answer.status_code == 200 or 400 <= answer.status_code < 500, answer.text
            if answer.status_code != 200:
                assert answer.headers["content-type"] == "application/problem+json"
                assert answer.json()["code"]
            assert "Traceback" not in answer.text
    assert classify(stack, good).status_code == 200


def test_odd_photos(stack: Description) -> None:
    """Fifty odd and broken real files: classified or refused as their list says, the right status where it is sure."""
    folder = photo_folder("odd_inputs")
    manifest = json.loads((folder / "MANIFEST.json").read_text(encoding="utf-8"))
    for entry in manifest["files"]:
        answer = classify(stack, (folder / entry["file"]).read_bytes(), "application/octet-stream")
        status, expected = answer.status_code, entry["expect"]
        assert status == 200 or 400 <= status < 500, entry["file"]
        if expected != "either":
            assert (status == 200) == (expected == "classify"), (entry["file"], answer.text)
        if expected == "reject" and entry["suggested_status"] in (413, 415):
            assert status == entry["suggested_status"], (entry["file"], answer.text)
        if expected == "classify":
            labels = [p["label"] for p in answer.json()["predictions"]]
            assert "beagle" in labels[:2], (entry["file"], labels)
