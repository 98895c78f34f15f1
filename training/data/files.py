"""Which files of a folder are photos, and what they hold."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataError
from .finding import first_few, shown

PHOTO_SUFFIXES = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".mpo": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".gif": "GIF",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".avif": "AVIF",
    ".heic": "HEIF",
    ".heif": "HEIF",
    # Photos that are not read here: left out in silence they would be missed, as examples they are reported.
    **dict.fromkeys((".jp2", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2"), ""),
}
"""Suffixes that make a file a photo, with the format they promise; "" for a format that is not read here."""

_OTHER = (
    ".txt .md .rst .json .jsonl .csv .tsv .xml .yaml .yml .toml .ini .db .log .pdf .html .htm .doc .docx .xls .xlsx "
    ".py .ipynb .sh .bat .js .css .mat .npy .npz .pkl .pt .pth .h5 .svg .ico .psd .xmp .aae .thm .lnk .url .part "
    ".zip .gz .tgz .tar .bz2 .xz .7z .rar .mp3 .wav .mp4 .mov .avi .mkv .webm"
)
OTHER_SUFFIXES = frozenset(_OTHER.split())
"""Suffixes of files that lie beside photos and are none; files of any other suffix are told by their first bytes."""

SKIPPED_NAMES = frozenset({"__MACOSX", "@eaDir", "Thumbs.db", "desktop.ini"})
"""What unpackers and file managers leave behind; names that begin with a dot are skipped as well."""

SNIFF_BYTES = 16
"""So many first bytes tell a photo's format."""

_CHUNK = 1 << 20
_DIGITS = 12


@dataclass(frozen=True)
class Walked:
    """The photos below a folder: sorted POSIX names relative to it; how many files were left out; closed folders."""

    photos: tuple[str, ...]
    ignored: int = 0
    unreadable: tuple[str, ...] = ()


def walk(folder: Path) -> Walked:
    """All photos below a folder. Links are followed, except back into a folder that the walk is inside of."""
    photos, unreadable, ignored = [], [], 0
    pending = [("", frozenset[tuple[int, int]]())]
    while pending:
        below, ancestors = pending.pop()
        try:
            status = os.stat(folder / below)
            entries = sorted(os.listdir(folder / below))
        except OSError:
            unreadable.append(below or ".")
            continue
        here = (status.st_dev, status.st_ino)
        if here in ancestors:
            continue
        for entry in entries:
            name = f"{below}/{entry}" if below else entry
            if is_skipped(entry):
                ignored += 1
            elif os.path.isdir(folder / name):
                pending.append((name, ancestors | {here}))
            elif is_photo(folder / name):
                photos.append(name)
            else:
                ignored += 1
    return Walked(tuple(sorted(photos)), ignored, tuple(sorted(unreadable)))


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in a folder that are not skipped, sorted; DataError if it cannot be listed."""
    try:
        return sorted(name for name in os.listdir(folder) if not is_skipped(name) and (folder / name).is_dir())
    except OSError as error:
        raise DataError(f"{shown(str(folder))} cannot be listed: {error.strerror}.") from None


def is_skipped(name: str) -> bool:
    """Whether a file or folder of that name is never looked at."""
    return name.startswith(".") or name in SKIPPED_NAMES


def is_photo(path: Path) -> bool:
    """Whether a file counts as a photo: by its suffix, broken or not; without a known one by its first bytes."""
    suffix = path.suffix.lower()
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for its writer
            return False
        return suffix in PHOTO_SUFFIXES or (suffix not in OTHER_SUFFIXES and bool(sniff(_head(path))))
    except OSError:
        return suffix in PHOTO_SUFFIXES


def sniff(head: bytes) -> str:
    """The format that a file's first bytes promise, as Pillow calls it; "" for none that is a photo's."""
    for magic, name in ((b"\xff\xd8\xff", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG"), (b"GIF8", "GIF")):
        if head.startswith(magic):
            return name
    if head[:4] in (b"II*\0", b"MM\0*"):
        return "TIFF"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        return "AVIF" if brand in (b"avif", b"avis") else "HEIF" if brand[:3] in (b"hei", b"hev", b"mif") else ""
    # The two letters alone begin many a text; the four reserved bytes are zero in a bitmap.
    return "BMP" if head[:2] == b"BM" and head[6:10] == bytes(4) else ""


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(SNIFF_BYTES)


def photos_of(root: Path) -> list[Path]:
    """All photos below a folder, in the order of their names; DataError if there are none, or not all can be seen."""
    require_folder(root)
    walked = walk(root)
    if walked.unreadable:
        raise DataError(f"{first_few(walked.unreadable)} may not be listed. Change the permissions.")
    if not walked.photos:
        raise DataError(f"{shown(str(root))} holds no photos. Give a folder with .jpg, .png or .webp files in it.")
    return [root / name for name in walked.photos]


def require_folder(root: Path) -> None:
    """DataError unless the path is a folder."""
    if not os.path.exists(root):
        raise DataError(f"{shown(str(root))} does not exist. Check the spelling; names with spaces need quotes.")
    if not os.path.isdir(root):
        raise DataError(f"{shown(str(root))} is a file. Give the folder that holds the class folders.")


def content_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hex digits; OSError if it cannot be read."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def fingerprint(hashes: Mapping[str, str]) -> str:
    """12 hex digits for a whole dataset: equal for equal names with equal contents, wherever they lie.

    `hashes` maps each example's name to its content hash, over all splits.
    """
    digest = hashlib.sha256()
    for name, content in sorted(hashes.items()):
        digest.update(name_bytes(name) + b"\0" + content.encode("ascii") + b"\n")
    return digest.hexdigest()[:_DIGITS]


def name_bytes(name: str) -> bytes:
    """A name as bytes that are the same on every machine, those of undecodable names included."""
    return name.encode("utf-8", "surrogateescape")
