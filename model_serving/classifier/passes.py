"""Forward passes for callers in many threads: who runs, with how many threads, and which photos together.

On a CPU there is a lane a core. A lane runs its pass with one thread and takes its share of what waits, so that under
load every core works for itself. Threads of one pass have to wait for each other at every layer, which costs a quarter
of the speed, and far more where another process holds one of the cores for a moment. A photo that is alone has nobody to
share the cores with and gets them all where that pays, which is timed when the network is built; in a thread of its
own, since OpenMP keeps a team of helpers for every thread that ever computed with several, and stops spinning between
layers once helpers outnumber cores.

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

import torch

CHUNK = {"cpu": 4, "cuda": 64}
"""Most photos in one forward pass. On a CPU four: activations above 32 MB are mapped anew for every layer (see
`memory`), which makes passes of eight and sixteen a quarter slower a photo."""

PAYS = 1.3
"""So many times faster all threads must be for a lone photo: they suffer most where other processes compute, too."""


@dataclass(frozen=True)
class Outputs:
    """What the network says of N photos, on the CPU: raw logits (N, classes), and known scores (N,)."""

    logits: torch.Tensor
    known: torch.Tensor

    def row(self, index: int) -> Outputs:
        """That of one photo."""
        return Outputs(self.logits[index : index + 1], self.known[index : index + 1])


@dataclass(frozen=True)
class _Ticket:
    """A photo that waits for a pass, (crop, crop, 3) uint8, and the promise of its row."""

    pixels: torch.Tensor
    row: Future[Outputs]


class Passes:
    """Runs `forward` on photos that are handed in; safe to call from several threads.

    `threads` are all that may compute at a time. With `lanes` every one of them can run a pass of its own.
    """

    def __init__(
        self, forward: Callable[[Sequence[torch.Tensor]], Outputs], chunk: int, threads: int, *, lanes: bool
    ) -> None:
        self._forward, self._chunk, self._threads = forward, chunk, threads
        self.lanes = threads if lanes else 0
        self._team = ThreadPoolExecutor(1, thread_name_prefix="forward")
        self._pool = ThreadPoolExecutor(max(1, self.lanes), thread_name_prefix="lane")
        self._lock = threading.Lock()
        self._waiting: deque[_Ticket] = deque()
        self._expected = self._busy = 0
        self._together = False
        self._pays = not lanes

    def build(self, make: Callable[[], torch.nn.Module]) -> torch.nn.Module:
        """A network made where passes of all threads run."""
        return self._team.submit(make).result()

    def settle(self, photo: torch.Tensor) -> None:
        """Time a lone photo with one thread and with all, to know how to run it; before anybody else runs one."""
        if self.lanes > 1:
            one, all_ = (self._timed(*each, photo) for each in ((self._pool, 1), (self._team, self._threads)))
            self._pays = one > PAYS * all_

    def _timed(self, pool: ThreadPoolExecutor, threads: int, photo: torch.Tensor) -> float:
        """Seconds, the best of three: the first allocates."""

        def once() -> float:
            torch.set_num_threads(threads)
            started = time.perf_counter()
            self._forward([photo])
            return time.perf_counter() - started

        return min(pool.submit(once).result() for _ in range(3))

    @contextmanager
    def expecting(self, photos: int) -> Iterator[None]:
        """Photos that are on their way, so that none of them is taken for alone while others are being decoded."""
        with self._lock:
            self._expected += photos
        try:
            yield
        finally:
            with self._lock:
                self._expected -= photos

    def run(self, pixels: Sequence[torch.Tensor]) -> Outputs:
        """Photos, each (crop, crop, 3) uint8 -> what the network says of each.

        Raises what the network raises, for the photos of that pass alone.
        """
        tickets = [_Ticket(photo, Future()) for photo in pixels]
        with self._lock:
            self._waiting.extend(tickets)
            self._start()
        rows = [ticket.row.result() for ticket in tickets]
        return Outputs(torch.cat([row.logits for row in rows]), torch.cat([row.known for row in rows]))

    def _start(self) -> None:
        """Whatever can run now; the lock is held."""
        if self._together or not self._waiting:
            return
        alone = self._busy == 0 and len(self._waiting) == 1 and self._expected <= 1
        if not self.lanes or (alone and self._pays):
            self._together = True
            self._team.submit(self._run, self._take(self._chunk), self._threads)
            return
        while self._waiting and self._busy < self.lanes:
            share = -(-len(self._waiting) // (self.lanes - self._busy))
            self._busy += 1
            # Of many cores each of a few photos gets some.
            inside = max(self._expected, self._busy + len(self._waiting) - 1, 1 if self._pays else self.lanes)
            self._pool.submit(self._run, self._take(min(share, self._chunk)), max(1, self._threads // inside))

    def _take(self, most: int) -> list[_Ticket]:
        """The oldest tickets."""
        return [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]

    def _run(self, tickets: list[_Ticket], threads: int) -> None:
        """One pass; then whatever can run after it."""
        try:
            # OpenMP counts threads by the thread that asks.
            torch.set_num_threads(threads)
            outputs = self._forward([ticket.pixels for ticket in tickets])
        except Exception as error:
            self._end()
            for ticket in tickets:
                ticket.row.set_exception(error)
            return
        self._end()
        for index, ticket in enumerate(tickets):
            ticket.row.set_result(outputs.row(index))

    def _end(self) -> None:
        with self._lock:
            if self._together:
                self._together = False
            else:
                self._busy -= 1
            self._start()
