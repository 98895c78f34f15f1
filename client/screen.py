"""What a person sees: table rows and a progress bar as photos are done, and the summary at the end."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any, Protocol

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from client.output import printable
from client.results import Outcome

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

WIDTH = 100
"""Width of a table that goes to no terminal, in columns."""

PLAIN_SECONDS = 10.0
"""Seconds between two plain lines of progress."""

_STYLES = {"confident": "green", "unsure": "yellow", "unknown": "dim"}
_SCORE, _DECISION = 7, 9


def console(stream: IO[str]) -> Console:
    """A console on a stream; plain text without colours where that is no terminal."""
    terminal = stream.isatty()
    return Console(
        file=stream,
        width=None if terminal else WIDTH,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=False,
        no_color=None if terminal else True,
        force_terminal=None if terminal else False,
    )


class Table:
    """Rows that stream: file, best label, score, decision, next best label; or code and hint."""

    def __init__(self, screen: Console) -> None:
        self._screen = screen
        room = max(40, screen.width - _SCORE - _DECISION - 8)
        self._path, self._label = room * 2 // 5, room // 3
        self._next = room - self._path - self._label
        self._row(*(Text(name, style="bold") for name in ("file", "label", "score", "decision", "next best")))

    def write(self, outcome: Outcome) -> None:
        """Print one row, above the progress bar if there is one on this console."""
        path = Text(_tail(printable(outcome.path), self._path))
        if outcome.error is not None:
            error = outcome.error
            self._failure(path, " ".join(filter(None, (f"{error.code}:", error.detail, error.hint))))
            return
        best, *others = outcome.predictions
        decision = outcome.decision or ""
        self._row(
            path,
            Text(printable(best.label)),
            Text(f"{best.score:.1%}"),
            Text(decision, style=_STYLES.get(decision, "")),
            Text(printable(others[0].label) if others else ""),
        )

    def _row(self, path: Text, label: Text, score: Text, decision: Text, second: Text) -> None:
        grid = _grid()
        grid.add_column(width=self._path, no_wrap=True)
        grid.add_column(width=self._label, no_wrap=True, overflow="ellipsis")
        grid.add_column(width=_SCORE, justify="right")
        grid.add_column(width=_DECISION, no_wrap=True)
        grid.add_column(width=self._next, no_wrap=True, overflow="ellipsis")
        grid.add_row(path, label, score, decision, second)
        self._screen.print(grid)

    def _failure(self, path: Text, why: str) -> None:
        grid = _grid()
        grid.add_column(width=self._path, no_wrap=True)
        grid.add_column(width=self._screen.width - self._path - 2, overflow="fold")
        grid.add_row(path, Text(printable(why), style="red"))
        self._screen.print(grid)


class Tally:
    """Counts outcomes and times the run."""

    def __init__(self) -> None:
        self.done = 0
        self.kept = 0
        """Photos whose line an earlier run has written."""
        self.failures: Counter[str] = Counter()
        self._started = time.perf_counter()

    def add(self, outcome: Outcome, *, kept: bool = False) -> None:
        """Count one outcome."""
        self.done += 1
        self.kept += kept
        if outcome.error is not None:
            self.failures[outcome.error.code] += 1

    @property
    def failed(self) -> int:
        """How many photos have no labels."""
        return sum(self.failures.values())

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.perf_counter() - self._started

    @property
    def rate(self) -> float:
        """Photos a second that this run has done itself."""
        return (self.done - self.kept) / max(self.seconds, 1e-9)

    def summary(self, *, passed_over: str = "", unsent: int = 0, interrupted: bool = False) -> str:
        """One line: photos, failures by code, those done before, other files, seconds, photos a second."""
        codes = ", ".join(f"{code} {count}" for code, count in self.failures.most_common())
        parts = [f"{self.done - self.failed} classified", f"{self.failed} failed" + (f" ({codes})" if codes else "")]
        parts += [f"{self.kept:,} done before"] * bool(self.kept)
        parts += [f"{unsent:,} not sent"] * bool(unsent)
        parts += [passed_over] * bool(passed_over)
        parts += [f"{self.seconds:.1f} s"] + [f"{self.rate:.1f} photos/s"] * (self.done > self.kept)
        return ("interrupted: " if interrupted else "") + f"{count(self.done, 'photo')}: " + ", ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "photos": self.done,
            "classified": self.done - self.failed,
            "failed": self.failed,
            "failures": dict(self.failures),
            "done_before": self.kept,
            "seconds": round(self.seconds, 3),
            "photos_per_second": round(self.rate, 3),
        }


class Progress(Protocol):
    """Shows how far a run is."""

    def advance(self, tally: Tally) -> None:
        """One photo more is done."""

    def set_total(self, photos: int) -> None:
        """So many will be done; may be called from any thread."""


class Silence:
    """No progress is shown."""

    def advance(self, tally: Tally) -> None:
        """Nothing."""

    def set_total(self, photos: int) -> None:
        """Nothing."""


class Bar:
    """A progress bar with rate and time left, once the total is known."""

    def __init__(self, progress: RichProgress) -> None:
        self._progress = progress
        self._task = progress.add_task("classifying", total=None, failed="", rate="")

    def advance(self, tally: Tally) -> None:
        """One photo more."""
        failed = f"{tally.failed} failed" if tally.failed else ""
        self._progress.update(self._task, advance=1, failed=failed, rate=f"{tally.rate:.1f}/s")

    def set_total(self, photos: int) -> None:
        """The bar gets its length."""
        self._progress.update(self._task, total=photos)


class Lines:
    """A plain line now and then, for logs: a bar would fill them with control characters."""

    def __init__(self, every: float = PLAIN_SECONDS) -> None:
        self._every = every
        self._next = time.monotonic() + every
        self._total: int | None = None

    def advance(self, tally: Tally) -> None:
        """One photo more; a line where the last is old enough."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._every
        parts = [f"{tally.done:,}" + (f" of {self._total:,}" if self._total else "") + " photos"]
        parts += [f"{tally.failed:,} failed"] * bool(tally.failed) + [f"{tally.rate:.1f} photos/s"]
        if self._total and tally.rate:
            parts.append(f"{max(0, self._total - tally.done) / tally.rate:,.0f} s left")
        say(", ".join(parts))

    def set_total(self, photos: int) -> None:
        """The lines tell the time left from now on."""
        self._total = photos


@contextmanager
def bar(screen: Console | None) -> Iterator[Progress]:
    """A bar on this console, gone at the end; nothing for None."""
    if screen is None:
        yield Silence()
        return
    from rich import progress as rich_progress

    columns: list[Any] = [
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TextColumn("{task.fields[rate]}"),
        rich_progress.TimeRemainingColumn(elapsed_when_finished=True),
        rich_progress.TextColumn("{task.fields[failed]}", style="red"),
    ]
    with rich_progress.Progress(
        *columns, console=screen, transient=True, redirect_stdout=False, redirect_stderr=False
    ) as progress:
        yield Bar(progress)


def say(text: str) -> None:
    """One message to stderr, beside whatever the results go to; nobody may be there to read it."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def _grid() -> Grid:
    return Grid.grid(padding=(0, 2, 0, 0), pad_edge=False)


def _tail(text: str, width: int) -> str:
    """The end of a long path, which tells more than its beginning."""
    if cell_len(text) <= width:
        return text
    while cell_len(text) > width - 1:
        text = text[1:]
    return "…" + text


def count(number: int, name: str) -> str:
    """`1 photo`, `2 photos`."""
    return f"{number:,} {name}" + ("" if number == 1 else "s")
