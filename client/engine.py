"""A run over many photos: read, shrink, pack, ask, one result each.

    feeder      one thread    walks the listing, and waits while enough lies ahead
    preparers   few threads   read, look into the journal, shrink (Pillow works outside of Python's lock)
    askers      more threads  a request each, tried again by the transport
    results()   the caller's  decides everything: what is packed, how much is in flight, when to pause, when to stop

All threads report to one queue, so that what they share is decided in one place.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import NamedTuple

from client import photo
from client.asking import PACK_BYTES, Asker
from client.errors import ApiError, ClientError, UsageError
from client.journal import Journal, Key
from client.pacing import Budget, Limit, PackSize, Rate
from client.sources import Source
from client.steps import (
    Answered,
    Event,
    Fed,
    Item,
    Outcomes,
    Pack,
    Prepared,
    Preparer,
    Probed,
    Refused,
    Requests,
    Result,
    explained,
    since,
)
from client.transport import MAX_RETRY_AFTER, SLOW, Transport, is_transient
from client.window import Claims, Window
from lambda_api.schema import RETRYABLE, Classification

AHEAD_BYTES = 12_000_000
"""Bytes that may lie ready to be sent; more would only cost memory."""

IN_FLIGHT_BYTES = 24_000_000
"""Bytes of photos under way from which no further request begins."""

LINGER_SECONDS = 0.1
"""How long a photo waits for others to fill its pack, in seconds, while other requests are under way."""

ROUNDS = 3
"""How often a photo goes through all the tries of a request, before its failure is taken for its own fault."""

TICK_SECONDS = 0.5

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pace:
    """How fast, and how long: requests in flight at most, photos a second, seconds to wait for an API that is down."""

    concurrency: int
    timeout: float
    rate: float | None = None
    patience: float = 300.0


class _Suspect(NamedTuple):
    """A pack that failed, the error, and whether it was cut short."""

    pack: Pack
    error: ClientError
    cut: bool


class Run:
    """One run. Iterate `results` once, in one thread; `stop` may be called from any, a signal handler too."""

    def __init__(
        self,
        transport: Transport,
        asker: Asker,
        make_ready: Callable[[bytes], photo.Upload],
        journal: Journal,
        key: Key,
        pace: Pace,
    ) -> None:
        """The journal must have begun with the key; `make_ready` makes what is sent of a photo, or a PhotoError."""
        self._journal, self._pace = journal, pace
        self._limit, self._budget, self._rate = Limit(pace.concurrency), Budget(), Rate(pace.rate)
        self._pack_size = PackSize(min(asker.pack_photos, self._rate.most() or asker.pack_photos))
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._halt = threading.Event()
        self._claims, self._outcomes = Claims(), Outcomes(key)
        self._preparer = Preparer(make_ready, journal, self._claims, self._outcomes, pace.timeout)
        self._requests = Requests(transport, asker, self._budget, self._halt, self._events.put)
        preparers = max(4, os.cpu_count() or 1)
        self._window = Window(2 * preparers, 4 * asker.pack_photos, AHEAD_BYTES)
        self._preparers = ThreadPoolExecutor(preparers, thread_name_prefix="prepare")
        self._askers = ThreadPoolExecutor(pace.concurrency + 1, thread_name_prefix="ask")
        self._ready: deque[Item] = deque()
        self._again: deque[Pack] = deque()
        self._suspects: list[_Suspect] = []
        self._in_flight = self._in_flight_bytes = 0
        self._fed, self._not_before = False, 0.0
        self._fatal: Exception | None = None
        self.unsent = 0
        """Photos that had no answer when the run was stopped, as far as they were read: the listing ends early, too."""

    def results(self, sources: Iterable[Source | None]) -> Generator[Result, None, None]:
        """One result a photo in order of completion; None among the sources is a moment without a photo.

        Raises UnreachableError or ApiError where the API stays down or refuses everybody, after all that was in
        flight has its result; and what the listing raises.
        """
        photo.formats()  # here, since Pillow's loading of its plugins is not made for threads
        try:
            self._start(threading.Thread(target=self._feed, args=(sources,), name="feed", daemon=True))
            while not self._finished():
                self._send()
                yield from self._handled(self._next())
            left = [*self._again, *(suspect.pack for suspect in self._suspects)]
            self.unsent = len(self._ready) + sum(map(len, left)) + self._claims.waiting
        finally:
            self.stop()
            self._preparers.shutdown(wait=False, cancel_futures=True)
            self._askers.shutdown(wait=False, cancel_futures=True)
        if self._fatal is not None:
            raise self._fatal

    def _start(self, thread: threading.Thread) -> None:
        try:
            thread.start()
        except RuntimeError as error:
            raise _no_thread() from error

    def stop(self) -> None:
        """Send nothing more; `results` ends once all that is in flight is answered."""
        self._halt.set()
        self._window.close()

    def _finished(self) -> bool:
        if self._in_flight:
            return False
        waiting = self._ready or self._again or self._suspects or self._requests.paused or self._window.preparing
        return self._halt.is_set() or (self._fed and not waiting)

    def _feed(self, sources: Iterable[Source | None]) -> None:
        error: Exception | None = None
        try:
            for source in sources:
                if self._halt.is_set() or (source is not None and not self._enter(source)):
                    break
        except Exception as raised:
            error = raised
        self._events.put(Fed(error))

    def _enter(self, source: Source) -> bool:
        """Whether the source went in."""
        if not self._window.enter():
            return False
        try:
            self._preparers.submit(self._prepare, source)
        except RuntimeError as error:
            if self._halt.is_set():  # shut down meanwhile
                return False
            raise _no_thread() from error
        return True

    def _prepare(self, source: Source) -> None:
        self._events.put(self._preparer(source))

    def _send(self) -> None:
        while self._may_send() and (pack := self._take()):
            self._in_flight += 1
            self._in_flight_bytes += _size(pack)
            self._rate.took(len(pack))
            self._ask(self._requests.ask, pack)

    def _ask(self, work: Callable[..., None], *what: object) -> None:
        try:
            self._askers.submit(work, *what)
        except RuntimeError as error:
            raise _no_thread() from error

    def _may_send(self) -> bool:
        if self._halt.is_set() or self._requests.paused or self._in_flight >= self._limit.value:
            return False
        if self._in_flight_bytes >= IN_FLIGHT_BYTES:
            return False
        return time.monotonic() >= self._not_before and not self._rate.wait()

    def _take(self) -> Pack:
        """The next pack, what comes again first; nothing while photos should wait for more of them."""
        if self._again:
            return self._again.popleft()
        if not self._is_due():
            return []
        pack: Pack = []
        size = 0
        while self._ready and len(pack) < self._pack_size.value:
            size += len(self._ready[0].upload.body)
            if pack and size > PACK_BYTES:
                break
            pack.append(self._ready.popleft())
        self._window.sent(len(pack), _size(pack))
        return pack

    def _is_due(self) -> bool:
        """A pack is due when it is full, when nothing else would be done, or when its first photo has waited."""
        if not self._ready:
            return False
        if len(self._ready) >= self._pack_size.value or not self._in_flight:
            return True
        drained = self._fed and not self._window.preparing
        return drained or time.perf_counter() - self._ready[0].ready > LINGER_SECONDS

    def _next(self) -> Event | None:
        """The next event; None when it is time to look again at what may be sent."""
        waits = [TICK_SECONDS]
        if self._ready or self._again:
            waits += [wait for wait in (self._rate.wait(), self._not_before - time.monotonic()) if wait > 0]
            waits += [LINGER_SECONDS] * bool(self._ready)
        try:
            return self._events.get(timeout=min(waits))
        except queue.Empty:
            return None

    def _handled(self, event: Event | None) -> Iterable[Result]:
        if isinstance(event, Prepared):
            return self._on_prepared(event)
        if isinstance(event, Answered):
            return self._on_answered(event)
        if isinstance(event, Probed):
            return self._on_probed(event)
        if isinstance(event, Refused):
            self._on_refused(event)
        elif isinstance(event, Fed):
            self._fed = True
            if event.error is not None:
                self._end_with(event.error)
        return ()

    def _on_prepared(self, event: Prepared) -> Iterable[Result]:
        size = len(event.item.upload.body) if event.item else 0
        self._window.prepared(None if event.result else size)  # a twin waits, too, and costs its name
        if event.item is not None:
            self._ready.append(event.item)
        return self._settled(event.result, event.digest) if event.result else ()

    def _on_answered(self, event: Answered) -> Iterable[Result]:
        self._in_flight -= 1
        self._in_flight_bytes -= _size(event.pack)
        if isinstance(event.answers, Exception):
            return self._on_failed(event.pack, event.answers, event.cut)
        seconds = event.ended - event.began
        self._limit.succeeded(len(event.pack), seconds, event.began, event.ended)
        self._pack_size.answered(len(event.pack), seconds)
        self._budget.earn(len(event.pack))
        return self._answers(event.pack, event.answers)

    def _answers(self, pack: Pack, answers: list[Classification | ApiError]) -> Iterable[Result]:
        for item, answer in zip(pack, answers, strict=True):
            if isinstance(answer, ApiError) and answer.status in RETRYABLE and item.rounds < ROUNDS:
                item.rounds += 1
                self._again.append([item])
            else:
                yield from self._done(item, answer)

    def _on_failed(self, pack: Pack, error: Exception, cut: bool) -> Iterable[Result]:
        """A pack without an answer: it is the API, or it is a photo in it. Only a look at the API can tell."""
        if not isinstance(error, ClientError) or not _concerns_all(error):
            return self._singly(pack, error)
        self._suspects.append(_Suspect(pack, error, cut))
        if not self._requests.paused and not self._halt.is_set():
            self._requests.paused = True
            # Whether the key is good is not asked for by the API's health.
            route = "/v1/model" if isinstance(error, ApiError) and error.status in (401, 403) else "/v1/health"
            self._ask(self._requests.probe, route, self._pace.patience)
        return ()

    def _singly(self, pack: Pack, error: Exception) -> Iterable[Result]:
        """Each photo of a pack on its own; a single one that failed has its result."""
        if len(pack) == 1:
            return self._done(pack[0], error)
        self._again.extend([item] for item in pack)
        return ()

    def _on_refused(self, event: Refused) -> None:
        error = event.error
        self._limit.refused(event.began, time.perf_counter())
        if error.code in SLOW:
            self._pack_size.late(event.photos)
        log.info("%s: %d requests in flight at most now", error.code, self._limit.value)
        if isinstance(error, ApiError) and error.retry_after is not None:
            self._not_before = max(self._not_before, time.monotonic() + min(error.retry_after, MAX_RETRY_AFTER))

    def _on_probed(self, event: Probed) -> Iterable[Result]:
        self._requests.paused = False
        if event.error is not None:
            self._end_with(event.error)
            return ()
        self._budget.refill()
        suspects, self._suspects = self._suspects, []
        return (result for suspect in suspects for result in self._retried(suspect, event.waited))

    def _retried(self, suspect: _Suspect, was_down: bool) -> Iterable[Result]:
        """What failed while the API is well: whole if that was not its fault, then one by one, at last as failures."""
        pack = suspect.pack
        for item in pack:
            item.rounds += not suspect.cut
        rounds = pack[0].rounds
        if suspect.cut or (len(pack) == 1 and rounds < ROUNDS) or (was_down and rounds == 1):
            self._again.append(pack)
            return ()
        return self._singly(pack, suspect.error)

    def _end_with(self, error: Exception) -> None:
        self._fatal = self._fatal or error
        self.stop()

    def _done(self, item: Item, answer: Classification | Exception) -> Iterable[Result]:
        outcome = self._outcomes.of(item.name, item.digest, explained(answer, item.upload), item.started)
        return self._settled(Result(outcome, False), item.digest)

    def _settled(self, result: Result, digest: str | None) -> Iterable[Result]:
        """The result, and once whoever takes it has noted it, those of its twins."""
        yield result
        twins = self._claims.release(digest) if digest else []
        self._window.sent(len(twins), 0)
        for twin in twins:
            recalled = self._journal.recall(twin.name, digest)
            copy = replace(result.outcome, path=twin.name, ms=since(twin.started))
            yield Result(*recalled) if recalled else Result(copy, False)


def _size(pack: Pack) -> int:
    return sum(len(item.upload.body) for item in pack)


def _no_thread() -> UsageError:
    return UsageError(
        "The system starts no further thread.",
        "Lower --concurrency, or raise its limit of memory or processes (ulimit).",
    )


def _concerns_all(error: ClientError) -> bool:
    """Whether an error may come from the API's state rather than from the photos that met it."""
    return is_transient(error) or (isinstance(error, ApiError) and error.status in (401, 403))
