"""Numbers as people say them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime, timezone

_UNITS = ("B", "kB", "MB", "GB", "TB")


def duration(seconds: float) -> str:
    """0.0123 as "12.3 ms", 75 as "1 min 15 s", 7260 as "2 h 1 min"."""
    if not math.isfinite(seconds):
        return "unknown"
    if seconds < 0.9995:
        return f"{_short(1000 * seconds)} ms"
    if seconds < 59.5:
        return f"{_short(seconds)} s"
    whole = round(seconds)
    if whole < 3600:
        return _two(whole, 60, "min", "s")
    minutes = round(seconds / 60)
    return _two(minutes, 60, "h", "min") if minutes < 1440 else _two(round(seconds / 3600), 24, "d", "h")


def _short(value: float) -> str:
    """Three digits, none of them a needless zero."""
    return f"{value:.0f}" if value >= 99.95 else f"{value:.3g}"


def _two(value: int, base: int, big: str, small: str) -> str:
    first, second = divmod(value, base)
    return f"{first} {big} {second} {small}" if second else f"{first} {big}"


def size(count: float) -> str:
    """1_500_000_000 as "1.5 GB"."""
    for unit in _UNITS:
        if abs(count) < 999.5 or unit == _UNITS[-1]:
            break
        count /= 1000
    return f"{_short(count)} {unit}"


def moment(t: float) -> str:
    """Seconds since 1970 as "2024-05-01 13:45 UTC"."""
    return datetime.fromtimestamp(t, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def count(number: int, noun: str, plural: str = "") -> str:
    """(1, "trial") as "1 trial", (2000, "photo") as "2,000 photos"."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def listed(parts: Iterable[str]) -> str:
    """["a", "b", "c"] as "a, b and c"."""
    *most, last = list(parts) or [""]
    return f"{', '.join(most)} and {last}" if most else last
