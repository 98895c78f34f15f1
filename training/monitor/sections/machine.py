"""Processor, memory, disk and GPUs over the time of the run."""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from training.monitor.recording import SystemSample
from training.page.markup import percent
from training.page.plots import BLUE, COLOURS, GREY, ORANGE, Panel, line, rounded, thinned
from training.page.words import listed, size

from .axis import TimeAxis

_MANY = 800  # samples: more would be a block of colour
_MEANS, _EXTREMES = 400, 1500  # points of a curve
_WAITED = 0.01  # share of time waiting for disks that is worth a line

Read = Callable[[SystemSample], float]
Stretch = tuple[list[float], list[SystemSample]]
"""Places on the axis and samples of a time without pause."""


def machine_panels(samples: Sequence[SystemSample], axis: TimeAxis) -> list[Panel]:
    """Panels of what was sampled; none without samples."""
    if not samples:
        return []

    stretches = _stretches(samples, axis)

    def curves(name: str, colour: str, read: Read, hover: str) -> list[dict[str, Any]]:
        return _curves(stretches, name, colour, read, hover)

    share, gigabytes, speed = "%{y:.0%}", "%{y:.3g} GB", "%{y:.3g} MB/s"
    busy = [
        *curves("busiest core", ORANGE, lambda s: s.busiest, share),
        *curves("all cores", BLUE, lambda s: s.cpu, share),
    ]
    if max(s.iowait for s in samples) > _WAITED:
        busy += curves("disk wait", GREY, lambda s: s.iowait, share)
    memory = [
        *curves("machine", GREY, lambda s: s.memory / 1e9, gigabytes),
        *curves("this run", BLUE, lambda s: s.process_memory / 1e9, gigabytes),
    ]
    disk = [
        *curves("read", BLUE, lambda s: s.read / 1e6, speed),
        *curves("written", ORANGE, lambda s: s.written / 1e6, speed),
    ]
    shares = {"tickformat": ".0%", "range": [0, 1.05]}
    return [
        Panel("CPU", busy, shares),
        Panel("Memory, GB", memory, {"rangemode": "tozero"}),
        Panel("Disk, MB/s", disk, {"rangemode": "tozero"}),
        *_gpu_panels(stretches, shares),
    ]


def _gpu_panels(stretches: Sequence[Stretch], shares: dict[str, Any]) -> list[Panel]:
    several = max(len(s.gpus) for _, samples in stretches for s in samples)
    if not several:
        return []
    busy, memory = [], []
    for i in range(several):
        name, colour = f"GPU {i}" if several > 1 else "GPU", COLOURS[(i + 2) % len(COLOURS)]
        busy += _curves(stretches, name, colour, partial(_gpu, i, "utilization", 1), "%{y:.0%}")
        memory += _curves(stretches, name, colour, partial(_gpu, i, "memory", 1e9), "%{y:.3g} GB")
    return [Panel("GPU busy", busy, shares), Panel("GPU memory, GB", memory, {"rangemode": "tozero"})]


def _gpu(place: int, name: str, unit: float, sample: SystemSample) -> float:
    return float(getattr(sample.gpus[place], name)) / unit if place < len(sample.gpus) else math.nan


def _curves(stretches: Sequence[Stretch], name: str, colour: str, read: Read, hover: str) -> list[dict[str, Any]]:
    """A line that is broken where the run was not at work; of many samples their mean, and paler all extremes."""
    number = sum(len(x) for x, _ in stretches)
    ends, means = (list[float](), list[float]()), (list[float](), list[float]())
    for x, samples in stretches:
        y = [read(sample) for sample in samples]
        _add(ends, *thinned(x, y, max(_EXTREMES // len(stretches), 20)))
        long = -(-number // _MEANS)
        _add(means, _means(x, long), _means(y, long))
    if number <= _MANY:
        return [line(*ends, name, colour, hovertemplate=hover)]
    pale = line(*ends, "", colour, opacity=0.3, line={"color": colour, "width": 1}, hoverinfo="skip")
    return [pale, line(*means, name, colour, hovertemplate=hover)]


def _add(curve: tuple[list[float], list[float]], x: list[float], y: list[float]) -> None:
    """Lengthen the curve, and end it with a gap."""
    curve[0].extend([*x, x[-1]])
    curve[1].extend([*y, math.nan])


def _means(values: list[float], long: int) -> list[float]:
    parts = (values[start : start + long] for start in range(0, len(values), long))
    return [rounded(sum(part) / len(part)) for part in parts]


def _stretches(samples: Sequence[SystemSample], axis: TimeAxis) -> list[Stretch]:
    """The samples, cut at pauses."""
    found: list[Stretch] = [([], []) for _ in range(len(axis.restarts) + 1)]
    for sample in samples:
        x, own = found[bisect(axis.restarts, sample.t)]
        x.append(axis.x(sample.t))
        own.append(sample)
    return [stretch for stretch in found if stretch[0]]


def in_words(samples: Sequence[SystemSample]) -> str:
    """The same in a sentence; empty without samples."""
    if not samples:
        return ""
    mean = sum(s.cpu for s in samples) / len(samples)
    facts = [
        f"its cores were busy {percent(mean)} of the time",
        f"the run took up to {size(max(s.process_memory for s in samples))} of {size(samples[-1].memory_total)} memory",
        f"up to {size(max(s.read for s in samples))} a second were read",
    ]
    gpus = [gpu for s in samples for gpu in s.gpus]
    if gpus:
        used = sum(gpu.utilization for gpu in gpus) / len(gpus)
        held = f"{size(max(gpu.memory for gpu in gpus))} of {size(gpus[-1].memory_total)}"
        facts.append(f"GPUs were busy {percent(used)} of the time and held up to {held}")
    means = " Lines are means, paler ones show all extremes." if len(samples) > _MANY else ""
    return f"The machine: {listed(facts)}.{means}"
