"""New photos in a folder as they arrive.

Three things make a file a candidate: the list of what is there at the start, what the operating system tells
(`changes`), and further lists every minute, since systems lose events when there are too many, and never hear of what
other machines write to a disk on the network. It has arrived once it stands still.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import nullcontext
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from client import folders
from client.errors import UsageError
from client.rules import EVERYTHING, Rules
from client.sieve import Sieve
from client.sources import Source

if TYPE_CHECKING:
    from client.changes import Changes

TICK_SECONDS = 0.25
"""Seconds between looks at what has happened."""

RELIST_SECONDS = 60.0
"""Seconds between lists of the whole folder, where events tell the rest."""

ANEW_SECONDS = 5.0
"""Seconds between lists at least, where a folder has come or events may be lost."""

UNFINISHED = ("*.crdownload", "*.download", "*.filepart", "*.opdownload", "*.part", "*.partial", "*.tmp")
"""Names that browsers and others give to files, or to folders of them, until they are whole."""

_Stamp: TypeAlias = tuple[int, int]
"""Size in bytes, and modification time in nanoseconds."""


def watch(
    folder: Path,
    *,
    rules: Rules = EVERYTHING,
    settle: float = 2.0,
    poll: float | None = None,
    stop: threading.Event | None = None,
) -> Generator[Source | None, None, None]:
    """The photos in a folder and those below, then new and changed ones as they arrive, until `stop` is set.

    None comes where there is nothing right now, at least every half second while nobody holds the iterator up. A file
    has arrived when its size and time have stood still for `settle` seconds, or when it was renamed into place; empty
    and unfinished ones (`.part`, `.crdownload`, …) have not. With `poll` the folder is listed every so many seconds
    and the system is not asked for events, which it does not have for disks on the network. Memory is some 200 bytes a
    photo.

    UsageError where there is no such folder, where the watchdog library is not installed and `poll` not given, and, in
    the middle, where the folder goes away.
    """
    if not folder.is_dir():
        raise UsageError(f"There is no folder {folder}.", "Check the spelling, or create it first.")
    changes = _changes(folder) if poll is None else None
    wanted = replace(rules, exclude=(*rules.exclude, *UNFINISHED))
    return _Watch(folder, _Arrivals(str(folder), wanted, settle), changes, poll, stop or threading.Event()).sources()


def _changes(folder: Path) -> Changes:
    try:
        from client.changes import Changes
    except ImportError:
        fact = "The watchdog library is not installed."
        raise UsageError(fact, "Run: pip install 'whippet[watch]', or use --poll 10.") from None
    return Changes(str(folder))


class _Watch:
    """Asks what has changed and what is due, in turn."""

    def __init__(
        self,
        folder: Path,
        arrivals: _Arrivals,
        changes: Changes | None,
        poll: float | None,
        stop: threading.Event,
    ) -> None:
        self._folder, self._arrivals, self._changes, self._stop = folder, arrivals, changes, stop
        self._every = RELIST_SECONDS if poll is None else poll
        self._listed = self._next_list = 0.0

    def sources(self) -> Generator[Source | None, None, None]:
        with self._changes or nullcontext():  # from here on nothing is missed: the first list comes after it
            while not self._stop.is_set():
                self._check()
                for found in self._round():
                    if self._stop.is_set():
                        return
                    yield found
                yield None
                self._stop.wait(TICK_SECONDS)

    def _round(self) -> Iterator[Source | None]:
        yield from self._changed()
        if time.monotonic() >= self._next_list:
            yield from self._arrivals.listed()
            self._listed = time.monotonic()
            self._next_list = self._listed + self._every
        yield from self._arrivals.due()

    def _changed(self) -> Iterator[Source | None]:
        if self._changes is None:
            return
        touched = self._changes.take()
        if touched.anew:
            self._next_list = min(self._next_list, self._listed + ANEW_SECONDS)
        for name, landed in touched.names.items():
            yield self._arrivals.touched(name, landed=landed)

    def _check(self) -> None:
        if not self._folder.is_dir() or (self._changes is not None and not self._changes.alive):
            fact = f"The folder {self._folder} is gone, or another one is in its place."
            raise UsageError(fact, "Put it back, then run the same command again.")


class _Waiting(NamedTuple):
    """A file that may still be written to; `due` is by time.monotonic."""

    stamp: _Stamp
    due: float


class _Arrivals:
    """Which files have arrived. What was given is remembered by hashes, so that each state of a file is given once."""

    def __init__(self, folder: str, rules: Rules, settle: float) -> None:
        self._folder, self._settle = folder, settle
        self._sieve = Sieve(rules)
        self._waiting: dict[str, _Waiting] = {}  # whoever came first is due first
        self._given: dict[int, int] = {}

    def listed(self) -> Iterator[Source | None]:
        """Look at all that is there; None for each that is not to be given now."""
        there = set()
        for source in folders.photos(self._folder, self._sieve):
            there.add(hash(source.name))
            yield self._unreadable(source) if source.problem else self._looked_at(source.name)
        self._given = {name: state for name, state in self._given.items() if name in there}

    def touched(self, name: str, *, landed: bool) -> Source | None:
        """Something happened to a file, by its path relative to the folder; `landed` if it was renamed into place."""
        above = [f"{folder}/" for folder in accumulate(_slashed(name).split("/")[:-1], "{}/{}".format)]
        if not self._sieve.rules.sees(_slashed(name)) or not all(map(self._sieve.rules.enters, above)):
            return None
        return self._looked_at(os.path.join(self._folder, name), landed=landed)

    def due(self) -> Iterator[Source | None]:
        """Those that have stood still."""
        while self._waiting:
            path, (stamp, due) = next(iter(self._waiting.items()))
            if due > time.monotonic():
                return
            yield self._arrived(path, stamp) if _stamp(path) == stamp else self._looked_at(path)

    def _looked_at(self, path: str, *, landed: bool = False) -> Source | None:
        """A photo that has arrived already; None where there is none, or where it has to be waited for."""
        stamp, before = _stamp(path), self._waiting.get(path)
        if stamp is None:
            self._forget(path)
            return None
        known = self._given.get(hash(path))
        if landed or (before is None and known is None and self._is_old(stamp)):
            return self._arrived(path, stamp)
        if known == hash(stamp):
            self._waiting.pop(path, None)
        elif before is None or before.stamp != stamp:
            self._waiting.pop(path, None)  # to the end, among those that are due last
            self._waiting[path] = _Waiting(stamp, time.monotonic() + self._settle)
        return None

    def _arrived(self, path: str, stamp: _Stamp) -> Source | None:
        """The source of a file that is whole; None where it is no photo."""
        self._forget(path)
        if not self._sieve.takes_file(path, _slashed(os.path.relpath(path, self._folder))):
            return None
        self._given[hash(path)] = hash(stamp)
        return Source(path)

    def _forget(self, path: str) -> None:
        self._waiting.pop(path, None)
        self._given.pop(hash(path), None)

    def _is_old(self, stamp: _Stamp) -> bool:
        """Whether it was whole before it was seen, as photos are that were there, or were moved here."""
        return time.time() - stamp[1] / 1e9 >= self._settle

    def _unreadable(self, source: Source) -> Source | None:
        """A folder that cannot be read is told once; one that has just gone away is not."""
        known = self._given.get(hash(source.name))
        self._given[hash(source.name)] = hash(source.problem)
        return source if known is None and os.path.lexists(source.name) else None


def _stamp(path: str) -> _Stamp | None:
    """None for what is no file, or no longer, or has nothing in it yet."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return (found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) and found.st_size else None


def _slashed(name: str) -> str:
    return name.replace(os.sep, "/")
