"""A folder that is watched while time passes only when told to."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from client import watching

SETTLE = 2.0
OLD = (1_000_000_000, 1_000_000_000)


class Clock:
    """Time that passes only when told to, but for what tells the age of files."""

    time = staticmethod(time.time)

    def __init__(self) -> None:
        self.now = 1000.0

    @classmethod
    def put(cls, monkeypatch: pytest.MonkeyPatch) -> Clock:
        """A new one in the place of the clock of what is watched; looks come quickly."""
        found = cls()
        monkeypatch.setattr(watching, "time", found)
        monkeypatch.setattr(watching, "TICK_SECONDS", 0.01)
        return found

    def monotonic(self) -> float:
        """The time in seconds."""
        return self.now


class Watched:
    """A folder that is watched, and what it gives. Names are relative to it."""

    def __init__(self, folder: Path, clock: Clock, **options: Any) -> None:
        self.folder, self.clock = folder, clock
        self.sources = watching.watch(folder, settle=SETTLE, **options)

    def now(self, looks: int = 30) -> list[str]:
        """What comes in so many looks without time passing."""
        found = [source for _ in range(looks) if (source := next(self.sources))]
        return sorted(os.path.relpath(source.name, self.folder) for source in found)

    def within(self, seconds: float) -> list[str]:
        """What comes while this time passes."""
        found = self.now()
        for _ in range(10):
            self.clock.now += seconds / 10
            found += self.now(3)
        return sorted(found)

    def next(self, number: int, pace: float = 0.1) -> list[str]:
        """The next so many, however long that takes: `pace` seconds pass at each look that finds none."""
        found: list[str] = []
        deadline = time.monotonic() + 60
        while len(found) < number and time.monotonic() < deadline:
            if source := next(self.sources):
                found.append(os.path.relpath(source.name, self.folder))
            else:
                self.clock.now += pace
        return sorted(found)
