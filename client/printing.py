"""Where result lines go, and what a person sees meanwhile."""

from __future__ import annotations

import io
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TextIO

from client import output, screen
from client.errors import UsageError
from client.output import Format, Writer
from client.results import Outcome

if TYPE_CHECKING:
    from rich.console import Console

OK, SOME_FAILED, USAGE, NO_API, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit codes: 2 where nothing was sent, since the command or a setting is wrong."""


@dataclass(frozen=True)
class Printing:
    """Lines of which format go where; `path` None means stdout. `json` makes the summary JSON."""

    path: Path | None
    format: Format
    top_k: int
    quiet: bool = False
    force: bool = False
    json: bool = False

    @classmethod
    def of(
        cls,
        path: Path | None,
        lines: Format | None,
        top_k: int,
        *,
        quiet: bool,
        force: bool,
        json: bool = False,
    ) -> Printing:
        """With the format chosen where none is named: by suffix, or a table for a terminal."""
        if lines is None and path is not None:
            lines = Format.of_suffix(path.suffix)
        elif lines is None:
            lines = Format.table if sys.stdout.isatty() and not json else Format.jsonl
        return cls(path, lines, top_k, quiet, force, json)

    @property
    def is_journal(self) -> bool:
        """Whether the lines are a file that a later run goes on with."""
        if self.path is None or self.format is not Format.jsonl:
            return False
        return self.path.is_file() or self.path.is_dir() or not self.path.exists()  # a device is written through

    def check(self) -> None:
        """UsageError where the lines cannot go there, before anything is sent."""
        if self.format is Format.parquet:
            fact = "Parquet is written in one go, at the end."
            raise UsageError(fact, "Use -o FILE.jsonl, then: results FILE.jsonl -o FILE.parquet")
        if self.path is not None and not self.is_journal:
            output.check_file(self.path, force=self.force)

    def open_writer(self, stack: ExitStack) -> tuple[Writer, Console | None]:
        """The writer, and the console it prints on where it prints a table; UsageError if the file cannot be made."""
        self.check()
        if self.path is not None:
            output.check_file(self.path, force=self.force)
        if self.format is Format.table:
            text: TextIO = sys.stdout
            if self.path is not None:
                binary = output.open_file(self.path, force=self.force)
                text = stack.enter_context(io.TextIOWrapper(binary, "utf-8", "backslashreplace", write_through=True))
            console = screen.console(text)
            return screen.Table(console), console
        lines: BinaryIO = sys.stdout.buffer
        if self.path is not None:
            lines = stack.enter_context(output.open_file(self.path, force=self.force))
        if self.format is Format.csv:
            return output.Csv(lines, self.top_k), None
        return output.JsonLines(lines), None

    @contextmanager
    def progress(self, table: Console | None = None) -> Iterator[screen.Progress]:
        """A bar on a terminal, never between lines that a terminal shows; plain lines elsewhere; nothing if quiet."""
        if self.quiet or self.json:
            yield screen.Silence()
        elif not sys.stderr.isatty():
            yield screen.Lines()
        else:
            apart = self.path is not None or not sys.stdout.isatty()
            with screen.bar(screen.console(sys.stderr) if apart else table) as bar:
                yield bar


def write_all(
    outcomes: Generator[Outcome, None, None], writer: Writer, tally: screen.Tally, progress: screen.Progress
) -> bool:
    """Write every outcome as it comes; whether Ctrl-C ended it early."""
    try:
        with closing(outcomes):
            for outcome in outcomes:
                try:
                    writer.write(outcome)
                finally:  # Ctrl-C may come when the line is out already: the summary counts it
                    tally.add(outcome)
                progress.advance(tally)
    except KeyboardInterrupt:
        return True
    return False
