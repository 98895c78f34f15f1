"""What kind of file a file is, by its first bytes and by its suffix."""

from __future__ import annotations

import enum
import os
from collections.abc import Callable

from client.errors import PhotoError
from lambda_api.schema import SNIFF_BYTES, sniff_media_type


def _suffixes(names: str) -> frozenset[str]:
    return frozenset(f".{name}" for name in names.split())


PHOTO_SUFFIXES = _suffixes("jpg jpeg jpe mpo png webp gif bmp tif tiff avif heic heif hif")
"""Suffixes that make a file a photo unopened; any other file is one if its first bytes say so."""

RAW_SUFFIXES = _suffixes(
    "3fr arw cr2 cr3 crw dcr dng erf fff gpr iiq k25 kdc mef mos mrw nef nrw orf pef raf raw rw2 rwl sr2 srf srw x3f"
)
"""Suffixes of cameras' raw files. Most of them begin as a TIFF, so their first bytes do not tell."""

VIDEO_SUFFIXES = _suffixes("3g2 3gp asf avi flv insv lrv m2ts m4v mkv mov mp4 mpeg mpg mts ogv vob webm wmv")

_RAW_STARTS = (b"FUJIFILM", b"IIRO", b"IIRS", b"MMOR", b"IIU\x00", b"FOVb", b"\x00MRM")
_VIDEO_STARTS = (b"\x1aE\xdf\xa3", b"\x00\x00\x01\xba", b"FLV\x01", b"0&\xb2u\x8ef\xcf\x11")
_SOUND_BRANDS = (b"M4A ", b"M4B ")


class Kind(enum.Enum):
    """What a file is; only photos are sent."""

    photo = "photo"
    raw = "raw file"
    video = "video"
    other = "other file"


_REFUSALS = {
    Kind.raw: ("The file is a camera's raw file.", "Export it as JPEG and send that."),
    Kind.video: ("The file is a video.", "Save a frame of it as JPEG and send that."),
}


def suffix_of(name: str) -> str:
    """The suffix in small letters, with its dot; empty where there is none."""
    return os.path.splitext(name)[1].lower()


def kind_of(name: str, head: Callable[[], bytes]) -> Kind:
    """The kind of a file. `head` gives its first `SNIFF_BYTES` bytes; it is called only where the name leaves doubt."""
    suffix = suffix_of(name)
    if suffix in PHOTO_SUFFIXES and not os.path.basename(name).startswith("._"):  # what macOS puts beside photos
        return Kind.photo
    start = head()
    media_type = sniff_media_type(start)
    if _is_raw(start) or (suffix in RAW_SUFFIXES and media_type in (None, "image/tiff")):
        return Kind.raw
    if media_type is not None:
        return Kind.photo
    return Kind.video if suffix in VIDEO_SUFFIXES or _is_video(start) else Kind.other


def refusal(kind: Kind) -> PhotoError | None:
    """Why a file of this kind is not sent even where it is named; None where the API may judge."""
    found = _REFUSALS.get(kind)
    return PhotoError("unsupported_media_type", *found) if found else None


def first_bytes(path: str, count: int = SNIFF_BYTES) -> bytes:
    """The beginning of a file of this machine; empty where it cannot be read or is no file, such as a pipe."""
    try:
        if not os.path.isfile(path):  # opening a pipe would wait for its writer
            return b""
        with open(path, "rb", buffering=0) as stream:
            return stream.read(count) or b""
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return b""


def _is_raw(start: bytes) -> bool:
    canon = start[8:10] == b"CR" or start[4:12] == b"ftypcrx " or start[6:14] == b"HEAPCCDR"
    return canon or start.startswith(_RAW_STARTS)


def _is_video(start: bytes) -> bool:
    if start[4:8] == b"ftyp":
        return start[8:12] not in _SOUND_BRANDS
    boxes = start[4:8] in (b"moov", b"mdat", b"wide")  # QuickTime of old
    return boxes or (start[:4] == b"RIFF" and start[8:12] == b"AVI ") or start.startswith(_VIDEO_STARTS)
