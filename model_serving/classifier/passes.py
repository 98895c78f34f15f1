"""Forward passes for callers in many threads: who runs, with how many threads, and which photos together.

On a CPU there is a lane a core. A lane takes its share of what waits, decodes it and runs one pass, with one thread,
so that under load every core works for itself. Threads of one pass wait for each other at every layer, which costs a
quarter of the speed, and far more where another process holds one of the cores for a moment. A photo that is alone has
nobody to share the cores with and gets them all where that pays, which is timed when the network is built; in a thread
of its own, since OpenMP keeps a team of helpers for every thread that ever computed with several, and stops spinning
between layers once helpers outnumber cores. When such a pass takes twice as long as one thread would have, somebody
else has the cores, and the next lone photos go without.

On a GPU there is one pass at a time, of all that waits.

Nobody waits for a timer: batches form of what has queued up while others ran.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

CHUNK = {"cpu": 4, "cuda": 64}
"""Most photos in one forward pass. On a CPU four: activations above 32 MB are mapped anew for every layer (see
`memory`), which makes passes of eight and sixteen a quarter slower a photo."""

IN_A_LANE = 2
"""Photos of a lane's pass, at most: every core holds as many activations. Four are up to a tenth faster where all wait,
and take 80 MB more of two cores."""

PAYS = 1.3
"""So many times faster all threads must be for a lone photo."""

HELD_UP = 2
WITHOUT = 64
"""So many times what one thread takes, decoding included, is held up; so many lone photos go without then."""


Photo = TypeVar("Photo")
Row = TypeVar("Row")


@dataclass(frozen=True)
class _Ticket(Generic[Photo, Row]):
    """A photo that waits for a pass, and the promise of its row."""

    photo: Photo
    row: Future[Row]


class Passes(Generic[Photo, Row]):
    """Runs `work`, photos -> a row each, on photos that are handed in; safe to call from several threads.

    `threads` are all that may compute at a time. With `lanes` every one of them can run a pass of its own.
    """

    def __init__(
        self, work: Callable[[Sequence[Photo]], Sequence[Row]], chunk: int, threads: int, *, lanes: bool
    ) -> None:
        self._work, self._chunk, self._threads = work, chunk, threads
        self.lanes = threads if lanes else 0
        self._team = ThreadPoolExecutor(1, thread_name_prefix="forward")
        self._pool = ThreadPoolExecutor(max(1, self.lanes), thread_name_prefix="lane")
        self._lock = threading.Lock()
        self._waiting: deque[_Ticket[Photo, Row]] = deque()
        self._expected = self._busy = 0
        self._together = False
        self._pays = False
        self._alone_seconds = 0.0  # of a lone photo with one thread
        self._without = 0

    def build(self, make: Callable[[], torch.nn.Module]) -> torch.nn.Module:
        """A network made where passes of all threads run."""
        return self._team.submit(make).result()

    def settle(self, photo: Photo) -> None:
        """Time a lone photo with one thread and with all, to know how to run it; before anybody else runs one."""
        if self.lanes > 1:
            one, all_ = (self._timed(*each, photo) for each in ((self._pool, 1), (self._team, self._threads)))
            self._pays, self._alone_seconds = one > PAYS * all_, one

    def _timed(self, pool: ThreadPoolExecutor, threads: int, photo: Photo) -> float:
        """Seconds, the best of three: the first allocates."""

        def once() -> float:
            torch.set_num_threads(threads)
            started = time.perf_counter()
            self._work([photo])
            return time.perf_counter() - started

        return min(pool.submit(once).result() for _ in range(3))

    @contextmanager
    def expecting(self, photos: int) -> Iterator[None]:
        """Photos that are on their way, so that none of them is taken for alone."""
        with self._lock:
            self._expected += photos
        try:
            yield
        finally:
            with self._lock:
                self._expected -= photos

    def run(self, photos: Sequence[Photo]) -> list[Row]:
        """The row of each, in order. Raises what the work raises, for the photos of that pass alone."""
        tickets: list[_Ticket[Photo, Row]] = [_Ticket(photo, Future()) for photo in photos]
        with self._lock:
            self._waiting.extend(tickets)
            self._start()
        return [ticket.row.result() for ticket in tickets]

    def _start(self) -> None:
        """Whatever can run now; the lock is held."""
        if self._together or not self._waiting:
            return
        alone = self._busy == 0 and len(self._waiting) == 1 and self._expected <= 1
        if not self.lanes or (alone and self._all_for_one()):
            self._together = True
            self._team.submit(self._run, self._take(self._chunk), self._threads)
            return
        while self._waiting and self._busy < self.lanes:
            share = -(-len(self._waiting) // (self.lanes - self._busy))
            self._busy += 1
            # Of many cores each of a few photos gets some; one that is alone and here goes without others' help.
            inside = self.lanes if alone else max(self._expected, self._busy + len(self._waiting) - 1)
            self._pool.submit(self._run, self._take(min(share, self._chunk)), max(1, self._threads // inside))

    def _all_for_one(self) -> bool:
        if self._without:
            self._without -= 1
            return False
        return self._pays

    def _take(self, most: int) -> list[_Ticket[Photo, Row]]:
        """The oldest tickets."""
        return [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]

    def _run(self, tickets: list[_Ticket[Photo, Row]], threads: int) -> None:
        """One pass; then whatever can run after it."""
        started = time.perf_counter()
        try:
            # OpenMP counts threads by the thread that asks.
            torch.set_num_threads(threads)
            rows = self._work([ticket.photo for ticket in tickets])
        except Exception as error:
            self._end(0.0)
            for ticket in tickets:
                ticket.row.set_exception(error)
            return
        self._end(time.perf_counter() - started)
        for ticket, row in zip(tickets, rows, strict=True):
            ticket.row.set_result(row)

    def _end(self, seconds: float) -> None:
        with self._lock:
            if self._together:
                self._together = False
                if self.lanes and seconds > HELD_UP * self._alone_seconds:
                    self._without = WITHOUT
            else:
                self._busy -= 1
            self._start()
