"""Some photos for all: which of a listing are measured, and what they come to when they are made ready to be sent."""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from client import photo, pool
from client.errors import ClientError
from client.sources import Source

CORES = os.cpu_count() or 1


class Measured(NamedTuple):
    """One photo as read, prepared and timed: bytes before and after, seconds; `code` where it cannot be sent.

    One that is `done` was only read.
    """

    before: int
    after: int
    seconds: float
    code: str | None = None
    done: bool = False


@dataclass(frozen=True)
class Sample:
    """A listing's photos: how many there are, those that were measured, and the codes of those refused unread.

    `settled` more would be refused, but have their failure already.
    """

    photos: int
    measured: list[Measured]
    refused: Counter[str]
    settled: int

    @property
    def weight(self) -> float:
        """How many photos each measured one stands for."""
        return (self.photos - self.settled - sum(self.refused.values())) / max(1, len(self.measured))

    @property
    def todo(self) -> list[Measured]:
        """Those that are not done."""
        return [one for one in self.measured if not one.done]

    @property
    def done(self) -> int:
        """How many of all photos are."""
        return self.settled + round((len(self.measured) - len(self.todo)) * self.weight)

    @property
    def sent(self) -> list[Measured]:
        """Those of them that can be sent."""
        return [one for one in self.todo if one.code is None]

    @property
    def failures(self) -> Counter[str]:
        """The codes of all that cannot be sent, as far as they were met."""
        return self.refused + Counter(one.code for one in self.todo if one.code is not None)


class Spread:
    """Which of an unknown number of things to keep: every n-th, with n doubled whenever they would be too many."""

    def __init__(self, most: int) -> None:
        """At most `most` are kept, and at least half as many where there are so many."""
        self._most = max(2, most)
        self._every = 1
        self._met = 0
        self.kept: list[Source | Measured] = []

    def wants_next(self) -> bool:
        """Whether the next thing is to be put into `kept`. Call it once for each."""
        number = self._met
        self._met += 1
        if number % self._every == 0 and len(self.kept) == self._most:
            self.kept = self.kept[::2]
            self._every *= 2
        return number % self._every == 0


def nothing_done(path: str, sha256: str | None) -> bool:
    """Of a run that begins anew."""
    return False


def measure(
    sources: Iterable[Source],
    target: photo.Target,
    *,
    shrink: bool,
    timeout: float,
    most: int,
    done: Callable[[str, str | None], bool] = nothing_done,
) -> Sample:
    """List all, and read and prepare `most` at most, spread over all. Raises what the listing raises.

    `done` tells by path and content which have their results already; content None is what cannot be read.
    """

    def one(source: Source) -> Measured:
        started, data, digest, after, code = time.perf_counter(), b"", None, 0, None
        try:
            data = source.read(timeout)
            digest = hashlib.sha256(data).hexdigest()
            if not done(source.name, digest):
                after = len(photo.prepare(data, target, shrink=shrink).body)
        except ClientError as error:
            code = error.code
        return Measured(len(data), after, time.perf_counter() - started, code, done(source.name, digest))

    photo.formats()  # here, since Pillow's loading of its plugins is not made for threads
    spread, refused, photos, settled = Spread(most), Counter[str](), 0, 0
    for source in sources:
        photos += 1
        if source.problem and done(source.name, None):
            settled += 1
        elif source.problem:
            refused[source.code] += 1
        elif spread.wants_next():
            # Bytes that cannot be had again are measured at once: kept, they would fill the memory.
            spread.kept.append(source if source.data is None else one(source))
    at_once = [each for each in spread.kept if isinstance(each, Measured)]
    later = [each for each in spread.kept if not isinstance(each, Measured)]
    return Sample(photos, at_once + list(pool.run(one, later, CORES)), refused, settled)
