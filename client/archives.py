"""Photos inside .zip and .tar files, read where they are: nothing is unpacked to disk.

A member is named after its archive, `holiday.zip/sub/a.jpg`. Folders, hidden members and what macOS adds
(`__MACOSX/`, `._a.jpg`) are passed over.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from client.errors import PhotoError, UsageError
from client.kinds import PHOTO_SUFFIXES, first_bytes, suffix_of
from client.reading import Source
from client.sieve import Sieve
from lambda_api.schema import sniff_media_type

if TYPE_CHECKING:
    from client.tars import Tar
    from client.zips import Zip

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
"""A file with such a name is an archive, unless it begins like a photo; others are one if they can be opened."""

_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
_PACKED_STARTS = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00")
_TAR_MARK = slice(257, 262)


def is_archive(path: str) -> bool:
    """Whether a file is to be opened as an archive; what has a photo's suffix is not looked at."""
    if suffix_of(path) in PHOTO_SUFFIXES:
        return False
    start = first_bytes(path, 512)
    if not start or sniff_media_type(start):
        return bool(not start and path.lower().endswith(SUFFIXES) and os.path.isfile(path))
    if path.lower().endswith(SUFFIXES) or start.startswith(_ZIP_STARTS) or start[_TAR_MARK] == b"ustar":
        return True
    return start.startswith(_PACKED_STARTS) and _opens(path)


def check(path: str) -> None:
    """UsageError where an archive cannot be opened at all."""
    try:
        _open(path)
    except PhotoError as error:
        raise UsageError(f"{path} is no archive that can be opened.", error.hint) from error


def photos(path: str, sieve: Sieve) -> Iterator[Source]:
    """The photos of an archive that pass the sieve, in its order; PhotoError where it cannot be opened.

    Members that cannot be read are sources with a problem; so is an archive that breaks off, by its own name. Members
    of a .zip can be read later and in any thread, those of a .tar carry their bytes.
    """
    return _open(path).photos(sieve)


def split(name: str) -> tuple[str, str] | None:
    """A member's name as the archive's path and the name in it; None where there is no such file."""
    path = name
    while (parent := os.path.dirname(path)) != path:
        path = parent
        if os.path.isfile(path):
            return path, name[len(path) + 1 :]
    return None


def read(path: str, member: str) -> bytes:
    """The bytes of a member by its name in the archive. PhotoError where it cannot be read."""
    return _open(path).read(member)


def _open(path: str) -> Zip | Tar:
    """An archive by its bytes, shared by all who ask for it: the list of a large one takes time and memory."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise PhotoError("unreadable", "The archive is not there any more.", "Put it back where it was.") from error
    return _kept(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=2)
def _kept(path: str, modified: int, size: int) -> Zip | Tar:
    """One that has changed is another."""
    from client.tars import Tar
    from client.zips import Zip

    return Zip(path) if first_bytes(path, 2) == b"PK" else Tar(path)


def _opens(path: str) -> bool:
    try:
        _open(path)
    except PhotoError:
        return False
    return True
