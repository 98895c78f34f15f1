"""What a person sees of a check or a download: a table, findings, progress bars."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import IO

from rich import progress as rich_progress
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .finding import INFO, PROBLEM, WARNING, Finding, number, shown
from .folders import SPLITS
from .report import Report

PIPE_WIDTH = 1000
"""Columns where no terminal sets a limit: no name is ever cut there."""

MANY_CLASSES = 40
"""From more classes than this only the smallest are shown."""

SMALLEST = 10
"""So many of them."""

NAMES = 5
"""So many names are shown of each finding."""

_STYLES = {PROBLEM: "bold red", WARNING: "yellow", INFO: "dim"}


def console(stream: IO[str]) -> Console:
    """A console on a stream; plain text of any width where that is no terminal."""
    width = None if stream.isatty() else PIPE_WIDTH
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def show(report: Report, screen: Console, everything: bool = False) -> None:
    """Print the table of counts, the findings and the closing line; `everything` leaves nothing out."""
    screen.print(_table(report, everything))
    if report.generated:
        screen.print(f"{', '.join(report.generated)}: made by seed {report.seed}", soft_wrap=True)
    for finding in report.findings:
        _show_finding(finding, screen, everything)
    screen.print(f"\nfingerprint {report.fingerprint}")
    screen.print(report.verdict(), style="bold green" if report.ok else "bold red")


def _table(report: Report, everything: bool) -> Table:
    sizes = {name: [report.counts[split][name] for split in SPLITS] for name in report.counts["train"]}
    table = Table("class", box=None, pad_edge=False, header_style="bold")
    for title in (*SPLITS, "all"):
        table.add_column(title, justify="right")
    names = list(sizes)
    if len(names) > MANY_CLASSES and not everything:
        names = sorted(names, key=lambda name: (sizes[name][0], name))[:SMALLEST]
    for name in names:
        table.add_row(*_row(Text(shown(name), overflow="fold"), sizes[name]))
    if others := len(sizes) - len(names):
        table.add_row(Text(f"and {number(others, 'larger class', 'larger classes')} (--all shows them)"))
    total = [sum(report.counts[split].values()) for split in SPLITS]
    table.add_row(*_row(Text(number(len(sizes), "class", "classes")), total), style="bold")
    return table


def _row(title: Text, sizes: list[int]) -> list[Text]:
    return [title, *(Text(f"{size:,}") for size in (*sizes, sum(sizes)))]


def _show_finding(finding: Finding, screen: Console, everything: bool) -> None:
    screen.print()
    title = Text.assemble((finding.level, _STYLES[finding.level]), f"  {finding.kind}: {finding.fact}")
    screen.print(title, soft_wrap=True)
    names = finding.names if everything else finding.names[:NAMES]
    for name in names:
        screen.print(f"    {shown(name)}", soft_wrap=True)
    if rest := len(finding.names) - len(names):
        screen.print(f"    and {rest:,} more (--all shows them)")
    if finding.mend:
        screen.print(f"  -> {finding.mend}", soft_wrap=True)


Advance = Callable[[str, int, "int | None"], None]
"""Moves a bar: what is being done, how much of it is, and how much there is if that is known."""


def counting() -> AbstractContextManager[Advance]:
    """A bar on stderr for a number of photos; none where that is no terminal."""
    return _bars(rich_progress.MofNCompleteColumn(), rich_progress.TimeRemainingColumn())


def transferring() -> AbstractContextManager[Advance]:
    """A bar on stderr for bytes; none where that is no terminal."""
    speed = rich_progress.TransferSpeedColumn()
    return _bars(rich_progress.DownloadColumn(), speed, rich_progress.TimeRemainingColumn())


@contextmanager
def _bars(*columns: rich_progress.ProgressColumn) -> Iterator[Advance]:
    """A bar for each thing that is done, gone at the end."""
    screen = console(sys.stderr)
    texts = [rich_progress.TextColumn("{task.description}"), rich_progress.BarColumn()]
    with rich_progress.Progress(
        *texts,
        *columns,
        console=screen,
        transient=True,
        disable=not screen.is_terminal,
        redirect_stdout=False,
    ) as bar:
        tasks: dict[str, rich_progress.TaskID] = {}

        def advance(step: str, done: int, total: int | None) -> None:
            if step not in tasks:
                tasks[step] = bar.add_task(step, total=total)
            bar.update(tasks[step], completed=done, total=total)

        yield advance
