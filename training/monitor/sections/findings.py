"""What the rules say: what they found with evidence and mend, then what is well, then what they could not tell."""

from __future__ import annotations

import re
from collections.abc import Sequence

from training.monitor.finding import CLEAR, FOUND, SKIPPED, Finding
from training.page.markup import Html, escape, fold, join, paragraph, table, tag
from training.page.words import count

_FLAG = re.compile(r"--[a-z][a-z-]*(?: \d[\d.,e-]*)?(?<![.,])")


def with_status(findings: Sequence[Finding], status: str) -> list[Finding]:
    """Those of a status, in their order."""
    return [finding for finding in findings if finding.status == status]


def findings_section(findings: Sequence[Finding]) -> Html:
    """All findings; what a rule found is open, what it could not tell is folded away."""
    found, clear, skipped = (with_status(findings, status) for status in (FOUND, CLEAR, SKIPPED))
    if not findings:
        return paragraph("No rules have read this record.")
    parts = [_found(finding) for finding in found]
    if not found:
        parts.append(paragraph(f"Nothing was found by {count(len(clear), 'rule')} that could tell."))
    if clear:
        rows = [(finding.rule, finding.evidence) for finding in clear]
        parts.append(fold(f"{count(len(clear), 'rule')} found nothing", _table("Rules that found nothing", rows)))
    if skipped:
        rows = [(finding.rule, finding.evidence) for finding in skipped]
        title = f"{count(len(skipped), 'rule')} could not tell"
        parts.append(fold(title, _table("Rules that could not tell, and what they miss", rows)))
    return join(parts)


def _table(caption: str, rows: Sequence[tuple[str, str]]) -> Html:
    return table(caption, ("Rule", "Evidence"), rows)


def _found(finding: Finding) -> Html:
    where = finding.stage and f"in {finding.stage}"
    if finding.step is not None:
        where = f"{where}, first at step {finding.step:,}" if where else f"first at step {finding.step:,}"
    heading = tag("h3", finding.rule, *([" ", tag("small", where)] if where else []))
    mend = [paragraph(tag("strong", "Do: "), with_flags(finding.mend), class_="mend")] if finding.mend else []
    return tag("article", heading, paragraph(finding.evidence), *mend, class_="finding")


def with_flags(text: str) -> Html:
    """The text with flags as they are typed."""
    parts: list[Html] = []
    end = 0
    for match in _FLAG.finditer(text):
        parts += [escape(text[end : match.start()]), tag("code", match.group())]
        end = match.end()
    return join([*parts, text[end:]])
