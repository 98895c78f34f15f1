"""One big file by HTTP, in as many goes as it takes."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidSchema, InvalidURL, MissingSchema
from urllib3.util import Retry

from ..errors import FetchError
from .defaults import URL_VARIABLE
from .finding import shown
from .jsonfile import replace_json

TIMEOUTS = (10.0, 60.0)
"""Seconds to connect in, and to wait for the next bytes."""

RETRIES = Retry(
    total=4,
    backoff_factor=0.5,
    status_forcelist=(429, 500, 502, 503, 504),
    raise_on_status=False,
    # A server may ask for an hour; the error and another run serve better than silence.
    respect_retry_after_header=False,
)
"""Refused connections and busy servers are tried again after 0, 1, 2 and 4 seconds."""

MAX_RESUMES = 20
"""A stream that breaks off is gone on with so many times, as long as each go brings bytes."""

_CHUNK = 1 << 16

Progress = Callable[[str, int, "int | None"], None]
"""Called with the step's name, the bytes done, and the bytes in all where they are known."""


@dataclass(frozen=True)
class _Begun:
    """What a partial file is a part of: kept beside it, so that another run can tell whether it may go on."""

    url: str
    validator: str
    length: int | None


def download(url: str, part: Path, progress: Progress, tell: Callable[[str], None]) -> None:
    """Download `url` into `part`, going on where an earlier run stopped.

    A file that changed on the server meanwhile, or whose server cannot go on, is started over. FetchError if
    there is no getting it; what is there by then stays for the next run.
    """
    if is_whole(part, url):
        return
    with writing(part), _session() as session:
        part.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(MAX_RESUMES):
            before = _size(part)
            try:
                _go_on(session, url, part, progress, tell)
                return
            except (InvalidSchema, InvalidURL, MissingSchema):
                raise FetchError(f"{url} is no http or https address. {_MEND}") from None
            except requests.RequestException as error:
                if _size(part) == before:
                    raise FetchError(_broken(url, part, error)) from None
                tell(f"the connection broke off at {megabytes(_size(part))}, going on")
    raise FetchError(f"{url} broke off {MAX_RESUMES} times. Run the command again to go on.")


_MEND = f"Give another address by --url or {URL_VARIABLE}."


def _broken(url: str, part: Path, error: Exception) -> str:
    kept = f"{megabytes(_size(part))} are kept: run the command again to go on. " if _size(part) else ""
    return f"{url} cannot be reached ({type(error).__name__}). {kept or 'Check the network. '}{_MEND}"


def is_whole(part: Path, url: str) -> bool:
    """Whether a partial file is all of `url` already: its run ended between download and unpacking."""
    begun = _begun(part)
    return begun is not None and begun.url == url and begun.length == _size(part)


def discard(part: Path) -> None:
    """Remove a partial file and the note beside it."""
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def megabytes(size: int) -> str:
    """A number of bytes as people read it."""
    return f"{size / 1e6:,.1f} MB"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """FetchError in plain words where the file system refuses what is written at `path`."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise FetchError(_full(path)) from None
        raise FetchError(f"{shown(str(error.filename or path))} cannot be written: {error.strerror}.") from None


def require_space(path: Path, size: int) -> None:
    """FetchError unless the disk of `path` has room for so many bytes."""
    free = shutil.disk_usage(path.parent).free
    if size > free:
        raise FetchError(f"{_full(path)} {megabytes(size)} are needed, {megabytes(free)} are free.")


def _full(path: Path) -> str:
    return f"The disk of {shown(str(path))} is full. Free some space and run the command again, or choose another DIR."


def _session() -> requests.Session:
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=RETRIES))
    # The bytes as they are: a compressed stream has other offsets.
    session.headers["Accept-Encoding"] = "identity"
    return session


def _go_on(session: requests.Session, url: str, part: Path, progress: Progress, tell: Callable[[str], None]) -> None:
    begun, offset = _begun(part), _size(part)
    headers = {}
    if begun and begun.url == url and begun.validator and offset:
        headers = {"Range": f"bytes={offset}-", "If-Range": begun.validator}
    with session.get(url, headers=headers, stream=True, timeout=TIMEOUTS) as response:
        if response.status_code == 206 and _starts_at(response, offset):
            _append(response, part, offset, progress)
        elif response.status_code == 200:
            if offset:
                tell(f"{megabytes(offset)} cannot be gone on with (changed on the server?), starting over")
            # The old bytes go first: beside a new note they would pass for its beginning.
            discard(part)
            _write_note(response, url, part)
            _append(response, part, 0, progress)
        elif headers and response.status_code in (206, 416):
            discard(part)
            _go_on(session, url, part, progress, tell)
        else:
            raise FetchError(f"{url} answered {response.status_code} {response.reason}. {_MEND}")


def _starts_at(response: requests.Response, offset: int) -> bool:
    return response.headers.get("Content-Range", "").startswith(f"bytes {offset}-")


def _append(response: requests.Response, part: Path, offset: int, progress: Progress) -> None:
    length = _length(response)
    total = None if length is None else offset + length
    require_space(part, length or 0)
    with part.open("r+b" if offset else "wb") as stream:
        done = stream.seek(offset)
        for chunk in response.iter_content(_CHUNK):
            done += stream.write(chunk)
            progress("downloading", done, total)


def _write_note(response: requests.Response, url: str, part: Path) -> None:
    etag = response.headers.get("ETag", "")
    # If-Range takes no weak ETag; the date is the next best.
    validator = response.headers.get("Last-Modified", "") if etag.startswith("W/") or not etag else etag
    replace_json(asdict(_Begun(url, validator, _length(response))), _note(part))


def _length(response: requests.Response) -> int | None:
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _begun(part: Path) -> _Begun | None:
    """The note beside a partial file; None if there is none that can be read."""
    try:
        return _Begun(**json.loads(_note(part).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
