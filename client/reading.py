"""From whatever names or holds a photo to its bytes. Every failure is a PhotoError with no path in it."""

from __future__ import annotations

import io
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import IO, TYPE_CHECKING, BinaryIO, TypeAlias

from client.errors import ClientError, PhotoError

if TYPE_CHECKING:
    import requests

MAX_FILE_BYTES = 200_000_000
"""Larger files are refused unread: no photo is that large, and each worker holds one in memory."""

FETCH_SECONDS = 120
"""Longest download of a photo named by URL, in seconds: a slow drip must not hold a worker for ever."""

CHUNK = 1 << 16
"""Bytes taken at a time from what cannot tell its size, or lies about it."""

_CHECK = "Check that it is still there and that you may read it."

Photo: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO
"""What a photo can be given as: a path, an `http(s)://` URL, its bytes, or a binary file."""


@dataclass(frozen=True, slots=True)
class Source:
    """One photo to be: its name, and the way to its bytes. A hundred thousand of them take some 25 MB.

    `problem` is what already stands against reading it, with `code` and `hint` as in a PhotoError. `data` are
    bytes that cannot be had again later, as those of a compressed archive; `reader` gives them where the name
    is neither a path nor a URL.
    """

    name: str
    problem: str = ""
    code: str = "unreadable"
    hint: str = _CHECK
    data: bytes | None = field(default=None, repr=False)
    reader: Callable[[], bytes] | None = field(default=None, repr=False)

    @classmethod
    def refused(cls, name: str, error: ClientError) -> Source:
        """A source that cannot be read, for the reason of this error."""
        return cls(name, error.detail, error.code, error.hint)

    def read(self, timeout: float = 30.0) -> bytes:
        """All bytes; `timeout` in seconds is for URLs. PhotoError: its problem, or as `read` of this module."""
        if self.problem:
            raise PhotoError(self.code, self.problem, self.hint)
        if self.data is not None:
            return self.data
        return self.reader() if self.reader else read(self.name, timeout=timeout)


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


def gathered(chunks: Iterable[bytes], limit: int = MAX_FILE_BYTES) -> bytes:
    """Chunks as one, without a second copy of them; PhotoError `too_large` as soon as they are more than `limit`."""
    buffer = io.BytesIO()
    for chunk in chunks:
        buffer.write(chunk)
        if buffer.tell() > limit:
            raise too_large(limit)
    return buffer.getvalue()


def chunks_of(stream: IO[bytes]) -> Iterator[bytes]:
    """What a stream still holds, in small pieces."""
    return iter(partial(stream.read, CHUNK), b"")


def too_large(limit: int = MAX_FILE_BYTES) -> PhotoError:
    """The refusal of more bytes than `limit`."""
    fact = f"The file is larger than {limit // 1_000_000} MB."
    return PhotoError("too_large", fact, "Is it a photo? Shrink it with another program.")


def _read_file(path: str) -> bytes:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe without a writer would be waited for without end
            raise _unreadable("It is a folder, a pipe or a device.")
        with open(path, "rb") as stream:
            if os.fstat(stream.fileno()).st_size > MAX_FILE_BYTES:
                raise too_large()
            return _read_stream(stream)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or "the name cannot be used"
        raise _unreadable(f"The file cannot be read: {reason}.") from error


def _read_stream(stream: BinaryIO) -> bytes:
    return gathered(chunks_of(stream))


def _fetch(url: str, timeout: float) -> bytes:
    """Download a photo the user named. The API's key stays out of it: this is another server."""
    import requests
    from urllib3.exceptions import HTTPError, ReadTimeoutError

    try:
        with requests.get(url, stream=True, timeout=timeout, headers={"Accept": "image/*"}) as response:
            if not response.ok:
                raise _unreadable(f"The address answered with status {response.status_code}.")
            return gathered(_in_time(response))
    except (requests.Timeout, ReadTimeoutError) as error:
        raise _unreadable(f"The address did not answer within {timeout:g} s.") from error
    except (requests.RequestException, HTTPError, ValueError) as error:  # ValueError: an address that cannot be parsed
        raise _unreadable("The address cannot be reached.") from error


def _in_time(response: requests.Response) -> Iterator[bytes]:
    deadline = time.monotonic() + FETCH_SECONDS
    while chunk := response.raw.read1(CHUNK, decode_content=True):  # what there is: a drip must not fill a chunk first
        yield chunk
        if time.monotonic() > deadline:
            raise _unreadable(f"The download took more than {FETCH_SECONDS} s.")


def _within_limit(data: bytes) -> bytes:
    if len(data) > MAX_FILE_BYTES:
        raise too_large()
    return data


def _unreadable(fact: str) -> PhotoError:
    return PhotoError("unreadable", fact, _CHECK)
