"""Looks at results: which of them to show, and how many have which label."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

from rich.cells import cell_len

from client.output import printable
from client.results import Outcome


@dataclass(frozen=True)
class Filter:
    """Which outcomes are shown: with at least this score in [0, 1], and with one of these labels or class ids.

    A failed photo passes only where nothing is asked for, or where the `failed` ones are.
    """

    min_confidence: float | None = None
    only: frozenset[str] = frozenset()
    failed: bool = False

    def keeps(self, outcome: Outcome) -> bool:
        """Whether to show it; what counts is its best label."""
        if self.failed:
            return not outcome.ok
        if self.min_confidence is None and not self.only:
            return True
        if not outcome.predictions:
            return False
        best = outcome.predictions[0]
        wanted = not self.only or best.label in self.only or best.class_id in self.only
        return wanted and best.score >= (self.min_confidence or 0.0)


class LabelCounts:
    """Counts outcomes by their best label as they come."""

    def __init__(self) -> None:
        self._photos: Counter[str] = Counter()
        self._scores: defaultdict[str, float] = defaultdict(float)
        self._others: Counter[str] = Counter()

    def add(self, outcome: Outcome) -> None:
        """Count one; unsure and unknown photos count for their label, too."""
        if not outcome.predictions:
            self._others["failed"] += 1
            return
        best = outcome.predictions[0]
        self._photos[best.label] += 1
        self._scores[best.label] += best.score
        if outcome.decision in ("unsure", "unknown"):
            self._others[outcome.decision] += 1

    def to_dict(self) -> dict[str, int]:
        """Photos by label, the most frequent first."""
        return dict(self._photos.most_common())

    def table(self, limit: int = 20) -> str:
        """Lines for people: label, photos, share of all that have one, mean score; then what is left."""
        total = max(1, self._photos.total())
        rows = [
            (printable(label), f"{photos:,}", f"{photos / total:.1%}", f"{self._scores[label] / photos:.2f}")
            for label, photos in self._photos.most_common(limit)
        ]
        lines = _aligned([("label", "photos", "share", "mean score"), *rows]) if rows else []
        if len(self._photos) > limit:
            lines.append(f"and {len(self._photos) - limit:,} labels more")
        lines += [f"{photos:,} {kind}" for kind, photos in self._others.most_common()]
        return "\n".join(lines)


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Columns: the first to the left, the others to the right."""
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [" " * (width - cell_len(cell)) + cell for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first + " " * (widths[0] - cell_len(first)), *cells]))
    return lines
