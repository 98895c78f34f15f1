"""From whatever names or holds a photo to its bytes. Every failure is a PhotoError with no path in it."""

from __future__ import annotations

import io
import os
import time
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from client.errors import PhotoError

if TYPE_CHECKING:
    import requests

MAX_FILE_BYTES = 200_000_000
"""Larger files are refused unread: no photo is that large, and each worker holds one in memory."""

FETCH_SECONDS = 120
"""Longest download of a photo named by URL, in seconds: a slow drip must not hold a worker for ever."""

_CHUNK = 1 << 16

Photo: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO
"""What a photo can be given as: a path, an `http(s)://` URL, its bytes, or a binary file."""


def is_url(name: str) -> bool:
    """Whether a name is an `http(s)://` address rather than a path."""
    return name[:8].lower().startswith(("http://", "https://"))


def name_of(photo: Photo) -> str:
    """The name a result line gives a photo; empty for bytes and for files without a name."""
    if isinstance(photo, (str, os.PathLike)):
        return os.fspath(photo)
    name = getattr(photo, "name", "")
    return name if isinstance(name, str) else ""


def read(photo: Photo, *, timeout: float = 30.0) -> bytes:
    """All bytes of a photo; `timeout` in seconds is for URLs. PhotoError `unreadable` or `too_large`."""
    if isinstance(photo, (bytes, bytearray, memoryview)):
        return _within_limit(bytes(photo))
    if isinstance(photo, (str, os.PathLike)):
        name = os.fspath(photo)
        return _fetch(name, timeout) if is_url(name) else _read_file(name)
    return _read_stream(photo)


def _read_file(path: str) -> bytes:
    try:
        with open(path, "rb") as stream:
            if os.fstat(stream.fileno()).st_size > MAX_FILE_BYTES:
                raise _too_large()
            return _read_stream(stream)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or "the name cannot be used"
        raise _unreadable(f"The file cannot be read: {reason}.") from error


def _read_stream(stream: BinaryIO) -> bytes:
    return _within_limit(stream.read(MAX_FILE_BYTES + 1))


def _fetch(url: str, timeout: float) -> bytes:
    """Download a photo the user named. The API's key stays out of it: this is another server."""
    import requests

    try:
        with requests.get(url, stream=True, timeout=timeout, headers={"Accept": "image/*"}) as response:
            if not response.ok:
                raise _unreadable(f"The address answered with status {response.status_code}.")
            return _drain(response)
    except requests.Timeout as error:
        raise _unreadable(f"The address did not answer within {timeout:g} s.") from error
    except (requests.RequestException, ValueError) as error:  # ValueError: an address that cannot be parsed
        raise _unreadable("The address cannot be reached.") from error


def _drain(response: requests.Response) -> bytes:
    deadline = time.monotonic() + FETCH_SECONDS
    buffer = io.BytesIO()
    for chunk in response.iter_content(_CHUNK):
        buffer.write(chunk)
        if buffer.tell() > MAX_FILE_BYTES:
            raise _too_large()
        if time.monotonic() > deadline:
            raise _unreadable(f"The download took more than {FETCH_SECONDS} s.")
    return buffer.getvalue()


def _within_limit(data: bytes) -> bytes:
    if len(data) > MAX_FILE_BYTES:
        raise _too_large()
    return data


def _too_large() -> PhotoError:
    fact = f"The file is larger than {MAX_FILE_BYTES // 1_000_000} MB."
    return PhotoError("too_large", fact, "Is it a photo? Shrink it with another program.")


def _unreadable(fact: str) -> PhotoError:
    return PhotoError("unreadable", fact, "Check that it is still there and that you may read it.")
