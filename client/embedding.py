"""XMP packets inside photos: JPEG, PNG and WebP keep every byte but the packet, and what says where it is."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

from client import jpeg
from lambda_api.schema import sniff_media_type

Change: TypeAlias = Callable[[bytes], bytes]
"""Makes a packet of the one there is, or of nothing."""

MEDIA_TYPES = frozenset({"image/jpeg", "image/png", "image/webp"})
"""What a packet can be put into."""

LARGEST_PACKET = 16_000_000
"""Bytes of a compressed packet that are unpacked at most: real ones have some thousand."""

_PNG_XMP = b"XML:com.adobe.xmp\0"
_PNG_START = 8
_WEBP_START = 12
_HAS_ALPHA, _HAS_XMP = 0x10, 0x04


class _Chunk(NamedTuple):
    """One chunk of a PNG or WebP: its name, its data, and where it stands in the file, from its head to its end."""

    name: bytes
    data: bytes
    start: int
    end: int


def with_xmp(data: bytes, change: Change) -> bytes:
    """The same photo with a changed packet, its pixels bit for bit; ValueError where its format has no place for one.

    Also where the file is cut short, or `change` raises it.
    """
    media_type = sniff_media_type(data)
    if media_type == "image/jpeg":
        return jpeg.with_xmp(data, change)
    if media_type not in MEDIA_TYPES:
        raise ValueError("Its format takes no keywords.")
    return _png(data, change) if media_type == "image/png" else _webp(data, change)


def _png(data: bytes, change: Change) -> bytes:
    """An iTXt chunk before the pixels (PNG specification, 11.3.3.4; XMP specification, part 3, 1.1.5)."""
    chunks = list(_png_chunks(data))
    old = next((chunk for chunk in chunks if chunk.name == b"iTXt" and chunk.data.startswith(_PNG_XMP)), None)
    pixels = next((chunk for chunk in chunks if chunk.name == b"IDAT"), None)
    if pixels is None:
        raise ValueError("The PNG has no pixels.")
    start, end = (old.start, old.end) if old else (pixels.start, pixels.start)
    packet = change(_png_packet(old.data) if old else b"")
    body = b"iTXt" + _PNG_XMP + bytes(4) + packet
    new = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    return data[:start] + new + data[end:]


def _png_chunks(data: bytes) -> Iterator[_Chunk]:
    """All up to IEND."""
    position, name = _PNG_START, b""
    while name != b"IEND":
        size, name = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        end = position + 12 + size
        if end > len(data):
            raise ValueError("The PNG is cut short.")
        yield _Chunk(name, data[position + 8 : end - 4], position, end)
        position = end


def _png_packet(chunk: bytes) -> bytes:
    """The packet behind the keyword, two flags of compression, a language and the keyword's translation."""
    flag, rest = chunk[len(_PNG_XMP) : len(_PNG_XMP) + 1], chunk[len(_PNG_XMP) + 2 :]
    _, _, text = rest.split(b"\0", 2)
    if flag == b"\0":
        return text
    unpacking = zlib.decompressobj()
    try:
        packet = unpacking.decompress(text, LARGEST_PACKET)
    except zlib.error as error:
        raise ValueError("The XMP cannot be unpacked.") from error
    if not unpacking.eof:
        raise ValueError("The XMP is too large or cut short.")
    return packet


def _webp(data: bytes, change: Change) -> bytes:
    """An `XMP ` chunk at the end, announced by a flag in VP8X, which simple files get first (RFC 9649, 2.7)."""
    riff_end = 8 + int.from_bytes(data[4:8], "little")
    if riff_end > len(data):
        raise ValueError("The WebP is cut short.")
    chunks = {chunk.name: chunk for chunk in reversed(list(_webp_chunks(data, riff_end)))}
    old = chunks.get(b"XMP ")
    start, end = (old.start, old.end) if old else (riff_end, riff_end)
    new = _webp_chunk(b"XMP ", change(old.data if old else b""))
    body = _announced(chunks) + data[_body_start(chunks) : start] + new + data[end:riff_end]
    return b"RIFF" + (len(body) + 4).to_bytes(4, "little") + b"WEBP" + body + data[riff_end:]


def _webp_chunks(data: bytes, riff_end: int) -> Iterator[_Chunk]:
    position = _WEBP_START
    while position + 8 <= riff_end:
        size = int.from_bytes(data[position + 4 : position + 8], "little")
        end = position + 8 + size + size % 2
        if end > riff_end:
            raise ValueError("The WebP is cut short.")
        yield _Chunk(data[position : position + 4], data[position + 8 : position + 8 + size], position, end)
        position = end


def _webp_chunk(name: bytes, data: bytes) -> bytes:
    return name + len(data).to_bytes(4, "little") + data + bytes(len(data) % 2)


def _body_start(chunks: dict[bytes, _Chunk]) -> int:
    """Where what stays begins: behind VP8X, which is first where there is one."""
    return chunks[b"VP8X"].end if b"VP8X" in chunks else _WEBP_START


def _announced(chunks: dict[bytes, _Chunk]) -> bytes:
    """The VP8X chunk that says that there is XMP: flags, three bytes of nothing, width and height less one."""
    if b"VP8X" in chunks:
        found = chunks[b"VP8X"]
        if len(found.data) != 10 or found.start != _WEBP_START:
            raise ValueError("The WebP is laid out in an unknown way.")
        return _webp_chunk(b"VP8X", bytes([found.data[0] | _HAS_XMP]) + found.data[1:])
    flags, width, height = _simple(chunks)
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return _webp_chunk(b"VP8X", bytes([flags | _HAS_XMP, 0, 0, 0]) + sides)


def _simple(chunks: dict[bytes, _Chunk]) -> tuple[int, int, int]:
    """Flags and sides of a file of one picture alone, by its first bits (RFC 6386, 9.1; RFC 9649, 3.4)."""
    if b"VP8L" in chunks and chunks[b"VP8L"].data[:1] == b"\x2f":
        bits = int.from_bytes(chunks[b"VP8L"].data[1:5], "little")
        return _HAS_ALPHA * (bits >> 28 & 1), (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if b"VP8 " in chunks and chunks[b"VP8 "].data[3:6] == b"\x9d\x01\x2a":
        width, height = (int.from_bytes(chunks[b"VP8 "].data[i : i + 2], "little") & 0x3FFF for i in (6, 8))
        if width and height:
            return 0, width, height
    raise ValueError("The WebP is laid out in an unknown way.")
