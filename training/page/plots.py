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
_GAP = 46  # pixels between panels, for a title of two lines
_LEFT = 52  # pixels for the labels of a panel's axis
_LINE = 46  # characters of a title that a phone has room for
_DIGITS = 5


@dataclass(frozen=True)
class Panel:
    """One of several plots above each other that share their x axis; its title names its lines by their colours."""

    title: str
    lines: Sequence[dict[str, Any]]
    axis: dict[str, Any] = field(default_factory=dict)
    height: int = 120

    def heading(self) -> str:
        """The title and the lines' names; in lines of its own where it is long."""
        rows, length = [f"<b>{self.title}</b>"], len(self.title)
        for drawn in self.lines:
            name, colour = drawn["name"], drawn["line"]["color"]
            if not name:
                continue
            length += len(name) + 4
            if length > _LINE:
                rows.append("")
                length = len(name) + 4
            rows[-1] += f'  <span style="color:{colour}">\N{BLACK SQUARE}</span> {name}'
        return "<br>".join(row.strip() for row in rows)


def line(x: Sequence[float], y: Sequence[float], name: str, colour: str, **more: Any) -> dict[str, Any]:
    """One curve; `more` are properties of plotly's scatter trace, which go before what is said here."""
    drawn = {"type": "scatter", "mode": "lines", "x": list(x), "y": list(y), "name": name, "line": {"color": colour}}
    return drawn | more


def panels(parts: Sequence[Panel], x_axis: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """A figure of the panels from top to bottom on one x axis, and its height in pixels."""
    inner = sum(part.height for part in parts) + _GAP * (len(parts) - 1)
    above = _GAP if parts[0].title else 10
    layout: dict[str, Any] = {"margin": MARGIN | {"l": _LEFT, "t": above}, "showlegend": False, "annotations": []}
    data: list[dict[str, Any]] = []
    top = float(inner)
    for place, part in enumerate(parts, 1):
        number = "" if place == 1 else str(place)
        domain = [round((top - part.height) / inner, 4), round(top / inner, 4)]
        layout[f"yaxis{number}"] = {"domain": domain, "nticks": 5, "exponentformat": "e"} | part.axis
        if part.title:
            layout["annotations"].append(label(part.heading(), domain[1]) | {"yshift": 3})
        data += [{"yaxis": f"y{number}"} | drawn for drawn in part.lines]
        top -= part.height + _GAP
    last = "y" if len(parts) == 1 else f"y{len(parts)}"
    layout["xaxis"] = {"anchor": last} | x_axis
    return {"data": data, "layout": layout}, inner + above + MARGIN["b"]


def label(text: str, y: float, y_axis: str = "paper") -> dict[str, Any]:
    """An annotation of panels at the left edge of the figure, its foot at `y`."""
    place = {"xref": "paper", "x": 0, "xanchor": "left", "xshift": -_LEFT, "yref": y_axis, "y": y, "yanchor": "bottom"}
    return place | {"text": text, "align": "left", "showarrow": False, "font": {"size": 12}}


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
    return {"type": "log", "dtick": 1, "exponentformat": "e"} if wide else {"rangemode": "tozero"}


def log_axis(low: float, high: float) -> dict[str, Any]:
    """A logarithmic axis of these values above zero, with round numbers along it, however few decades it has."""
    steps = (1, 2, 5) if high < 1000 * low else (1,)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [step * 10.0**decade for decade in decades for step in steps]
    shown = [tick for tick in ticks if 0.7 * low <= tick <= 1.4 * high]
    return {"type": "log", "tickmode": "array", "tickvals": shown, "ticktext": [f"{tick:g}" for tick in shown]}
