"""One thing found in the data, as the fact, the names it concerns and the mend."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import DataError

PROBLEM = "problem"
"""Level of what would spoil training: `load` refuses it, `check` ends with exit code 1."""

WARNING = "warning"
"""Level of what costs accuracy or is likely a mistake, and can be trained on."""

INFO = "info"
"""Level of what is good to know and needs no mend."""

LEVELS = (PROBLEM, WARNING, INFO)
"""The levels from bad to good."""


@dataclass(frozen=True)
class Finding:
    """A fact about folders or photos.

    `kind` is a short word that findings of one sort share, `names` are the folders, photos or pairs of photos
    concerned, `mend` says what to do about it.
    """

    kind: str
    fact: str
    mend: str = ""
    names: tuple[str, ...] = ()
    level: str = PROBLEM

    def sentence(self) -> str:
        """Fact, first names and mend on one line."""
        named = f": {first_few(self.names)}" if self.names else ""
        return f"{self.fact}{named}. {self.mend}".strip()

    def as_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return {**dataclasses.asdict(self), "names": list(self.names)}


def raise_for(findings: Iterable[Finding]) -> None:
    """DataError that tells all problems among the findings, if there are any."""
    problems = [finding.sentence() for finding in findings if finding.level == PROBLEM]
    if len(problems) == 1:
        raise DataError(problems[0])
    if problems:
        raise DataError("\n".join([f"{len(problems)} problems with the data:", *(f"- {text}" for text in problems)]))


def first_few(names: Sequence[str], count: int = 3) -> str:
    """The first `count` names as they can be printed, and how many more there are."""
    listed = ", ".join(shown(name) for name in names[:count])
    return listed if len(names) <= count else f"{listed} and {len(names) - count:,} more"


def shown(name: str) -> str:
    """A file name that any terminal can print: undecodable bytes and control characters as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in name)


def number(count: int, noun: str, plural: str = "") -> str:
    """`1 photo`, `1,200 photos`; the plural adds an s unless it is given."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
