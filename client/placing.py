"""Puts a file at a new name, as a link, a copy or itself: whole or not at all, and never over another file."""

from __future__ import annotations

import errno
import filecmp
import hashlib
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from client import disk

_FICLONE = 0x40049409
"""Linux's request to share a file's blocks with another until one of them is changed (ioctl_ficlone(2))."""


def link(source: Path, target: Path) -> str:
    """A hard link; a symbolic one where that cannot be, as on another disk; a copy where there are no links at all.

    Hard links take no space, need no rights on Windows, and hold whichever of the two folders is moved, renamed or
    deleted. Says which it was: `link` or `copy`. FileExistsError where the target is taken.
    """
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        return _symbolic(source, target)
    return "link"


def copy(source: Path, target: Path) -> str:
    """A copy with times and rights, which shares its blocks where the file system can. FileExistsError as above."""
    _filled(target, lambda part: _copied(source, part, sync=False))
    return "copy"


def write(data: bytes, target: Path) -> None:
    """A new file with these bytes. FileExistsError as above."""
    _filled(target, lambda part: part.write_bytes(data))


def move(source: Path, target: Path) -> str:
    """The file itself. From another disk it is copied, synced and compared before it is deleted there."""
    try:
        _renamed(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _filled(target, lambda part: _copied(source, part, sync=True))
        disk.sync_folder(target.parent)
        _delete(source, target)
    return "move"


def part_of(target: Path) -> Path:
    """Where a file is while it is made; what a killed run may leave."""
    return target.with_name(f".{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]}.part")


def sidecar_of(photo: Path) -> Path:
    """The XMP file that belongs to a photo: `dog.jpg.xmp`, which unlike `dog.xmp` is not that of `dog.png`, too."""
    return photo.with_name(photo.name + ".xmp")


def same_bytes(one: Path, other: Path) -> bool:
    """Whether both are files with the same content; False where one is missing."""
    if not (one.is_file() and other.is_file()):
        return False
    return os.path.samefile(one, other) or filecmp.cmp(one, other, shallow=False)


def looks_same(one: Path, other: Path) -> bool:
    """The same, but believing size and time where both agree, as after a copy: nothing is read then."""
    return other.is_file() and filecmp.cmp(one, other)


def _symbolic(source: Path, target: Path) -> str:
    try:
        os.symlink(source, target)
    except FileExistsError:
        raise
    except OSError:
        return copy(source, target)
    return "link"


def _filled(target: Path, fill: Callable[[Path], object]) -> None:
    part = part_of(target)
    try:
        fill(part)
        _renamed(part, target)
    finally:
        part.unlink(missing_ok=True)


def _copied(source: Path, part: Path, *, sync: bool) -> None:
    if not _cloned(source, part):
        shutil.copyfile(source, part)
    if sync:
        with open(part, "rb+") as stream:
            os.fsync(stream.fileno())
    shutil.copystat(source, part)


def _cloned(source: Path, part: Path) -> bool:
    if sys.platform != "linux":
        return False
    import fcntl

    with open(source, "rb") as old, open(part, "wb") as new, suppress(OSError):
        fcntl.ioctl(new, _FICLONE, old.fileno())
        return True
    return False


def _renamed(source: Path, target: Path) -> None:
    """os.rename would overwrite what has come there meanwhile; a link does not."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # there are no hard links here
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        os.rename(source, target)
        return
    _delete(source, target)


def _delete(source: Path, target: Path) -> None:
    """Delete the source, of which the target is another name or a copy; where that fails, the target.

    An interruption leaves both: only an error tells for certain that the source is still there.
    """
    try:
        if not same_bytes(source, target):
            raise OSError(errno.EIO, "The copy differs")
        source.unlink()
    except OSError:
        target.unlink()
        raise
