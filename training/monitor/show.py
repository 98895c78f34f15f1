"""What a person wants to know of a recorded run: the rules' findings in words, and the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from . import rules
from .finding import CLEAR, FOUND, SKIPPED, Finding
from .monitor import FOLDER
from .recording import Recording


def show(run: Path, page: Path | None) -> tuple[Recording, list[Finding], Path | None]:
    """The record in the folder of a run, what the rules find in it, and the HTML page if one is to be written.

    DataError if nothing was recorded there, TrainingError if plotly is not installed.
    """
    folder = run / FOLDER if (run / FOLDER).is_dir() else run
    recording = Recording.read(folder)
    findings = rules.check(recording)
    if page is None:
        return recording, findings, None
    from .report import write_report

    trace = folder / "trace.json.gz"
    return recording, findings, write_report(recording, findings, page, trace if trace.exists() else None)


def lines(recording: Recording, findings: Sequence[Finding]) -> Iterator[str]:
    """What was found, each with evidence and mend; then the names of the rest."""
    about = recording.about
    yield f"{about.get('name') or 'run'}: {about['status']}{f', {m}' if (m := about.get('message')) else ''}"
    for finding in findings:
        if finding.status == FOUND:
            yield f"{finding.rule}: {finding.evidence}"
            yield f"  mend: {finding.mend}"
    for status, words in ((CLEAR, "nothing found by"), (SKIPPED, "not to be told by this record")):
        names = [finding.rule for finding in findings if finding.status == status]
        if names:
            yield f"{words}: {', '.join(names)}"
