"""From the PATHs of the command line to single photos: files, folders, globs, archives, S3, URLs, lists of names."""

from __future__ import annotations

import glob
import io
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import BinaryIO, cast

from client import archives, buckets, folders, reading
from client.errors import ClientError, UsageError
from client.kinds import PHOTO_SUFFIXES, first_bytes, kind_of, refusal
from client.reading import CHUNK, Source, is_url
from client.rules import EVERYTHING, Rules
from client.sieve import Sieve

__all__ = ["PHOTO_SUFFIXES", "STDIN", "Listing", "Rules", "Source", "read_again"]

STDIN = "-"


class Listing(Sieve):
    """The photos behind some PATHs, found while iterating; the counts are complete at the end.

    Folders, archives and S3 prefixes are gone through by the rules. What is named itself is always taken, raw files
    and videos as sources with a problem. Iterate it once, in one thread; memory does not grow but for a hash a photo.
    """

    def __init__(
        self,
        paths: Sequence[str],
        rules: Rules = EVERYTHING,
        files_from: str | None = None,
        stdin: BinaryIO | None = None,
    ) -> None:
        """UsageError, naming it, for a PATH that is not there, and for an archive or a bucket that cannot be opened.

        UnreachableError where S3 cannot be asked. `files_from` is a file of further names, or `-`: one a line, or with
        NULs between them as `find -print0` writes. `stdin` replaces the process's own.
        """
        super().__init__(rules)
        self._files_from = files_from
        self._stdin = stdin
        self._seen: set[int] = set()
        self._paths = [name for path in paths for name in _expanded(path)]
        for name in self._paths:
            _check(name)
        if files_from not in (None, STDIN) and not _exists(str(files_from)):
            raise UsageError(
                f"There is no file {files_from}.", "Check the spelling, or give the names on stdin with -."
            )

    @property
    def paths(self) -> Sequence[str]:
        """The PATHs, with globs as what they have found; without the names of lists."""
        return self._paths

    @property
    def named(self) -> str:
        """All that was named, in one line for people."""
        return ", ".join((*self._paths, *([self._files_from] if self._files_from else ())))

    @property
    def once(self) -> bool:
        """Whether the names can be had once only: another listing would find none, or take some of them away."""
        files = self._files_from
        return STDIN in (*self._paths, files) or (files is not None and not os.path.isfile(files))

    @property
    def cheap(self) -> bool:
        """Whether another listing, to count, costs next to nothing: no requests to S3, and nothing to unpack."""
        return not self.once and not any(
            buckets.is_uri(path) or (archives.is_archive(path) and not path.lower().endswith(".zip"))
            for path in self._paths
            if not is_url(path) and not _is_folder(path)
        )

    def __iter__(self) -> Iterator[Source]:
        listed = self._listed(self._files_from) if self._files_from else ()
        for path in self._paths:
            for name in self._listed(STDIN) if path == STDIN else (path,):
                yield from self._new(self._below(name))
        for name in listed:
            yield from self._new(self._below(name))

    def _new(self, sources: Iterable[Source]) -> Iterator[Source]:
        """Only those not named before: `a.jpg` and `./a.jpg` are one photo."""
        for source in sources:
            name = source.name
            key = hash(name if is_url(name) or buckets.is_uri(name) else os.path.abspath(name))
            if key not in self._seen:
                self._seen.add(key)
                yield source

    def _below(self, name: str) -> Iterator[Source]:
        """The photos that a name stands for; itself with a problem where what it names cannot be listed."""
        try:
            if is_url(name):
                yield Source(name)
            elif buckets.is_uri(name):
                yield from buckets.photos(name, self)
            elif _is_folder(name):
                yield from folders.photos(name, self)
            elif archives.is_archive(name):
                yield from archives.photos(name, self)
            else:
                yield named_file(name)
        except ClientError as error:
            yield Source.refused(name, error)

    def _listed(self, file: str) -> Iterator[str]:
        """The names in a file or on stdin, of any bytes."""
        if file == STDIN:
            yield from _names(self._stdin or sys.stdin.buffer)
            return
        try:
            with open(file, "rb") as stream:
                yield from _names(stream)
        except OSError as error:
            raise UsageError(f"{file} cannot be read: {error.strerror}.", "Check that you may read it.") from error


def named_file(name: str) -> Source:
    """The source of a file that is named itself: whatever it is, but a raw file or a video with the reason why not."""
    error = refusal(kind_of(name, lambda: first_bytes(name)))
    return Source.refused(name, error) if error else Source(name)


def read_again(name: str, timeout: float = 30.0) -> bytes:
    """The bytes of a photo by the name that its result line has: a path, a URL, a member of an archive, an S3 URI.

    PhotoError where they cannot be had any more; `timeout` in seconds is for URLs. Archives are kept open between
    calls, and those that cannot be read at random are read on from where they are: ask in the order of the lines.
    """
    if buckets.is_uri(name):
        return buckets.read(name)
    if not is_url(name) and not _exists(name) and (found := archives.split(name)):
        return archives.read(*found)
    return reading.read(name, timeout=timeout)


def _names(stream: BinaryIO) -> Iterator[str]:
    """Names as they come, with NULs between them where there is one in the first bytes that arrive, else one a line."""
    chunks = iter(lambda: cast(io.BufferedIOBase, stream).read1(CHUNK), b"")
    first = next(chunks, b"")
    end, ends, rest = (b"\0", b"", b"") if b"\0" in first else (b"\n", b"\r", b"")
    for chunk in chain((first,), chunks, (end,)):  # the last name may lack its end
        *names, rest = (rest + chunk).split(end)
        yield from (os.fsdecode(name) for name in (found.removesuffix(ends) for found in names) if name)


def _check(name: str) -> None:
    """ClientError where a PATH cannot be listed at all."""
    if buckets.is_uri(name):
        buckets.check(name)
    elif not is_url(name) and archives.is_archive(name):
        archives.check(name)


def _expanded(path: str) -> list[str]:
    """A PATH as names that exist; globs are expanded here where the shell has not done it."""
    if path == STDIN or is_url(path) or buckets.is_uri(path) or _exists(path):
        return [path]
    if address := re.match(r"[a-z][a-z0-9+.-]*://", path, re.IGNORECASE):
        fact = f"Addresses that begin with {address[0]} are not read."
        raise UsageError(fact, "Name one of http, https or s3, or copy the photos here.")
    if glob.has_magic(path):
        if found := sorted(name for name in glob.glob(path, recursive=True) if not _is_behind_a_link(name, path)):
            return found
        raise UsageError(f"Nothing matches {path}.", "Check the pattern, or name the folder itself.")
    raise UsageError(f"There is no file or folder {path}.", "Check the spelling; names with spaces need quotes.")


def _is_behind_a_link(name: str, pattern: str) -> bool:
    """Whether `**` went through a linked folder, which may lead back to where it is."""
    if "**" not in pattern:
        return False
    start = pattern[: pattern.index("**")].count(os.sep)
    parts = name.split(os.sep)
    return any(os.path.islink(os.sep.join(parts[:n])) for n in range(start + 1, len(parts)))


def _exists(path: str) -> bool:
    try:
        return os.path.lexists(path)
    except ValueError:  # a NUL in the name
        return False


def _is_folder(path: str) -> bool:
    try:
        return os.path.isdir(path)
    except ValueError:
        return False
