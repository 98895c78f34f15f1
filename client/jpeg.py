"""JPEG files as segments, so that metadata can be taken out (or put in) without touching a pixel.

Layout by ITU-T T.81, annex B: markers are 0xFF and a byte, most of them followed by a length of two bytes that
counts itself; entropy-coded data follows each SOS and holds 0xFF only before 0x00 or a restart marker.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

SOI, EOI, SOS, COM = 0xD8, 0xD9, 0xDA, 0xFE
APP0, APP1, APP2, APP14, APP15 = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF

EXIF = b"Exif\0\0"
ICC = b"ICC_PROFILE\0"
XMP = b"http://ns.adobe.com/xap/1.0/\0"

_OTHER_PICTURES = b"MPF\0"
"""CIPA DC-007: tells where other pictures in the file are, counted from itself."""

_NEXT_MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")
_BARE = frozenset({0x01, SOI})
_THUMBNAIL = slice(12, 14)
"""Where a JFIF segment tells the width and height of its thumbnail."""


class Segment(NamedTuple):
    """One segment of the file: its marker, its payload without the length, all its bytes, and where these begin.

    For SOS the bytes include the entropy-coded data behind it; SOI and EOI have no payload.
    """

    marker: int
    payload: bytes
    whole: bytes
    start: int


def segments(data: bytes) -> Iterator[Segment]:
    """The segments from SOI to the first EOI; what follows it (a second picture, a film) is no part of the photo.

    ValueError where the file is no JPEG or is cut short.
    """
    if data[:2] != b"\xff\xd8":
        raise ValueError("no JPEG")
    yield Segment(SOI, b"", data[:2], 0)
    position = 2
    while True:
        found = _NEXT_MARKER.match(data, position)
        if found is None:
            raise ValueError("no marker where one must be")
        marker, start = data[found.end() - 1], found.end()
        if marker == EOI:
            yield Segment(EOI, b"", b"\xff\xd9", found.end() - 2)
            return
        end = start if marker in _BARE else start + int.from_bytes(data[start : start + 2], "big")
        if end > len(data) or (marker not in _BARE and end < start + 2):
            raise ValueError("a segment is cut short")
        payload = data[start + 2 : end]
        if marker == SOS:
            following = _NEXT_MARKER.search(data, end)
            if following is None:
                raise ValueError("the picture is cut short")
            end = following.start()
        yield Segment(marker, payload, data[found.end() - 2 : end], found.end() - 2)
        position = end


def stripped(data: bytes, orientation: int = 1) -> bytes | None:
    """The same picture, bit for bit, without metadata: its ICC profile stays, and an orientation as the only EXIF.

    None where that cannot be done with certainty: the file is cut short, or laid out in an unknown way.
    """
    try:
        kept = [segment.whole for segment in segments(data) if not _is_metadata(segment)]
    except ValueError:
        return None
    if 2 <= orientation <= 8:
        kept.insert(1, app1(EXIF + _orientation_only(orientation)))
    return b"".join(kept)


def with_xmp(data: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """The same file with another XMP packet, `change` of the one it has or of nothing; all else stays as it is.

    ValueError where the file is no whole JPEG, or the packet becomes too large for a segment.
    """
    head = [segment for segment in segments(data) if segment.marker != SOS]
    old = next((s for s in head if s.marker == APP1 and s.payload.startswith(XMP)), None)
    if old is not None:
        start, end, packet = old.start, old.start + len(old.whole), old.payload[len(XMP) :]
    else:
        before = [s for s in head[:3] if s.marker in (SOI, APP0) or s.payload.startswith(EXIF)]
        start = end = before[-1].start + len(before[-1].whole)
        packet = b""
    if any(s.start < start and s.marker == APP2 and s.payload.startswith(_OTHER_PICTURES) for s in head):
        raise ValueError("other pictures in the file are looked for at their distance from here")
    return data[:start] + app1(XMP + change(packet)) + data[end:]


def app1(payload: bytes) -> bytes:
    """An APP1 segment; ValueError where the payload is larger than a segment can be."""
    length = len(payload) + 2
    if length > 0xFFFF:
        raise ValueError("too large for one segment")
    return b"\xff\xe1" + length.to_bytes(2, "big") + payload


def _is_metadata(segment: Segment) -> bool:
    """Whether a segment tells other things than how to decode; ValueError for a thumbnail inside one that does."""
    if segment.marker == APP0 and segment.payload.startswith(b"JFIF\0"):
        if any(segment.payload[_THUMBNAIL]):
            raise ValueError("a thumbnail inside the JFIF segment")
        return False
    if segment.marker == APP2:
        return not segment.payload.startswith(ICC)
    if segment.marker == APP14:
        return not segment.payload.startswith(b"Adobe")
    return APP0 <= segment.marker <= APP15 or segment.marker == COM


def _orientation_only(orientation: int) -> bytes:
    """A TIFF of one directory with one entry, 0x0112 (EXIF 2.32, 4.6.4)."""
    entry = b"\x12\x01\x03\x00\x01\x00\x00\x00" + orientation.to_bytes(2, "little") + b"\0\0"
    return b"II*\0\x08\0\0\0\x01\0" + entry + b"\0\0\0\0"
