"""`classify` as one call: photos in, lines out while they come, and the exit code that says what happened."""

from __future__ import annotations

import io
import sys
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TextIO

from client import output, screen
from client.api import Client
from client.errors import UsageError
from client.output import Format, Writer, printable
from client.results import Outcome
from client.sources import PHOTO_SUFFIXES, STDIN, Listing, Source

if TYPE_CHECKING:
    from rich.console import Console

OK, SOME_FAILED, INTERRUPTED = 0, 1, 130
"""Exit codes of a run that began; the others are in `cli`."""


@dataclass(frozen=True)
class Job:
    """What to classify and where the lines go; `path` None means stdout."""

    paths: list[str]
    path: Path | None
    format: Format
    top_k: int
    quiet: bool = False
    force: bool = False

    @classmethod
    def of(
        cls,
        paths: list[str],
        path: Path | None,
        lines: Format | None,
        top_k: int,
        *,
        quiet: bool,
        force: bool,
    ) -> Job:
        """A job with the format chosen where none is named: by suffix, or a table for a terminal."""
        if lines is None and path is not None:
            lines = Format.csv if path.suffix.lower() == ".csv" else Format.jsonl
        elif lines is None:
            lines = Format.table if sys.stdout.isatty() else Format.jsonl
        return cls(paths, path, lines, top_k, quiet, force)


class Batch:
    """One run over a job. UsageError on construction if it cannot begin, before anything is sent."""

    def __init__(self, job: Job) -> None:
        self._job = job
        if job.path is not None:
            output.check_file(job.path, force=job.force)
        self._listing = Listing(job.paths)
        self._sources = self._first(iter(self._listing))
        self._tally = screen.Tally()

    def run(self, client: Client) -> int:
        """Classify and write everything; the exit code. Raises OSError where the lines cannot be written."""
        self._tally = screen.Tally()  # here, since the start of a stack is no part of the photos a second
        with ExitStack() as stack:
            writer, shared = open_writer(self._job, stack)
            on = bar_console(self._job, shared)
            sources = self._sized(on)
            total = len(sources) if isinstance(sources, list) else None
            bar = stack.enter_context(screen.bar(on, total))
            interrupted = write_all(client.classify_many(sources), writer, self._tally, bar)
        if not self._job.quiet:
            listing = self._listing
            summary = self._tally.summary(ignored=listing.ignored, links=listing.links, interrupted=interrupted)
            screen.say(summary)
        if interrupted:
            return INTERRUPTED
        return SOME_FAILED if self._tally.failed else OK

    def _first(self, sources: Iterator[Source]) -> Iterator[Source]:
        """The same sources; UsageError where there is not even one."""
        for first in sources:
            return chain([first], sources)
        looked = ", ".join(sorted(PHOTO_SUFFIXES))
        where = printable(", ".join(self._job.paths))
        others = f" ({self._listing.ignored} other files)" if self._listing.ignored else ""
        raise UsageError(
            f"There is no photo in {where}{others}.",
            f"Looked for {looked}, and for files that begin like a photo; hidden ones are passed over.",
        )

    def _sized(self, bar: Console | None) -> Iterable[Source]:
        """All sources at once where a bar wants their number, unless they come from stdin one by one."""
        return list(self._sources) if bar is not None and STDIN not in self._job.paths else self._sources


def open_writer(job: Job, stack: ExitStack) -> tuple[Writer, Console | None]:
    """The writer of a job's lines, and the console it prints on where it prints a table."""
    if job.format is Format.table:
        text: TextIO = sys.stdout
        if job.path is not None:
            binary = output.open_file(job.path, force=job.force)
            text = stack.enter_context(io.TextIOWrapper(binary, "utf-8", "backslashreplace", write_through=True))
        console = screen.console(text)
        return screen.Table(console), console
    lines: BinaryIO = sys.stdout.buffer
    if job.path is not None:
        lines = stack.enter_context(output.open_file(job.path, force=job.force))
    if job.format is Format.csv:
        return output.Csv(lines, job.top_k), None
    return output.JsonLines(lines), None


def bar_console(job: Job, table: Console | None) -> Console | None:
    """Where the bar goes: only to a terminal, and never between lines that a terminal shows."""
    if job.quiet or not sys.stderr.isatty():
        return None
    if job.path is not None or not sys.stdout.isatty():
        return screen.console(sys.stderr)
    return table


def write_all(outcomes: Generator[Outcome, None, None], writer: Writer, tally: screen.Tally, bar: screen.Bar) -> bool:
    """Write every outcome as it comes; whether Ctrl-C ended it early."""
    try:
        with closing(outcomes):
            for outcome in outcomes:
                try:
                    writer.write(outcome)
                finally:  # Ctrl-C may come when the line is out already: the summary counts it
                    tally.add(outcome)
                bar.advance(tally)
    except KeyboardInterrupt:
        return True
    return False
