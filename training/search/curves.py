"""Learning curves of all trials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from training.page.markup import Html, paragraph, plot
from training.page.plots import GREEN, GREY, PURPLE, Panel, line, log_axis, panels, thinned
from training.page.words import count

from .marked import Marked

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

_MOST_CURVES = 100
_CURVE_POINTS = 200


def curves(marked: Marked) -> Html:
    """Validation loss and accuracy of each trial, epoch by epoch."""
    known = [trial for trial in marked.trials if any((trial.user_attrs.get("history") or {}).get("valid_loss") or ())]
    if not known:
        return paragraph("No trial has recorded an epoch.")
    special = [trial for trial, _ in marked.stars()]
    shown = [trial for trial in known if trial not in special][-_MOST_CURVES:] + [t for t in special if t in known]
    loss = [drawn for trial in shown for drawn in _curve(marked, trial, "valid_loss")]
    accuracy = [drawn for trial in shown for drawn in _curve(marked, trial, "valid_top1")]
    parts = [
        Panel("Validation loss", loss, _loss_axis(loss), 240),
        Panel("Validation accuracy", accuracy, {"tickformat": ".0%"}, 200),
    ]
    figure, height = panels([part for part in parts if part.lines], {"title": {"text": "epoch"}, "rangemode": "tozero"})
    some = "" if len(shown) == len(known) else f" Shown are the last {_MOST_CURVES}."
    marks = (("best", "green", marked.best), ("default", "purple", marked.baseline))
    known_as = [f"the {name} {colour}" for name, colour, trial in marks if trial in shown]
    drawn = ", ".join(["those that did not finish are dotted", *known_as])
    words = f"One line for each of {count(len(known), 'trial')}; {drawn}.{some}"
    return plot(figure, words, words, height)


def _curve(marked: Marked, trial: FrozenTrial, name: str) -> list[dict[str, Any]]:
    values = [math.nan if v is None else float(v) for v in trial.user_attrs["history"].get(name) or ()]
    if not values:
        return []
    label, colour, width = "", GREY, 1.0
    if trial is marked.baseline:
        label, colour, width = "default", PURPLE, 2.5
    if trial is marked.best:
        label, colour, width = "best", GREEN, 2.5
    x, y = thinned(range(1, len(values) + 1), values, _CURVE_POINTS)
    look = {"color": colour, "width": width, "dash": "solid" if trial.state.name == "COMPLETE" else "dot"}
    shown = "%{y:.1%}" if name == "valid_top1" else "%{y:.4f}"
    hover = f"trial {trial.number}, epoch %{{x}}: {shown}<extra></extra>"
    single = {"mode": "lines+markers", "marker": {"size": 4}} if len(values) == 1 else {}
    return [line(x, y, label, colour, line=look, opacity=1 if label else 0.6, hovertemplate=hover, **single)]


def _loss_axis(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Logarithmic where losses are far apart; curves that went astray leave the plot at its top."""
    values = sorted(v for drawn in lines for v in drawn["y"] if math.isfinite(v))
    if not values or values[0] <= 0:
        return {}
    top = min(values[-1], 3 * values[int(0.9 * (len(values) - 1))])
    if top <= 3 * values[0]:
        return {"range": [0.95 * values[0], 1.05 * top]}
    edges = [math.log10(0.95 * values[0]), math.log10(1.05 * top)]
    return log_axis(values[0], top) | {"range": edges}
