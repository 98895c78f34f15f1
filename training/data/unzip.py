"""Unpacking a zip that somebody else made."""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from ..errors import FetchError
from .download import Progress, require_space
from .files import is_skipped
from .finding import shown
from .folders import SPLIT_NAMES

MAX_BYTES = 20_000_000_000
"""Archives that unpack to more are refused; the dog photos are 1.1 GB."""

_CHUNK = 1 << 20
# RuntimeError asks for a password or is a compression that Python does not know, ValueError a name that is no text.
_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError)


class UnusableZip(FetchError):
    """The zip itself is at fault: to unpack it again would fail again."""


def unpack(archive: Path, target: Path, progress: Progress, finish: Callable[[Path], None]) -> None:
    """Unpack into `target`, which must be missing or empty, all or nothing.

    A top folder that holds all the rest is left out. `finish` gets the unpacked folder before it takes its
    place. UnusableZip for what is no zip, is damaged, leads outside, holds links or is a bomb; FetchError if the
    disk has no room; OSError if it cannot be written.
    """
    half = target.with_name(f".{target.name}.unpacking")
    # What a killed run has left.
    shutil.rmtree(half, ignore_errors=True)
    try:
        _extract(archive, half, progress)
        content = _content(half)
        finish(content)
        if target.exists():
            target.rmdir()
        content.rename(target)
    except _UNREADABLE as error:
        raise UnusableZip(f"What was downloaded is no zip that can be read here ({error}).") from None
    finally:
        shutil.rmtree(half, ignore_errors=True)


def _extract(archive: Path, folder: Path, progress: Progress) -> None:
    folder.mkdir(parents=True)
    with zipfile.ZipFile(archive) as zipped:
        for member in zipped.infolist():
            _refuse_unsafe(member)
        members = [member for member in zipped.infolist() if not _is_leftover(member)]
        total = sum(member.file_size for member in members)
        if total > MAX_BYTES:
            raise UnusableZip(f"The zip unpacks to {total / 1e9:,.0f} GB, more than {MAX_BYTES / 1e9:,.0f}: refused.")
        require_space(folder, total)
        done = 0
        for member in members:
            _extract_one(zipped, member, folder / member.filename)
            done += member.file_size
            progress("unpacking", done, total)


def _extract_one(zipped: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> None:
    if member.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # Reading stops at the size that was declared and counted.
    with zipped.open(member) as source, path.open("wb") as target:
        shutil.copyfileobj(source, target, _CHUNK)


def _is_leftover(member: zipfile.ZipInfo) -> bool:
    return any(is_skipped(name) for name in PurePosixPath(member.filename).parts)


def _refuse_unsafe(member: zipfile.ZipInfo) -> None:
    name = member.filename
    parts = PurePosixPath(name).parts
    if name.startswith("/") or "\\" in name or name[1:2] == ":" or ".." in parts:
        raise UnusableZip(f"The zip wants to write outside its folder: {shown(name)}. It is refused as a whole.")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise UnusableZip(f"The zip holds a link: {shown(name)}. It is refused as a whole.")


def _content(folder: Path) -> Path:
    """The folder itself, or the only one in it: `dogImages/train/…` -> `train/…`."""
    inside = list(folder.iterdir())
    wraps = len(inside) == 1 and inside[0].is_dir() and inside[0].name not in SPLIT_NAMES
    return inside[0] if wraps else folder
