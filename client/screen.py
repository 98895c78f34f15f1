"""What a person sees: table rows and a progress bar as photos are done, and the summary at the end."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from client.output import printable
from client.results import Outcome

if TYPE_CHECKING:
    from rich.progress import Progress

WIDTH = 100
"""Width of a table that goes to no terminal, in columns."""

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
            self._failure(path, f"{outcome.error.code}: {outcome.error.hint or outcome.error.detail}")
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
        self.failures: Counter[str] = Counter()
        self._started = time.perf_counter()

    def add(self, outcome: Outcome) -> None:
        """Count one outcome."""
        self.done += 1
        if outcome.error is not None:
            self.failures[outcome.error.code] += 1

    @property
    def failed(self) -> int:
        """How many photos have no labels."""
        return sum(self.failures.values())

    def summary(self, *, ignored: int = 0, links: int = 0, interrupted: bool = False) -> str:
        """One line: photos, failures by code, other files ignored, seconds, photos a second."""
        seconds = time.perf_counter() - self._started
        codes = ", ".join(f"{code} {count}" for code, count in self.failures.most_common())
        failed = f"{self.failed} failed" + (f" ({codes})" if codes else "")
        parts = [f"{self.done - self.failed} classified", failed]
        if ignored:
            parts.append(_count(ignored, "other file") + " ignored")
        if links:
            parts.append(_count(links, "linked folder") + " not followed")
        parts += [f"{seconds:.1f} s", f"{self.done / max(seconds, 1e-9):.1f} photos/s"]
        return ("interrupted: " if interrupted else "") + f"{_count(self.done, 'photo')}: " + ", ".join(parts)


class Bar:
    """The progress bar's handle; does nothing where no bar is shown."""

    def __init__(self, progress: Progress | None, total: int | None) -> None:
        self._progress = progress
        self._task = progress.add_task("classifying", total=total, failed="") if progress else None

    def advance(self, tally: Tally) -> None:
        """Show one photo more."""
        if self._progress is not None and self._task is not None:
            failed = f"{tally.failed} failed" if tally.failed else ""
            self._progress.update(self._task, advance=1, failed=failed)


@contextmanager
def bar(screen: Console | None, total: int | None) -> Iterator[Bar]:
    """A bar on this console, gone at the end; none for None. `total` None means: not known yet."""
    if screen is None:
        yield Bar(None, total)
        return
    from rich import progress as rich_progress

    columns: list[Any] = [
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TimeRemainingColumn(elapsed_when_finished=True),
        rich_progress.TextColumn("{task.fields[failed]}", style="red"),
    ]
    with rich_progress.Progress(
        *columns, console=screen, transient=True, redirect_stdout=False, redirect_stderr=False
    ) as progress:
        yield Bar(progress, total)


def say(text: str) -> None:
    """One message to stderr, beside whatever the results go to."""
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


def _count(number: int, name: str) -> str:
    return f"{number:,} {name}" + ("" if number == 1 else "s")
