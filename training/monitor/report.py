"""One HTML file on a run: what it did, where its time went, what the rules found, and how training went."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from training.page.document import Section, page, plotly_js
from training.page.markup import Html, paragraph
from training.page.output import write_whole

from .finding import Finding
from .recording import Recording
from .sections.curves import curves
from .sections.findings import findings_section
from .sections.steps import breakdown
from .sections.summary import summary
from .sections.tables import operators_section, settings_section
from .sections.timeline import timeline


def write_report(
    recording: Recording,
    findings: Sequence[Finding],
    output_file: Path,
    trace: Path | None = None,
    now: float | None = None,
) -> Path:
    """Write the page, whole or not at all, and return its path; about 5 MB, and less than 8 for any run.

    `trace` is the Chrome trace beside the record, if one was made. `now`, in seconds since 1970, tells whether a
    run that says it is running has been silent for long. TrainingError if plotly is not installed.
    """
    library = plotly_js()
    name = recording.about.get("name") or "model"
    sections = list(_sections(recording, findings, trace, time.time() if now is None else now))
    return write_whole(output_file, page(f"Training of {name}", sections, library))


def _sections(recording: Recording, findings: Sequence[Finding], trace: Path | None, now: float) -> Iterator[Section]:
    yield Section("summary", "Summary", summary(recording, findings, now))
    yield Section("rules", "What the rules found", findings_section(findings))
    told = timeline(recording)
    yield Section("timeline", "Timeline", told or _nothing("when the run did what"))
    yield Section("steps", "Where the time of a step goes", breakdown(recording) or _nothing("how long its steps took"))
    yield Section("curves", "Curves", curves(recording) or _nothing("loss and accuracy"))
    operators = operators_section(recording, trace)
    untraced = paragraph("No steps were traced; --profile-steps 10 would tell which operators take the time.")
    yield Section("operators", "Operators", operators or untraced)
    yield Section("settings", "Settings", settings_section(recording.about))


def _nothing(what: str) -> Html:
    return paragraph(f"Nothing was recorded of {what}.")
