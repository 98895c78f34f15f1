"""Some photos for all: which of a listing are measured, and what they come to when they are made ready to be sent."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from client import photo, pool
from client.errors import ClientError
from client.sources import Source

CORES = os.cpu_count() or 1


class Measured(NamedTuple):
    """One photo as read, prepared and timed: bytes before and after, seconds; `code` where it cannot be sent."""

    before: int
    after: int
    seconds: float
    code: str | None = None


@dataclass(frozen=True)
class Sample:
    """A listing's photos: how many there are, those that were measured, and the codes of those refused unread."""

    photos: int
    measured: list[Measured]
    refused: Counter[str]

    @property
    def weight(self) -> float:
        """How many photos each measured one stands for."""
        return (self.photos - sum(self.refused.values())) / max(1, len(self.measured))

    @property
    def sent(self) -> list[Measured]:
        """Those that can be sent."""
        return [one for one in self.measured if one.code is None]

    @property
    def failures(self) -> Counter[str]:
        """The codes of all that cannot be sent, as far as they were met."""
        return self.refused + Counter(one.code for one in self.measured if one.code is not None)


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


def measure(sources: Iterable[Source], target: photo.Target, *, shrink: bool, timeout: float, most: int) -> Sample:
    """List all, and read and prepare `most` at most, spread over all. Raises what the listing raises."""

    def one(source: Source) -> Measured:
        started, before = time.perf_counter(), 0
        try:
            before = len(data := source.read(timeout))
            after, code = len(photo.prepare(data, target, shrink=shrink).body), None
        except ClientError as error:
            after, code = 0, error.code
        return Measured(before, after, time.perf_counter() - started, code)

    photo.formats()  # here, since Pillow's loading of its plugins is not made for threads
    spread, refused, photos = Spread(most), Counter[str](), 0
    for source in sources:
        photos += 1
        if source.problem:
            refused[source.code] += 1
        elif spread.wants_next():
            # Bytes that cannot be had again are measured at once: kept, they would fill the memory.
            spread.kept.append(source if source.data is None else one(source))
    at_once = [kept for kept in spread.kept if isinstance(kept, Measured)]
    later = [kept for kept in spread.kept if not isinstance(kept, Measured)]
    return Sample(photos, at_once + list(pool.run(one, later, CORES)), refused)
