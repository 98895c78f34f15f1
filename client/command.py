"""`classify` and `watch` as one call: photos in, lines out while they come, an exit code that says what happened."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from client import output, screen
from client.after import Wishes
from client.errors import ClientError, UsageError
from client.journal import Journal
from client.output import json_line, printable
from client.printing import INTERRUPTED, NO_API, OK, SOME_FAILED, Printing
from client.results import Outcome
from client.sources import PHOTO_SUFFIXES, Listing, Source

if TYPE_CHECKING:
    from collections.abc import Callable

    from client.api import Client
    from client.engine import Run
    from client.steps import Result
    from client.views import LabelCounts

PERCENT_FROM = 100
"""Photos that must be done before a share of failures stops a run: 1 of the first 2 is no half of them."""

_STOPPING = b"stopping: what is under way is finished; once more to leave at once\n"
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


@dataclass(frozen=True)
class MaxFailures:
    """How many photos may fail before a run is stopped: a number of them, or a percentage of those done."""

    number: float
    percent: bool = False

    @classmethod
    def parse(cls, text: str) -> MaxFailures:
        """`20` or `5%`; UsageError for anything else."""
        found = re.fullmatch(r"\s*(\d+)\s*|\s*(\d+(?:\.\d+)?)\s*%\s*", text)
        if found is None or (found[2] and float(found[2]) > 100):
            raise UsageError(f"--max-failures {text} is neither a number nor a percentage.", "Write 20 or 5%.")
        return cls(float(found[1] or found[2]), percent=found[2] is not None)

    def exceeded(self, tally: screen.Tally) -> bool:
        """Whether there are more now."""
        if not self.percent:
            return tally.failed > self.number
        return tally.done >= PERCENT_FROM and 100 * tally.failed > self.number * tally.done


@dataclass(frozen=True)
class Choices:
    """How a run treats what went wrong, and what it makes of the rest."""

    retry_failed: bool = False
    max_failures: MaxFailures | None = None
    wishes: Wishes = field(default_factory=Wishes)
    counts: LabelCounts | None = None


class Batch:
    """One run. UsageError on construction if it cannot begin, before anything is sent."""

    def __init__(self, printing: Printing, choices: Choices, listing: Listing | None = None) -> None:
        """A listing must have at least one photo."""
        printing.check()
        choices.wishes.check(listing.paths if listing is not None else ())
        self._printing, self._choices, self._listing = printing, choices, listing
        self._sources: Iterable[Source] = _first(listing) if listing is not None else ()
        self._tally = self._new = screen.Tally()  # of all photos, and of those that this run has asked for
        self._seen: set[int] = set()
        self._over = self._hurried = False

    def run(self, client: Client, sources: Iterable[Source | None] | None = None, count: Listing | None = None) -> int:
        """Classify and write everything; the exit code. `sources` replaces the listing; `count` is one like it.

        Raises UsageError where the journal cannot be used, ApiError or UnreachableError where the API does not answer
        at the start, OSError where lines cannot be written.
        """
        # Here, since the start of a stack is no part of the photos a second.
        self._tally, self._new = screen.Tally(), screen.Tally()
        with ExitStack() as stack:
            journal = stack.enter_context(self._journal())
            run = client.run(journal, retry_failed=self._choices.retry_failed)
            stopped, error = self._work(run, journal, self._sources if sources is None else sources, count)
            fine = self._after(journal) if not (stopped or error) else True
        self._say(stopped, error, run.unsent)
        if error is not None:
            return SOME_FAILED if isinstance(error, UsageError) else NO_API
        if stopped and (sources is None or self._hurried):
            return INTERRUPTED
        return OK if fine and not self._tally.failed and not self._over else SOME_FAILED

    def _journal(self) -> Journal:
        path = self._printing.path
        return (
            Journal.open(path, force=self._printing.force)
            if self._printing.is_journal and path
            else Journal.temporary()
        )

    def _work(
        self, run: Run, journal: Journal, sources: Iterable[Source | None], count: Listing | None
    ) -> tuple[bool, ClientError | None]:
        """Everything up to the last line; whether a signal ended it early, and what the API said if that did."""
        with ExitStack() as stack:
            writer, console = (None, None) if self._printing.is_journal else self._printing.open_writer(stack)
            progress = stack.enter_context(self._printing.progress(console))
            if count is not None:
                threading.Thread(target=_count, args=(count, progress), daemon=True).start()
            interrupted = stack.enter_context(_signals(run.stop))
            results = stack.enter_context(closing(run.results(sources)))
            try:
                for result in results:
                    self._note(result, journal, writer)
                    progress.advance(self._tally)
                    self._check_failures(run)
            except ClientError as error:
                return False, error
            except KeyboardInterrupt:
                self._hurried = True
                return True, None
        return interrupted(), None

    def _note(self, result: Result, journal: Journal, writer: output.Writer | None) -> None:
        try:
            if not result.kept:
                journal.write(result.outcome)
            if writer is not None and self._choices.wishes.filter.keeps(result.outcome):
                writer.write(result.outcome)
        finally:  # a second Ctrl-C may come when the line is out already: the summary counts it
            self._tally.add(result.outcome, kept=result.kept)
            if not result.kept:
                self._new.add(result.outcome)
            if self._choices.counts is not None:
                self._choices.counts.add(result.outcome)
            if self._choices.wishes:
                self._seen.add(hash(result.outcome.path))

    def _check_failures(self, run: Run) -> None:
        most = self._choices.max_failures
        if most is not None and not self._over and most.exceeded(self._new):
            self._over = True
            run.stop()

    def _after(self, journal: Journal) -> bool:
        if not self._choices.wishes or self._over:
            return True
        journal.sync()
        return self._choices.wishes.fulfil(partial(self._outcomes, journal))

    def _outcomes(self, journal: Journal) -> Iterator[Outcome]:
        """Those of this run: the journal may know of other photos."""
        return (outcome for outcome in journal.outcomes() if hash(outcome.path) in self._seen)

    def _say(self, stopped: bool, error: ClientError | None, unsent: int) -> None:
        printing, tally = self._printing, self._tally
        passed_over = self._listing.passed_over() if self._listing is not None else ""
        if printing.json:
            ended = "interrupted" if stopped else "api" if error else "max_failures" if self._over else "done"
            labels = {"labels": self._choices.counts.to_dict()} if self._choices.counts is not None else {}
            told = {**tally.to_dict(), "not_sent": unsent, "passed_over": passed_over, "ended": ended, **labels}
            screen.say(json_line(told))
        elif not printing.quiet:
            screen.say(tally.summary(passed_over=passed_over, unsent=unsent, interrupted=stopped))
            if self._choices.counts is not None:
                screen.say(self._choices.counts.table())
        if tally.failed and printing.is_journal and not printing.quiet and not printing.json:
            again = " --retry-failed sends them again." if tally.kept else ""
            screen.say(f"`results {printable(str(printing.path))} --failed` says why photos failed.{again}")
        if self._over:
            screen.say("error: Stopped, since more photos failed than --max-failures allows. " + self._continue())
        if error is not None:
            screen.say(f"error: Stopped: {printable(error.detail)} {printable(error.hint)} {self._continue()}".strip())

    def _continue(self) -> str:
        return "The same command goes on from here." if self._printing.is_journal else ""


def _first(listing: Listing) -> Iterable[Source]:
    """All its sources; UsageError where there is not even one."""
    sources = iter(listing)
    for first in sources:
        return chain([first], sources)
    looked = ", ".join(sorted(PHOTO_SUFFIXES))
    others = f" ({said})" if (said := listing.passed_over()) else ""
    raise UsageError(
        f"There is no photo in {printable(listing.named)}{others}.",
        f"Looked for {looked}, and for files that begin like a photo; hidden ones are passed over.",
    )


def _count(listing: Listing, progress: screen.Progress) -> None:
    """Tell how many there are, once that is known: the run itself lists no further than it must."""
    try:
        progress.set_total(sum(1 for _ in listing))
    except ClientError:
        return  # the run meets it, too, and says it


@contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """The first signal asks the run to end, the second ends it; what is given tells whether there was one."""
    asked: list[int] = []

    def was_asked() -> bool:
        return bool(asked)

    def handle(number: int, frame: Any) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        stop()
        with suppress(OSError):  # a terminal that is gone is no reason to lose what is under way
            os.write(2, _STOPPING)  # print may be in the middle of a line

    if threading.current_thread() is not threading.main_thread():
        yield was_asked
        return
    numbers = [number for name in _SIGNALS if (number := getattr(signal, name, None)) is not None]
    numbers = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]  # nohup has its way
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield was_asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
