"""From the PATHs of the command line to single photos: files, folders, globs, names on stdin, URLs."""

from __future__ import annotations

import glob
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from client.errors import UsageError
from client.reading import is_url
from lambda_api.schema import SNIFF_BYTES, sniff_media_type

PHOTO_SUFFIXES = frozenset(
    {
        ".jpg",
        ".jpeg",
        ".jpe",
        ".mpo",
        ".png",
        ".webp",
        ".gif",
        ".bmp",
        ".tif",
        ".tiff",
        ".avif",
        ".heic",
        ".heif",
    }
)
"""Suffixes that make a file in a folder a photo; any other file is one if its first bytes say so."""

STDIN = "-"


@dataclass(frozen=True)
class Source:
    """One photo to be: its name, and what already stands against reading it, if anything does."""

    name: str
    problem: str = ""


class Listing:
    """The photos behind some PATHs, found while iterating; the counts are complete at the end.

    Folders are walked in the order of names, without hidden files and folders. Links to files count as
    files; links to folders inside are not followed, which also makes loops harmless. Iterate it once.
    """

    def __init__(self, paths: Sequence[str], stdin: BinaryIO | None = None) -> None:
        """UsageError, naming it, for a PATH that is not there. `stdin` replaces the process's own."""
        self.ignored = 0
        """Files in folders that are no photos."""
        self.links = 0
        """Linked folders that were not followed."""
        self._stdin = stdin
        self._seen: set[str] = set()
        self._roots = [root for path in paths for root in _expanded(path)]

    def __iter__(self) -> Iterator[Source]:
        for root in self._roots:
            for name in self._stdin_names() if root == STDIN else (root,):
                yield from self._new(self._below(name))

    def _new(self, sources: Iterable[Source]) -> Iterator[Source]:
        """Only those not named before: `a.jpg` and `./a.jpg` are one photo."""
        for source in sources:
            key = source.name if is_url(source.name) else os.path.abspath(source.name)
            if key not in self._seen:
                self._seen.add(key)
                yield source

    def _below(self, name: str) -> Iterator[Source]:
        if not is_url(name) and _is_folder(name):
            yield from self._walk(name)
        else:
            yield Source(name)

    def _stdin_names(self) -> Iterator[str]:
        for line in self._stdin or sys.stdin.buffer:
            if name := os.fsdecode(line.rstrip(b"\r\n")):
                yield name

    def _walk(self, folder: str) -> Iterator[Source]:
        try:
            with os.scandir(folder) as entries:
                found = sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
        except OSError as error:
            yield Source(folder, f"The folder cannot be read: {error.strerror}.")
            return
        for entry in found:
            if entry.is_dir(follow_symlinks=False):
                yield from self._walk(entry.path)
            elif _is_folder(entry.path):
                self.links += 1
            elif _is_photo(entry.path):
                yield Source(entry.path)
            else:
                self.ignored += 1


def _expanded(path: str) -> list[str]:
    """A PATH as names that exist; globs are expanded here where the shell has not done it."""
    if path == STDIN or is_url(path) or _exists(path):
        return [path]
    if glob.has_magic(path):
        if found := sorted(glob.glob(path, recursive=True)):
            return found
        raise UsageError(f"Nothing matches {path}.", "Check the pattern, or name the folder itself.")
    raise UsageError(f"There is no file or folder {path}.", "Check the spelling; names with spaces need quotes.")


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


def _is_photo(path: str) -> bool:
    """Whether a file in a folder is a photo. One that cannot be looked at counts by its suffix alone."""
    if os.path.splitext(path)[1].lower() in PHOTO_SUFFIXES:
        return True
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait for its writer
            return False
        with open(path, "rb") as stream:
            return sniff_media_type(stream.read(SNIFF_BYTES)) is not None
    except OSError:
        return False
