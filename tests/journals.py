"""Journals and the outcomes in them, made in one call."""

from __future__ import annotations

from pathlib import Path

from client.journal import Journal, Key
from client.results import Failure, Outcome
from lambda_api.schema import Prediction

KEY = Key("m", "v1", "top_k=5 shrink=2")
LABELS = (Prediction("beagle", "n1", 0.9), Prediction("pug", "n2", 0.05))


def ok(path: str, sha256: str = "a1", version: str = "v1") -> Outcome:
    """A classified photo."""
    return Outcome(path, sha256, LABELS, "confident", None, "m", version, 12.5, KEY.options)


def failed(path: str, sha256: str | None = "a1") -> Outcome:
    """A photo that failed."""
    return Outcome(path, sha256, (), None, Failure("bad_image", "torn", "mend"), "m", "v1", 1.0, KEY.options)


def opened(path: Path, *, retry_failed: bool = False, key: Key = KEY) -> Journal:
    """A journal that has begun."""
    found = Journal.open(path)
    found.begin(key, retry_failed=retry_failed)
    return found


def written(path: Path, *outcomes: Outcome) -> Path:
    """A journal that was closed in order."""
    with opened(path) as found:
        for outcome in outcomes:
            found.write(outcome)
    return path
