"""What outlasts a crash, and who may write: locks beside files, and names that are on the disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import RawIOBase
from pathlib import Path

from client.errors import UsageError


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other runs from a file by a hidden one beside it; it is free again when the process ends, however that ends.

    UsageError where another run has it, or where the folder cannot be written to.
    """
    import filelock

    lock = filelock.FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise UsageError(f"Another run writes to {path}.", "Wait for its end, or choose another name.") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be locked: {error.strerror}.", "Choose a folder you may write to.") from error
    try:
        yield
    finally:
        with suppress(OSError):
            os.unlink(lock.lock_file)
        lock.release()


def sync_folder(folder: Path) -> None:
    """See to it that the disk has the names in a folder: a power loss may bring back the old ones."""
    if os.name != "nt":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def append(file: RawIOBase, data: bytes) -> None:
    """Add all of it to an unbuffered file, or nothing, with an OSError, where the disk is full."""
    end, written = file.seek(0, os.SEEK_END), 0
    try:
        while written < len(data):
            written += file.write(data[written:]) or 0
    except OSError:
        with suppress(OSError):
            file.truncate(end)
        raise
