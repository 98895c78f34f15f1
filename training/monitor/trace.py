"""torch.profiler over a window of steps: a Chrome trace and which operators took the time."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from .recording import Operator

OPERATORS = 50
"""As many are kept, those that took longest."""


class Trace:
    """Traces `steps` steps after `after` others of whichever stage begins it, and writes the result once."""

    def __init__(self, folder: Path, after: int, steps: int, say: Callable[[str], None]) -> None:
        self._folder, self._after, self._steps, self._say = folder, after, steps, say
        self._profile: Any = None
        self._done = not steps
        self._seen = 0

    def begin_step(self, device: torch.device) -> bool:
        """A step begins; whether it is the first one that is traced."""
        if self._done or self._profile is not None or self._seen < self._after:
            return False
        kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
        self._profile = profile(activities=kinds)
        with warnings.catch_warnings():
            # Of windows whose events are lost to later ones: there is one.
            warnings.filterwarnings("ignore", ".*Profiler clears events", UserWarning)
            self._profile.start()
        return True

    def end_step(self) -> None:
        """A step has ended; with the last of the window the result is written."""
        self._seen += 1
        if self._profile is not None and self._seen >= self._after + self._steps:
            self.close()

    def end_stage(self) -> None:
        """The stage has ended: what has been traced of it is written; without anything the next one may begin."""
        self.close()
        self._seen = 0

    def close(self) -> None:
        """Write what has been traced, if anything."""
        if self._profile is None:
            return
        profiled, self._profile, self._done = self._profile, None, True
        profiled.stop()
        try:
            self._write(profiled)
        except (OSError, RuntimeError) as error:  # torch's own word for a file that it cannot write
            self._say(f"note: the trace cannot be written ({error}); the run goes on without it")

    def _write(self, profiled: Any) -> None:
        profiled.export_chrome_trace(str(self._folder / "trace.json.gz"))
        text = json.dumps([asdict(operator) for operator in operators(profiled.key_averages())], indent=1)
        (self._folder / "operators.json").write_text(text + "\n", encoding="utf-8")


def operators(rows: Iterable[Any]) -> list[Operator]:
    """Those of a profile's averages that took longest. A GPU's kernels are left out: each counts for its operator."""
    found = [
        Operator(row.key, row.count, row.self_cpu_time_total / 1e6, row.self_device_time_total / 1e6)
        for row in rows
        if row.device_type.name == "CPU"
    ]
    found.sort(key=lambda operator: -(operator.device_seconds or operator.self_seconds))
    return found[:OPERATORS]
