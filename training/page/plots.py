"""Figures as the plain data that plotly.js draws. Colours of text and axes come from the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# 3:1 and more against white and against the dark page, and told apart by people who confuse red and green.
BLUE, ORANGE, GREEN, GREY, PURPLE, GOLD = "#2f7fc1", "#d9661f", "#2a9d76", "#878d96", "#9a6bc4", "#a5811c"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, GOLD, GREY)
"""In the order in which lines of one kind take them."""

SHARE = {"tickformat": ".0%", "automargin": True}
FROM_ZERO = SHARE | {"rangemode": "tozero"}
LEGEND = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}
MARGIN = {"l": 50, "r": 15, "t": 30, "b": 45}

MOST_POINTS = 2000  # of a curve: a wide screen has fewer columns
_GAP = 52  # pixels between panels, for a legend of two lines
_DIGITS = 5


@dataclass(frozen=True)
class Panel:
    """One of several plots above each other that share their x axis; its title begins its legend."""

    title: str
    lines: Sequence[dict[str, Any]]
    axis: dict[str, Any] = field(default_factory=dict)
    height: int = 120
    legend: bool = True


def line(x: Sequence[float], y: Sequence[float], name: str, colour: str, **more: Any) -> dict[str, Any]:
    """One curve; `more` are properties of plotly's scatter trace, which go before what is said here."""
    drawn = {"type": "scatter", "mode": "lines", "x": list(x), "y": list(y), "name": name, "line": {"color": colour}}
    return drawn | more


def panels(parts: Sequence[Panel], x_axis: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """A figure of the panels from top to bottom on one x axis, and its height in pixels."""
    inner = sum(part.height for part in parts) + _GAP * (len(parts) - 1)
    data: list[dict[str, Any]] = []
    layout: dict[str, Any] = {"margin": MARGIN | {"t": _GAP}, "showlegend": True}
    top = float(inner)
    for place, part in enumerate(parts, 1):
        number = "" if place == 1 else str(place)
        domain = [round((top - part.height) / inner, 4), round(top / inner, 4)]
        layout[f"yaxis{number}"] = {"domain": domain, "automargin": True, "nticks": 5} | part.axis
        title = {"text": f"<b>{part.title}</b>", "side": "left"}
        layout[f"legend{number}"] = LEGEND | {"y": domain[1], "title": title, "bgcolor": "rgba(0,0,0,0)"}
        common = {"yaxis": f"y{number}", "legend": f"legend{number}", "showlegend": part.legend}
        data += [common | drawn for drawn in part.lines]
        top -= part.height + _GAP
    last = "y" if len(parts) == 1 else f"y{len(parts)}"
    layout["xaxis"] = {"anchor": last} | x_axis
    return {"data": data, "layout": layout}, inner + _GAP + MARGIN["b"]


def thinned(x: Sequence[float], y: Sequence[float], most: int = MOST_POINTS) -> tuple[list[float], list[float]]:
    """At most so many points of a curve with all its spikes: the lowest and the highest of every stretch.

    A stretch with a number that is not finite keeps one such, which is drawn as a gap.
    """
    values = np.asarray(y, dtype=float)
    kept = np.arange(len(values))
    if len(values) > most:
        odd = ~np.isfinite(values)
        stretches = np.array_split(kept, max((most - 2) // (3 if odd.any() else 2), 1))
        chosen = {0, len(values) - 1}
        for stretch in stretches:
            chosen |= _extremes(stretch, values, odd)
        kept = np.array(sorted(chosen))
    return [rounded(x[i]) for i in kept.tolist()], [rounded(value) for value in values[kept].tolist()]


def _extremes(stretch: np.ndarray[Any, Any], values: np.ndarray[Any, Any], odd: np.ndarray[Any, Any]) -> set[int]:
    finite, others = stretch[~odd[stretch]], stretch[odd[stretch]]
    chosen = {int(others[0])} if len(others) else set()
    if len(finite):
        chosen |= {int(finite[values[finite].argmin()]), int(finite[values[finite].argmax()])}
    return chosen


def rounded(value: float, digits: int = _DIGITS) -> float:
    """As many significant digits as a screen can show, so that pages stay small."""
    return float(f"{value:.{digits}g}") if math.isfinite(value) else value


def scale(values: Sequence[float], factor: float = 50) -> dict[str, Any]:
    """An axis for values that are never below zero: logarithmic where they are `factor` apart and none is zero."""
    finite = [value for value in values if math.isfinite(value)]
    wide = bool(finite) and min(finite) > 0 and max(finite) / min(finite) > factor
    # Powers of ten alone: minor digits of plotly's logarithmic axes read like other numbers.
    return {"type": "log", "dtick": 1, "exponentformat": "power"} if wide else {"rangemode": "tozero"}
