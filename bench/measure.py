"""Timing and printing shared by the benchmarks. Machines are noisy: medians, interleaved, and ratios."""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

from PIL import Image

from local_stack import models

Times = dict[str, list[float]]
"""Milliseconds of each call, by name."""


def photo(width: int, height: int, kilobytes: int | None = None) -> bytes:
    """A real photo (scikit-image's coffee) as a JPEG of that size, at about `kilobytes` where given."""
    path = next(path for path in models.samples() if path.name == "coffee.png")
    image = Image.open(path).convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    best = b""
    for quality in range(98, 20, -2) if kilobytes else [92]:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        best = buffer.getvalue()
        if kilobytes and len(best) <= kilobytes * 1000:
            break
    return best


def interleaved(calls: Mapping[str, Callable[[], Any]], rounds: int, block: int = 10, warm: int = 3) -> Times:
    """Milliseconds of `block` calls a round, in turns, so that noise meets all alike.

    In blocks with unmeasured calls before each, since two processes with a model each cool the other's caches.
    """
    times: Times = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            for number in range(-warm, block):
                started = time.perf_counter()
                call()
                if number >= 0:
                    times[name].append((time.perf_counter() - started) * 1e3)
    return times


def table(times: Mapping[str, list[float]]) -> dict[str, float]:
    """Print median and 95th percentile of each row; returns the medians."""
    medians = {}
    for name, values in times.items():
        medians[name] = statistics.median(values)
        p95 = statistics.quantiles(values, n=20)[-1]
        print(f"{name:44} p50 {medians[name]:8.2f} ms   p95 {p95:8.2f} ms   n {len(values)}")
    return medians
