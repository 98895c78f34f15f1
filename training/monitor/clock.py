"""Where the time of a step goes, on a GPU by its own clock, without making it wait."""

from __future__ import annotations

import itertools
import time
from typing import Any

import torch

from .recording import Step

PHASES = ("wait", "copy", "forward", "backward", "optimizer")


class Clock:
    """Laps of one step after another; a phase may have several laps.

    On a GPU work is queued, so that a clock beside the queue would tell when it was ordered, not when it was done.
    Events in the queue tell; they are read one step later, when they have passed for certain. There `wait` is how long
    the GPU had nothing to do.
    """

    def __init__(self, device: torch.device) -> None:
        self._gpu = device.type == "cuda"
        self._marks: list[tuple[str, Any]] = []
        self._pending: tuple[dict[str, Any], list[tuple[str, Any]]] | None = None

    def start(self) -> None:
        """A step begins."""
        self._marks = [("", self._mark())]

    def lap(self, phase: str) -> None:
        """What passed since the last lap was spent on the phase."""
        self._marks.append((phase, self._mark()))

    def stop(self, **known: Any) -> list[Step]:
        """The step has ended; returns the steps whose times are known by now. `known` are Step's other fields."""
        self.lap("")
        ended, self._pending = self._pending, ({"t": time.time(), **known}, self._marks)
        return self._read(ended) if self._gpu else self.flush()

    def flush(self) -> list[Step]:
        """The last step, if its times have not been given out yet."""
        if self._gpu and self._pending:
            torch.cuda.synchronize()
        last, self._pending = self._pending, None
        return self._read(last)

    def _read(self, ended: tuple[dict[str, Any], list[tuple[str, Any]]] | None) -> list[Step]:
        if ended is None:
            return []
        known, marks = ended
        spent: dict[str, Any] = dict.fromkeys(PHASES, 0.0)
        for (_, before), (phase, after) in itertools.pairwise(marks):
            if phase:
                spent[phase] += self._between(before, after)
        return [Step(**known, **spent, total=self._between(marks[0][1], marks[-1][1]))]

    def _mark(self) -> Any:
        if not self._gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def _between(self, before: Any, after: Any) -> float:
        return float(before.elapsed_time(after)) / 1000 if self._gpu else float(after - before)
