"""What the run did when, and below it, on the same axis, what the machine did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from training.monitor.recording import EVAL, Recording, Scalars
from training.page.markup import Html, escape, plot
from training.page.plots import COLOURS, GREY, ORANGE, Panel, label, panels
from training.page.words import count, duration

from .axis import TimeAxis
from .machine import in_words, machine_panels
from .story import best_epoch, seconds_of_phases, spans, whole_phases

_ROW = 40  # pixels for a phase: its name, and below it its bar
_MOST_ROWS = 30
_MOST_MARKS = 400


def timeline(recording: Recording) -> Html | None:
    """Phases with epochs, processor, memory, disk and GPUs; None if there is neither a phase nor a sample."""
    if not recording.phases and not recording.system:
        return None
    axis = TimeAxis(spans(recording))
    phases = [_phases(recording, axis)] if recording.phases else []
    machine, words = machine_panels(recording.system, axis), in_words(recording.system)
    figure, height = panels([*phases, *machine], axis.layout())
    layout, marks = figure["layout"], axis.shapes()
    layout["annotations"] += [*marks["annotations"], *(_labels(recording) if phases else [])]
    layout |= {"shapes": marks["shapes"], "bargap": 0.1}
    lead = _lead(recording, axis)
    unseen = "" if machine else "The machine was not looked at, so that nothing is known of its processor and memory."
    caption = " ".join(filter(None, [lead, words, unseen]))
    return plot(figure, caption, caption, height)


def _rows(recording: Recording) -> list[str]:
    """Names of phases, in the order in which they first began."""
    return list(dict.fromkeys(phase.name for phase, _ in whole_phases(recording)))[:_MOST_ROWS]


def _phases(recording: Recording, axis: TimeAxis) -> Panel:
    rows = _rows(recording)
    shown = [(phase, end) for phase, end in whole_phases(recording) if phase.name in rows]
    bars = {
        "type": "bar",
        "orientation": "h",
        "base": [axis.x(phase.start) for phase, _ in shown],
        # A phase of a moment is still to be seen.
        "x": [max(axis.x(end) - axis.x(phase.start), 0.002 * axis.length) for phase, end in shown],
        "y": [-rows.index(phase.name) for phase, _ in shown],
        "width": 0.34,
        "marker": {"color": [COLOURS[rows.index(phase.name) % len(COLOURS)] for phase, _ in shown]},
        "hovertext": [
            f"<b>{escape(phase.name)}</b><br>{duration(end - phase.start)}{'' if phase.end else ', cut off'}"
            for phase, end in shown
        ],
        "hoverinfo": "text",
        "name": "phases",
    }
    look = {"visible": False, "range": [0.35 - len(rows), 0.75], "fixedrange": True}
    return Panel("", [bars, *_epochs(recording, rows, axis)], look, _ROW * len(rows))


def _epochs(recording: Recording, rows: Sequence[str], axis: TimeAxis) -> list[dict[str, Any]]:
    """A mark where each epoch was validated, a star for the best."""
    lines = [each for each in recording.scalars if each.mode == EVAL and each.stage in rows]
    best = best_epoch(recording)
    mark = {"symbol": "line-ns", "size": 9, "line": {"width": 1, "color": GREY}}
    star = {"symbol": "star", "size": 11, "color": ORANGE}
    drawn = [_marks(lines[:: -(-len(lines) // _MOST_MARKS)], "epoch", mark, rows, axis)] if lines else []
    if best and best.stage in rows:
        drawn.append(_marks([best], "best epoch", star, rows, axis))
    return drawn


def _marks(
    lines: Sequence[Scalars], name: str, look: dict[str, Any], rows: Sequence[str], axis: TimeAxis
) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [axis.x(each.t) for each in lines],
        "y": [-rows.index(each.stage) - 0.27 for each in lines],
        "marker": look,
        "hovertext": [f"{escape(each.stage)}: {name} {each.epoch}" for each in lines],
        "hoverinfo": "text",
        "name": name,
    }


def _labels(recording: Recording) -> list[dict[str, Any]]:
    """Above each bar its name and how long it took in all."""
    totals = seconds_of_phases(recording)
    return [
        label(f"<b>{escape(name)}</b> {duration(totals[name])}", 0.16 - row, "y")
        for row, name in enumerate(_rows(recording))
    ]


def _lead(recording: Recording, axis: TimeAxis) -> str:
    epochs = sum(each.mode == EVAL for each in recording.scalars)
    marks = f"Grey marks are epochs, {epochs} in all, the star is the best one. " if epochs else ""
    pauses = axis.pauses()
    if not pauses:
        return marks.strip()
    cut = ", drawn shorter than they were" if axis.cut else ""
    return f"{marks}Grey bands are {count(len(pauses), 'pause')} between a stop and a restart{cut}."
