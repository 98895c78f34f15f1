"""Photos inside a .zip file. Its list is read once (0.6 kB of memory a member); members in any order, by any thread."""

from __future__ import annotations

import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import IO

from client import members, reading
from client.errors import PhotoError
from client.reading import Source
from client.sieve import Sieve
from lambda_api.schema import SNIFF_BYTES

_ENCRYPTED = 0x1
_UTF8_NAME = 0x800


class Zip:
    """One open archive; it is closed when nothing refers to it any more. Where names repeat, the last counts."""

    def __init__(self, path: str) -> None:
        """PhotoError where it cannot be opened."""
        self._path = path
        self._lock = threading.Lock()
        try:
            self._file = zipfile.ZipFile(path)
        except Exception as error:  # damaged lists raise nearly anything
            raise members.unopened() from error
        infos = (info for info in self._file.infolist() if not info.is_dir())
        self._members = {members.plain(_name(info)): info for info in infos}

    def photos(self, sieve: Sieve) -> Iterator[Source]:
        """The photos that pass the sieve; the encrypted and the too large ones with a problem."""
        for name, info in self._members.items():
            if members.is_seen(name, sieve) and sieve.takes(name, partial(self._head, info), partial(_modified, info)):
                yield self._source(f"{self._path}/{name}", info)

    def read(self, member: str) -> bytes:
        """The bytes of a member by its name in `photos`. PhotoError where they cannot be had."""
        info = self._members.get(member)
        if info is None:
            raise members.missing()
        return self._source(member, info).read()

    def _source(self, name: str, info: zipfile.ZipInfo) -> Source:
        if info.flag_bits & _ENCRYPTED:
            return Source.refused(name, members.locked())
        if info.file_size > reading.MAX_FILE_BYTES:
            return Source.refused(name, reading.too_large())
        return Source(name, reader=partial(self._read, info))

    def _read(self, info: zipfile.ZipInfo) -> bytes:
        """In small pieces: a member may hold more than it says, and its checksum is looked at on the way."""
        try:
            with self._opened(info) as stream:
                return reading.gathered(reading.chunks_of(stream))
        except PhotoError:
            raise
        except NotImplementedError as error:
            raise members.packed() from error
        except Exception as error:  # damaged members raise nearly anything
            raise members.damaged() from error

    def _head(self, info: zipfile.ZipInfo) -> bytes:
        """The first bytes; empty where they cannot be read, so that the name alone decides."""
        try:
            with self._opened(info) as stream:
                return stream.read(SNIFF_BYTES)
        except Exception:  # as above
            return b""

    @contextmanager
    def _opened(self, info: zipfile.ZipInfo) -> Iterator[IO[bytes]]:
        """One member. zipfile lets threads read side by side, but counts its open members without a lock."""
        with self._lock:
            stream = self._file.open(info)
        try:
            yield stream
        finally:
            with self._lock:
                stream.close()


def _name(info: zipfile.ZipInfo) -> str:
    """The name as meant: macOS and others write UTF-8 without the flag that says so."""
    if info.flag_bits & _UTF8_NAME:
        return info.filename
    try:
        return info.filename.encode("cp437").decode()
    except UnicodeError:
        return info.filename


def _modified(info: zipfile.ZipInfo) -> float | None:
    """The time that the archive notes, which is local; None where it notes none."""
    try:
        return time.mktime((*info.date_time, 0, 0, -1))
    except (ValueError, OverflowError):
        return None
