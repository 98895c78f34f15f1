"""Photos inside a .tar file, packed or not: read once from the beginning to the end, each with its bytes."""

from __future__ import annotations

import bz2
import gzip
import io
import logging
import lzma
import tarfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from typing import Any, BinaryIO, cast

from client import members, reading
from client.errors import PhotoError
from client.kinds import Kind, first_bytes, kind_of
from client.reading import Source
from client.sieve import Sieve
from lambda_api.schema import SNIFF_BYTES

MAX_READ_BYTES = 16_000_000
"""Most bytes taken at once: damaged and hostile headers say that they go on for gigabytes."""

RECENT_BYTES = 64_000_000
"""Photos just passed that `Tar.read` remembers: those asked for are nearly in order, since threads overtake."""

_OPENERS: dict[bytes, Callable[[str], Any]] = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}

log = logging.getLogger(__name__)


class Tar:
    """One archive. `photos` opens it anew each time; `read` keeps it open. Where names repeat, the first counts."""

    def __init__(self, path: str) -> None:
        """PhotoError where it cannot be opened."""
        self._path = path
        self._lock = threading.Lock()
        self._recent: OrderedDict[str, bytes] = OrderedDict()
        self._rest: Iterator[_Member] = iter(())
        try:
            with closing(_members(path)) as found:
                next(found, None)
        except Exception as error:  # damaged archives raise nearly anything
            raise members.unopened() from error

    def photos(self, sieve: Sieve) -> Iterator[Source]:
        """The photos that pass the sieve, with their bytes; links and too large ones with a problem."""
        try:
            for member in _members(self._path):
                if _passes(member, sieve):
                    yield self._source(member)
        except Exception:  # as above
            log.debug("the archive breaks off", exc_info=True)
            yield Source.refused(self._path, members.broken())

    def read(self, member: str) -> bytes:
        """The bytes of a member by its name in `photos`. PhotoError where they cannot be had.

        Goes on from the member before, and begins again for one that lies farther back: 10,000 in order take one pass.
        """
        with self._lock:
            for _ in range(2):
                if member in self._recent:
                    return self._recent[member]
                if (data := self._ahead(member)) is not None:
                    return data
                self._rest = _members(self._path)
        raise members.missing()

    def _source(self, member: _Member) -> Source:
        name = f"{self._path}/{member.name}"
        try:
            return Source(name, data=member.read())
        except PhotoError as error:
            return Source.refused(name, error)

    def _ahead(self, name: str) -> bytes | None:
        """The bytes of a member that is still to come, remembering the photos before it; None where there is none."""
        try:
            for member in self._rest:
                if member.name == name:
                    return self._remembered(member)
                if kind_of(member.name, member.head) is Kind.photo:
                    with suppress(PhotoError):
                        self._remembered(member)
        except PhotoError:
            raise
        except Exception as error:  # as above
            raise members.broken() from error
        return None

    def _remembered(self, member: _Member) -> bytes:
        data = self._recent[member.name] = member.read()
        while len(self._recent) > 1 and sum(map(len, self._recent.values())) > RECENT_BYTES:
            self._recent.popitem(last=False)
        return data


class _Member:
    """One member that is no folder; its bytes can be read while its turn lasts."""

    def __init__(self, info: tarfile.TarInfo, tar: tarfile.TarFile) -> None:
        self.name = members.plain(info.name)
        self.is_link = info.islnk() or info.issym()
        self.is_device = not (self.is_link or info.isfile())
        self._info = info
        content = tar.extractfile(info) if info.isfile() else io.BufferedReader(io.BytesIO())
        self._content = cast(io.BufferedReader, content)

    def modified(self) -> float:
        return float(self._info.mtime)

    def head(self) -> bytes:
        """The first bytes, which `read` gives again."""
        return b"" if self._info.issparse() else self._content.peek(SNIFF_BYTES)[:SNIFF_BYTES]

    def read(self) -> bytes:
        """All bytes. PhotoError where they are too many or not its own; what tarfile and the unpackers raise."""
        if self.is_link:
            raise members.linked()
        if self._info.issparse():  # its map of holes can be hostile, and no photo has holes
            raise members.packed()
        if self._info.size > reading.MAX_FILE_BYTES:
            raise reading.too_large()
        return reading.gathered(reading.chunks_of(self._content))


class _Bounded:
    """What tarfile reads from: never much at once, whatever a header asks for."""

    def __init__(self, stream: BinaryIO) -> None:
        self.seek, self.tell, self.seekable = stream.seek, stream.tell, stream.seekable
        self._stream = stream
        self.last = b""
        """What was read last."""

    def read(self, size: int) -> bytes:
        if not 0 <= size <= MAX_READ_BYTES:
            raise tarfile.ReadError("a header is damaged")
        self.last = self._stream.read(size)
        return self.last


def _members(path: str) -> Generator[_Member, None, None]:
    """The members in their order; only the one whose turn it is is in memory. Raises nearly anything."""
    with _OPENERS.get(first_bytes(path, 2), _open)(path) as stream:
        bounded = _Bounded(stream)
        with tarfile.open(fileobj=cast(BinaryIO, bounded), mode="r:", encoding="utf-8") as tar:
            while (info := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # else it keeps the headers of all
                if info.size < 0:  # would lead back to itself
                    raise tarfile.ReadError("a header is damaged")
                if not info.isdir():
                    yield _Member(info, tar)
            if bounded.last.strip(b"\0"):  # tarfile takes anything that is no header for the end
                raise tarfile.ReadError("a header is damaged")
        for _ in zip(range(MAX_READ_BYTES // reading.CHUNK), reading.chunks_of(stream), strict=False):
            pass  # the checksum over all that was packed comes last


def _open(path: str) -> BinaryIO:
    return open(path, "rb")


def _passes(member: _Member, sieve: Sieve) -> bool:
    if not members.is_seen(member.name, sieve):
        return False
    sieve.ignored += member.is_device
    return not member.is_device and sieve.takes(member.name, member.head, member.modified)
