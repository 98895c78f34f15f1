"""Thousands of small photos in no time, and between them what such folders hold: copies, odd names, broken files."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from PIL import Image

from tests.photos import encode, sample_image

SMALL, LARGE = (96, 72), (320, 240)
"""Sizes in pixels: the stand-ins' model has the client leave the first as they are and shrink the second."""

STRANGE = 20
"""Every so many-th photo has an odd name."""

_DIGITS = 8
"""Blocks of grey in the top row that tell a photo's number to the base of 16, so that JPEG cannot make two alike."""


def many_photos(folder: Path, n: int, bad: float = 0.02, doubled: float = 0.02, seed: int = 7) -> dict[str, str | None]:
    """Write `n` photos below a folder: by path, the code of the failure that each must have, None where it is fine.

    The share `bad` is broken in turns in every way of `BROKEN`, the share `doubled` has the bytes of another one.
    Beside them lie files that are no photos and must be passed over. The same seed makes the same files.
    """
    chance = random.Random(seed)
    base = {size: sample_image().resize(size) for size in (SMALL, LARGE)}
    kinds = iter(_in_turns())
    found: dict[str, str | None] = {}
    whole: list[bytes] = []
    for number in range(n):
        what, code = chance.random(), None
        if what < bad:
            make, code = next(kinds)
            data = make(_numbered(base[SMALL], number))
        elif what < bad + doubled and whole:
            data = chance.choice(whole)
        else:
            data = _numbered(base[LARGE if number % 20 == 0 else SMALL], number, "PNG" if number % 25 == 0 else "JPEG")
            whole.append(data)
        found[_written(folder, number, data)] = code
    _passed_over(folder, _numbered(base[SMALL], n))
    return found


def _numbered(base: Image.Image, number: int, kind: str = "JPEG") -> bytes:
    """A photo unlike every other, in its pixels and in what an encoder makes of them."""
    image, side = base.copy(), base.width // _DIGITS
    for place in range(_DIGITS):
        grey = 17 * (number >> (4 * place) & 15)
        image.paste((grey, grey, grey), (place * side, 0, (place + 1) * side, side))
    return encode(image, kind, **({"quality": 75} if kind == "JPEG" else {}))


def _claims(data: bytes) -> bytes:
    """The same photo with 60,000 x 60,000 pixels in its frame header (ITU-T T.81, B.2.2)."""
    start = data.index(b"\xff\xc0") + 5
    return data[:start] + (60_000).to_bytes(2, "big") * 2 + data[start + 4 :]


BROKEN: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda data: b"", "bad_image"),
    "cut": (lambda data: data[: len(data) // 2], "bad_image"),
    "head only": (lambda data: data[:20], "bad_image"),
    "text": (lambda data: b"not a photo, number %d" % len(data), "unsupported_media_type"),
    "pdf": (lambda data: b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n" + data[:200], "unsupported_media_type"),
    "huge claim": (_claims, "too_large"),
}
"""What is done to a photo, and the code of the failure that comes of it."""


def _in_turns() -> Iterator[tuple[Callable[[bytes], bytes], str]]:
    while True:
        yield from BROKEN.values()


def _written(folder: Path, number: int, data: bytes) -> str:
    """Write a photo into one of a hundred folders, by an odd name now and then, and return its path."""
    below = folder / f"album {number % 100:02}"
    below.mkdir(exist_ok=True)
    names = [f"IMG_{number:05}.JPG"]
    if number % STRANGE == 0:
        names.insert(0, _odd(number))
    for name in names:
        path = os.path.join(below, name)
        with suppress(OSError):  # not every disk takes every name
            with open(path, "wb") as stream:
                stream.write(data)
            return path
    raise AssertionError(names)


def _odd(number: int) -> str:
    odd = (
        f"two  words {number} .jpg",
        f"Größe 東京 🐕 {number}.jpeg",
        f"line\nbreak {number}.jpg",
        f"'quoted' \"{number}\" $(x) ;.jpg",
        os.fsdecode(b"latin \xe9t\xe9 %d.jpg" % number),
        f"-o {number}.jpg",
        f"no suffix {number}",
        f"[a-z]*{number}?.jpg",
        f"\u202egpj.{number}.jpg",
    )
    return odd[number // STRANGE % len(odd)]


def _passed_over(folder: Path, photo: bytes) -> None:
    (folder / "notes.txt").write_text("no photo")
    (folder / "clip.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(100))
    (folder / ".hidden.jpg").write_bytes(photo)
    (folder / ".thumbnails").mkdir(exist_ok=True)
    (folder / ".thumbnails" / "a.jpg").write_bytes(photo)
