"""What a rule says of a recording."""

from __future__ import annotations

from dataclasses import dataclass, field

FOUND, CLEAR, SKIPPED = "found", "clear", "skipped"


@dataclass(frozen=True)
class Finding:
    """One rule's word on one run."""

    rule: str
    status: str
    """FOUND, CLEAR, or SKIPPED where the recording cannot tell."""
    evidence: str
    """The facts with their numbers, one or two sentences; for SKIPPED what is missing."""
    mend: str = ""
    """What to do next, with the flag to type; empty unless FOUND."""
    stage: str = ""
    step: int | None = None
    """Where it was first seen, if it was at one step."""
    values: dict[str, float] = field(default_factory=dict)
    """The numbers of the evidence by name, as `workers` and `speedup` of the rule Dataloader."""
