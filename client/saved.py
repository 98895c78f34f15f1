"""`results`: what an earlier run or a Batch Transform job has left, looked at in another way."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from client import journal, screen
from client.after import Wishes
from client.errors import UsageError
from client.output import Format
from client.printing import OK, SOME_FAILED, Printing
from client.transform_results import Results
from client.views import Filter, LabelCounts
from lambda_api.schema import DEFAULT_TOP_K


@dataclass(frozen=True)
class Saved:
    """Results that are there. `photos` is what a job was given, so that each of them has its line."""

    source: str
    photos: str | None = None
    concurrency: int = 32
    wishes: Wishes = field(default_factory=Wishes)
    summary: bool = False

    def run(self, output: Path | None, lines: Format | None, *, quiet: bool, force: bool) -> int:
        """Print or write them and do what is wished; the exit code: 1 where there are photos without labels."""
        self.wishes.check()
        if os.path.isfile(self.source):
            if self.photos is not None:
                raise UsageError("--photos goes with what a job left.", "The lines of a file have their names already.")
            return self._file(Path(self.source), output, lines, quiet=quiet, force=force)
        if self.wishes or self.summary or self.wishes.filter != Filter():
            fact = "What a job left has to be one file first."
            raise UsageError(fact, "Run: results SOURCE -o FILE.jsonl, then results FILE.jsonl with these options.")
        return Results(self.source, self.photos, self.concurrency).run(
            Printing.of(output, lines, DEFAULT_TOP_K, quiet=quiet, force=force)
        )

    def _file(self, file: Path, output: Path | None, lines: Format | None, *, quiet: bool, force: bool) -> int:
        from client.export import export

        printing = Printing.of(output, lines, 1, quiet=quiet, force=force)
        tally, counts, damaged = screen.Tally(), LabelCounts(), list[int]()
        for outcome in filter(self.wishes.filter.keeps, journal.read(file, damaged.append)):
            tally.add(outcome)
            counts.add(outcome)
        silent = bool(self.wishes) and output is None and lines is None  # what is wished is enough
        if not silent:
            export(
                lambda: filter(self.wishes.filter.keeps, journal.read(file)),
                printing.format,
                output,
                top_k=None,
                force=force,
            )
        fine = self.wishes.fulfil(lambda: journal.read(file))
        if not quiet:
            failed = f", {tally.failed:,} of them failed" if tally.failed else ""
            screen.say(f"{screen.count(tally.done, 'photo')} in {file}{failed}")
            if self.summary:
                screen.say(counts.table())
        if sum(damaged):
            lines_of = f"{screen.count(sum(damaged), 'line')} of {file}"
            screen.say(
                f"warning: {lines_of} cannot be read and are passed over. The run's own command does them again."
            )
        return OK if fine and not (tally.failed or sum(damaged)) else SOME_FAILED
