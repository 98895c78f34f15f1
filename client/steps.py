"""What the threads of a run do with a photo or a pack; each step ends in an event for `engine`, which decides."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

from client.asking import Asker
from client.errors import ApiError, ClientError
from client.journal import Journal, Key
from client.pacing import Budget
from client.photo import Upload
from client.results import CLIENT_ERROR, Failure, Outcome
from client.sources import Source
from client.transport import CURT, SLOW, Patience, Transport, is_transient
from client.window import Claims, Twin
from lambda_api.schema import Classification

PROBE_SECONDS = 5.0
"""Seconds between looks at an API that is down."""

log = logging.getLogger(__name__)


class Result(NamedTuple):
    """One photo's outcome. `kept` where the journal has that line already and nothing is to be written."""

    outcome: Outcome
    kept: bool


@dataclass
class Item:
    """A photo that is ready to be sent. `started` and `ready` are by time.perf_counter; `rounds` have failed."""

    name: str
    digest: str
    upload: Upload
    started: float
    ready: float
    rounds: int = 0


Pack: TypeAlias = list[Item]


class Prepared(NamedTuple):
    """What preparing came to: an item, a result, or neither where a twin is on its way. `digest` is what it claimed."""

    item: Item | None = None
    result: Result | None = None
    digest: str | None = None


class Answered(NamedTuple):
    """The end of a request; times of its last try by time.perf_counter."""

    pack: Pack
    answers: list[Classification | ApiError] | Exception
    began: float
    ended: float
    cut: bool
    """Whether it was given up before its tries were used up, for reasons that are not its own."""


class Refused(NamedTuple):
    """A try, with so many photos, that failed in a way that another may not."""

    began: float
    error: ClientError
    photos: int


class Fed(NamedTuple):
    """The listing has ended, with an error or without."""

    error: Exception | None


class Probed(NamedTuple):
    """The API was looked at: still down, or well again, at once or after waiting."""

    error: ClientError | None
    waited: bool


Event: TypeAlias = Prepared | Answered | Refused | Fed | Probed


class Outcomes:
    """Makes outcomes of a run, whose model and options are those of a key where no answer tells."""

    def __init__(self, key: Key) -> None:
        self._key = key

    def of(self, name: str, digest: str | None, answer: Classification | Exception, started: float) -> Outcome:
        """The outcome of a photo that was answered, or failed; `started` is by time.perf_counter."""
        key, ms = self._key, since(started)
        if isinstance(answer, Exception):
            error = _failure(answer)
            return Outcome(name, digest, (), None, error, key.model, key.version, ms, key.options)
        model, labels = answer.model, tuple(answer.predictions)
        return Outcome(name, digest, labels, answer.decision, None, model.name, model.version, ms, key.options)


class Preparer:
    """Reads a photo, looks into the journal, and makes it ready to be sent. Safe to share between threads."""

    def __init__(
        self,
        make_ready: Callable[[bytes], Upload],
        journal: Journal,
        claims: Claims,
        outcomes: Outcomes,
        timeout: float,
    ) -> None:
        """`timeout` in seconds is for sources that lie elsewhere."""
        self._make_ready, self._journal, self._claims = make_ready, journal, claims
        self._outcomes, self._timeout = outcomes, timeout

    def __call__(self, source: Source) -> Prepared:
        """Whatever happens: an item, a result, or a twin to wait for."""
        started, digest = time.perf_counter(), None
        try:
            data = source.read(self._timeout)
            digest = hashlib.sha256(data).hexdigest()
            if not self._claims.take(digest, Twin(source.name, started)):
                return Prepared()
            if recalled := self._journal.recall(source.name, digest):
                return Prepared(result=Result(*recalled), digest=digest)
            upload = self._make_ready(data)
            return Prepared(Item(source.name, digest, upload, started, time.perf_counter()), digest=digest)
        except Exception as error:
            if digest is None and (recalled := self._journal.recall(source.name, None)):
                return Prepared(result=Result(*recalled))
            outcome = self._outcomes.of(source.name, digest, error, started)
            return Prepared(result=Result(outcome, False), digest=digest)


class Requests:
    """Asks the API, telling of every failed try. Safe to share between threads."""

    def __init__(
        self,
        transport: Transport,
        asker: Asker,
        budget: Budget,
        halt: threading.Event,
        tell: Callable[[Event], None],
    ) -> None:
        """Once `halt` is set nothing is tried again."""
        self._transport, self._asker, self._budget = transport, asker, budget
        self._halt, self._tell = halt, tell
        self.paused = False
        """Whether failed requests should not be tried again for now."""

    def ask(self, pack: Pack) -> None:
        """One request, tried again as far as that makes sense; tells of its end."""
        began, cut, late = time.perf_counter(), False, False
        # tenacity's objects refer to themselves, and what they call with them: without the pack, since Python looks
        # for such circles ever more seldom, and thousands of photos would wait for it.
        photos = len(pack)

        def failed(error: ClientError) -> None:
            nonlocal late
            late = error.code in SLOW
            self._budget.spend()
            self._tell(Refused(began, error, photos))

        def sleep(seconds: float) -> None:
            nonlocal began
            self._pause(seconds)
            began = time.perf_counter()

        def enough() -> bool:
            nonlocal cut
            cut = self.paused or self._budget.used_up or self._halt.is_set()
            return cut or (late and photos > 1)  # which would be late again; its photos go one by one

        answers: list[Classification | ApiError] | Exception
        try:
            patience = Patience(failed=failed, enough=enough, sleep=sleep)
            answers = self._asker.many([item.upload for item in pack], patience)
        except ClientError as error:
            answers = error.with_traceback(None)  # whose frames hold the photos, and which tenacity's circle holds
        except Exception as error:
            answers = error
        self._tell(Answered(pack, answers, began, time.perf_counter(), cut))

    def probe(self, route: str, patience: float) -> None:
        """Look at the API until it is well, or for `patience` seconds; tells what came of it."""
        deadline, waited = time.monotonic() + patience, False
        while True:
            error = self._look(route)
            if error is None or not is_transient(error) or time.monotonic() >= deadline or self._halt.is_set():
                self._tell(Probed(error, waited))
                return
            if not waited:
                log.warning("the API does not answer (%s): waiting for it, %g s at most", error.code, patience)
            waited = True
            self._pause(min(PROBE_SECONDS, max(0.0, deadline - time.monotonic())))

    def _pause(self, seconds: float) -> None:
        self._halt.wait(seconds)

    def _look(self, route: str) -> ClientError | None:
        try:
            self._transport.get(route, replace(CURT, sleep=self._pause, enough=self._halt.is_set))
        except ClientError as error:
            return error
        return None


def explained(answer: Classification | Exception, upload: Upload) -> Classification | Exception:
    """The answer, with what the API cannot know: photos that are not read here go as they are."""
    if isinstance(answer, ApiError) and answer.code == "unsupported_media_type" and upload.media_type == "image/heic":
        hint = "Install whippet[heic] here, which turns photos of iPhones into JPEG, or have the API read HEIC."
        return ApiError(answer.status, answer.code, answer.detail, hint, answer.request_id)
    return answer


def since(started: float) -> float:
    """Milliseconds from a time of time.perf_counter until now."""
    return round((time.perf_counter() - started) * 1000, 1)


def _failure(error: Exception) -> Failure:
    if isinstance(error, ClientError):
        return Failure.of(error)
    # A bug, or no memory left: the other photos still get their lines.
    log.debug("unexpected error", exc_info=error)
    return Failure(CLIENT_ERROR, f"The client failed: {type(error).__name__}.", "Report it, please.")
