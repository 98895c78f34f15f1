"""The result of a check, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .finding import PROBLEM, WARNING, Finding, number


@dataclass(frozen=True)
class Report:
    """What a check found.

    `counts` are photos by split and class folder. `generated` are splits that were made by `seed` rather than
    found. `fingerprint` is that of all readable files; `ignored` counts files that are no photos.
    """

    root: str
    counts: Mapping[str, Mapping[str, int]]
    generated: tuple[str, ...]
    seed: int
    photos: int
    ignored: int
    fingerprint: str
    findings: tuple[Finding, ...]

    def of_level(self, level: str) -> list[Finding]:
        """The findings of one level."""
        return [finding for finding in self.findings if finding.level == level]

    @property
    def ok(self) -> bool:
        """Whether nothing would spoil training."""
        return not self.of_level(PROBLEM)

    def verdict(self) -> str:
        """`ok`, or how many problems and warnings there are."""
        problems, warnings = len(self.of_level(PROBLEM)), len(self.of_level(WARNING))
        if not problems + warnings:
            return "ok"
        return f"{number(problems, 'problem') if problems else 'ok'}, {number(warnings, 'warning')}"

    def as_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {
            "root": self.root,
            "ok": self.ok,
            "verdict": self.verdict(),
            "photos": self.photos,
            "ignored": self.ignored,
            "fingerprint": self.fingerprint,
            "generated": list(self.generated),
            "seed": self.seed,
            "counts": {split: dict(classes) for split, classes in self.counts.items()},
            "findings": [finding.as_dict() for finding in self.findings],
        }
