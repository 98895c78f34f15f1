"""Where the time of a step goes: shares by stage, over the steps, and how long steps take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from training.monitor.recording import HEAD, Recording, Step
from training.page.markup import Html, escape, join, percent, plot, tag
from training.page.plots import BLUE, GOLD, GREEN, GREY, MARGIN, ORANGE, PURPLE, line, rounded
from training.page.words import count, duration, listed

from .story import stages

PARTS = {
    "wait": ("waiting for photos", ORANGE),
    "copy": ("copying to the device", PURPLE),
    "forward": ("forward", BLUE),
    "backward": ("backward", GREEN),
    "optimizer": ("optimizer", GOLD),
    "rest": ("the rest", GREY),
}
"""Of a step, in order: how it is called, and its colour."""

Floats = np.ndarray[Any, np.dtype[np.float64]]

_STRETCHES = 240  # over which steps are averaged: more than a screen can show apart
_BINS = 40
_FEW = 3
_CUT = 4  # times the median: longer steps would flatten the others


def seconds(steps: Sequence[Step]) -> dict[str, Floats]:
    """(steps,) for each of PARTS."""
    found = {name: np.array([getattr(step, name) for step in steps], dtype=float) for name in PARTS if name != "rest"}
    total = np.array([step.total for step in steps], dtype=float)
    return found | {"rest": np.maximum(total - sum(found.values()), 0.0)}


def plain_steps(recording: Recording, stage: str) -> list[Step]:
    """Steps of a stage without those that were traced, since that slows them, unless there are no others."""
    timed = recording.timed(stage)
    traced = recording.about.get("traced")
    if traced and traced[0] == stage:
        return [step for step in timed if not traced[1] <= step.step < traced[1] + traced[2]] or timed
    return timed


def shares(steps: Sequence[Step]) -> dict[str, float]:
    """Share of the time of all these steps for each of PARTS; empty if they took no time."""
    spent = {name: float(each.sum()) for name, each in seconds(steps).items()}
    total = sum(spent.values())
    return {name: seconds / total for name, seconds in spent.items()} if total > 0 else {}


def breakdown(recording: Recording) -> Html | None:
    """All about steps; None if none was timed."""
    timed = {stage: plain_steps(recording, stage) for stage in stages(recording)}
    timed = {stage: steps for stage, steps in timed.items() if shares(steps)}
    if not timed:
        return None
    parts = [_legend(), _shares_plot(timed)]
    for stage, steps in timed.items():
        if len(steps) >= _FEW:
            heading = tag("h3", f"Steps of {stage}", class_="part")
            parts += [heading, tag("div", _over_steps(stage, steps), _histogram(stage, steps), class_="columns")]
    return join([*parts, *_notes(recording, timed)])


def _legend() -> Html:
    each = [(tag("span", class_="swatch", style=f"background:{colour}"), name) for name, colour in PARTS.values()]
    return tag("ul", *(tag("li", *entry) for entry in each), class_="legend")


def _shares_plot(timed: dict[str, list[Step]]) -> Html:
    names = [escape(stage) for stage in timed]
    found = [shares(steps) for steps in timed.values()]
    bars = [
        {
            "type": "bar",
            "orientation": "h",
            "x": [rounded(each[name]) for each in found],
            "y": names,
            "name": label,
            "marker": {"color": colour},
            "text": [f"{each[name]:.0%}" if each[name] >= 0.06 else "" for each in found],
            "textposition": "inside",
            "insidetextanchor": "middle",
            "insidetextfont": {"color": "#ffffff"},
            "textangle": 0,
            "hovertext": [
                f"{label}: {percent(each[name])}, {duration(_mean(steps, name))} a step"
                for each, steps in zip(found, timed.values(), strict=True)
            ],
            "hoverinfo": "text",
        }
        for name, (label, colour) in PARTS.items()
        if any(each[name] > 0 for each in found)
    ]
    layout = {
        "barmode": "stack",
        "bargap": 0.35,
        "xaxis": {"tickformat": ".0%", "range": [0, 1], "showgrid": False},
        "yaxis": {"autorange": "reversed", "automargin": True, "ticklabelstandoff": 4},
        "showlegend": False,
        "margin": MARGIN | {"t": 10, "b": 30},
    }
    words = " ".join(_stage_words(stage, steps) for stage, steps in timed.items())
    return plot({"data": bars, "layout": layout}, words, words, 55 + 46 * len(timed))


def _mean(steps: Sequence[Step], name: str) -> float:
    return float(seconds(steps)[name].mean())


def _stage_words(stage: str, steps: Sequence[Step]) -> str:
    """ "finetune: 45.1 % forward and 30.0 % waiting for photos; 12.3 photos a second."""
    most = sorted(shares(steps).items(), key=lambda item: -item[1])[:3]
    said = listed(f"{percent(share)} {PARTS[name][0]}" for name, share in most if share >= 0.01)
    return f"{stage}: {said}; {_speed(steps)} photos a second."


def _speed(steps: Sequence[Step]) -> str:
    value = photos_a_second(steps)
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def photos_a_second(steps: Sequence[Step]) -> float:
    """How many photos steps of a stage get through, the time between steps left out."""
    return sum(step.photos for step in steps) / max(sum(step.total for step in steps), 1e-9)


def _unit(steps: Sequence[Step]) -> tuple[float, str]:
    """What steps are best counted in: how many of it are a second, and its name."""
    return (1.0, "s") if float(np.median([step.total for step in steps])) >= 1 else (1000.0, "ms")


def _over_steps(stage: str, steps: Sequence[Step]) -> Html:
    """Parts of a step upon each other, each point the mean of a stretch of steps."""
    factor, unit = _unit(steps)
    long = -(-len(steps) // _STRETCHES)
    stretches = [np.arange(len(steps))[start : start + long] for start in range(0, len(steps), long)]
    numbers = [steps[int(s[0])].step for s in stretches]
    areas, spent = [], seconds(steps)
    for name, (label, colour) in PARTS.items():
        each = spent[name] * factor
        if each.any():
            means = [rounded(float(each[s].mean()), 4) for s in stretches]
            look = {"width": 0, "color": colour}
            fill = {"stackgroup": "parts", "fillcolor": colour, "hovertemplate": f"%{{y:.3g}} {unit}"}
            areas.append(line(numbers, means, label, colour, line=look, **fill))
    totals = np.array([np.mean([steps[i].total for i in s]) for s in stretches]) * factor
    top, typical = float(totals.max()), float(np.median(totals))
    y_axis: dict[str, Any] = {"title": {"text": f"{unit} a step"}, "rangemode": "tozero", "automargin": True}
    cut = ""
    if top > _CUT * typical > 0:
        y_axis |= {"range": [0, _CUT * typical]}
        cut = f" The longest, {duration(top / factor)}, goes beyond the top."
    layout = {
        "xaxis": {"title": {"text": f"step of {escape(stage)}"}},
        "yaxis": y_axis,
        "showlegend": False,
        "hovermode": "x unified",
        "margin": MARGIN | {"t": 15},
    }
    stretch = f", each point the mean of {long}" if long > 1 else ""
    words = f"Time of {count(len(steps), 'step')} of {stage} in the colours of above{stretch}.{cut}"
    return plot({"data": areas, "layout": layout}, words, words, 300)


def _histogram(stage: str, steps: Sequence[Step]) -> Html:
    factor, unit = _unit(steps)
    totals = np.array([step.total for step in steps]) * factor
    median, p95 = (float(v) for v in np.quantile(totals, (0.5, 0.95)))
    top = min(float(totals.max()), max(2 * p95, _CUT * median))
    low = 0.0 if totals.min() < 0.3 * top else max(min(float(totals.min()), 0.9 * top), 0.0)
    counts, edges = np.histogram(totals, _BINS, (low, top or 1.0))
    bars = {
        "type": "bar",
        "x": [rounded(v) for v in ((edges[1:] + edges[:-1]) / 2).tolist()],
        "y": counts.tolist(),
        "width": float(edges[1] - edges[0]),
        "marker": {"color": BLUE},
        "hovertemplate": f"%{{y}} steps near %{{x:.3g}} {unit}<extra></extra>",
    }
    text = f"median {duration(median / factor)}, 95 % in {duration(p95 / factor)}"
    note = {"xref": "paper", "x": 1, "xanchor": "right", "yref": "paper", "y": 1, "yanchor": "bottom", "text": text}
    lines = [
        {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper", "line": {"color": ORANGE, "dash": "dot"}}
        for x in (median, p95)
    ]
    layout = {
        "xaxis": {"title": {"text": f"{unit} a step"}},
        "yaxis": {"title": {"text": "steps"}, "automargin": True, "rangemode": "tozero"},
        "annotations": [note | {"showarrow": False}],
        "shapes": lines,
        "bargap": 0,
        "margin": MARGIN | {"t": 25},
    }
    beyond, longer = int((totals > top).sum()), ""
    if beyond:
        longer = f" {count(beyond, 'step')} took longer than shown, up to {duration(float(totals.max()) / factor)}."
    words = f"Half of the steps of {stage} took at most {duration(median / factor)}, 95 % at most "
    words += f"{duration(p95 / factor)}; the dotted lines are there.{longer}"
    return plot({"data": [bars], "layout": layout}, words, words, 300)


def _notes(recording: Recording, timed: dict[str, list[Step]]) -> list[Html]:
    notes = []
    traced = recording.about.get("traced")
    if traced and traced[0] in timed and len(timed[traced[0]]) < len(recording.timed(traced[0])):
        which = f"{traced[1]} to {traced[1] + traced[2] - 1} of {traced[0]}"
        notes.append(f"Steps {which} were traced, which slows them, and are left out here.")
    if HEAD in timed:
        notes.append("Of the head only the recorded steps are timed.")
    return [tag("p", " ".join(notes), class_="note")] if notes else []
