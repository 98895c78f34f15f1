"""Files that are whole or not there."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from client import output
from client.errors import UsageError


@contextmanager
def in_place_of(path: Path, *, force: bool) -> Iterator[Path]:
    """An empty file beside `path`, to be written to, which takes its place at the end, but not after an exception.

    UsageError where `path` exists and `force` is off, or where it cannot be written. A link stays one, and a device or
    a pipe, such as /dev/stdout, is written to itself.
    """
    output.check_file(path, force=force)
    path = path.resolve()
    if path.exists() and not path.is_file():
        yield path
        return
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        open(part, "xb").close()
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.", "Choose another name or folder.") from error
    try:
        yield part
        _sync(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Without it a power loss may leave the new name on an empty file."""
    with open(path, "rb+") as stream:
        os.fsync(stream.fileno())
