"""Optuna's own plots as plain data in the colours of the page, and the learning curves of the trials."""

from __future__ import annotations

import base64
import contextlib
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from training.page.markup import Html, escape, join, paragraph, percent, plot, tag
from training.page.plots import BLUE, GREEN, GREY, LEGEND, MARGIN, ORANGE, PURPLE, Panel, line, panels, thinned
from training.page.words import count, listed

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

FEW = 5
"""Finished trials without which nothing can be said of what mattered."""

_SCALE = [[0.0, BLUE], [0.5, GREY], [1.0, ORANGE]]  # to be seen on white and on the dark page at either end
_MOST_CURVES = 100
_CURVE_POINTS = 200


class Marked:
    """A study's trials, which of them is the best and which the default."""

    def __init__(self, study: optuna.Study, best: int | None, baseline: int | None) -> None:
        self.study = study
        self.trials: list[FrozenTrial] = study.get_trials(deepcopy=False)
        by_number = {trial.number: trial for trial in self.trials}
        self.best = None if best is None else by_number.get(best)
        self.baseline = None if baseline is None else by_number.get(baseline)
        self.complete = [trial for trial in self.trials if trial.state.name == "COMPLETE"]
        self.names = list(dict.fromkeys(name for trial in self.trials for name in trial.params))
        self.by_accuracy = study.user_attrs.get("objective") == "accuracy" or study.direction.name == "MAXIMIZE"
        self.target = "validation accuracy" if self.by_accuracy else "validation loss"

    def stars(self) -> list[tuple[FrozenTrial, dict[str, Any]]]:
        """The trials with a mark of their own, and the mark."""
        star = {"symbol": "star", "size": 13, "color": GREEN}
        diamond = {"symbol": "diamond", "size": 10, "color": PURPLE}
        return [(trial, mark) for trial, mark in ((self.baseline, diamond), (self.best, star)) if trial is not None]

    def words(self) -> str:
        """What the marks mean."""
        known = [name for name, trial in (("The star is the best trial", self.best),
                                          ("the diamond the default", self.baseline)) if trial is not None]  # fmt: skip
        said = ", ".join(known)
        return f" {said[:1].upper()}{said[1:]}." if said else ""


def metric(trial: FrozenTrial | None, name: str) -> float | None:
    """A number that a trial has kept, None if it has not or it is none."""
    value = None if trial is None else trial.user_attrs.get(name)
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Optuna's notes on what is experimental, or on too few trials, are not for readers of a page."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)


def _drawn(make: Callable[[], Any]) -> dict[str, Any]:
    """A figure of Optuna as plain data, without its title and its colours of text and ground."""
    with _quiet():
        found: dict[str, Any] = plain_figure(make().to_plotly_json())
    layout = found["layout"]
    for name in ("template", "title", "plot_bgcolor", "coloraxis"):
        layout.pop(name, None)
    for note in layout.get("annotations", ()):
        note.get("font", {}).pop("color", None)
    for axis in (value for key, value in layout.items() if key.startswith(("xaxis", "yaxis"))):
        axis["automargin"] = True
    layout |= {"margin": MARGIN, "colorway": [BLUE, ORANGE, GREEN, PURPLE, GREY]}
    return found


def plain_figure(value: Any) -> Any:
    """What JSON has, of plotly's figures: arrays, also those that plotly packs as base64, become lists.

    Texts are escaped, since plotly reads tags in them; its own line breaks and empty boxes stay.
    """
    if isinstance(value, Mapping):
        if "bdata" in value:
            numbers = np.frombuffer(base64.b64decode(value["bdata"]), np.dtype(value["dtype"]))
            shape = str(value.get("shape", len(numbers))).split(",")
            return plain_figure(numbers.reshape([int(part) for part in shape]))
        return {key: plain_figure(item) for key, item in value.items()}
    if isinstance(value, (np.ndarray, np.generic)):
        return plain_figure(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain_figure(item) for item in value]
    if isinstance(value, str):
        return (
            str(escape(value)).replace("&lt;br&gt;", "<br>").replace("&lt;extra&gt;&lt;/extra&gt;", "<extra></extra>")
        )
    return value


def _missing(marked: Marked, least: int = 1) -> str:
    """Why there is no plot; empty if there can be one."""
    if not marked.names:
        return "No hyperparameter has been drawn."
    if len(marked.complete) < least:
        return f"{count(len(marked.complete), 'trial')} of at least {least} came to the end."
    return ""


def history(marked: Marked) -> Html:
    """Each trial's value, and the best so far."""
    if reason := _missing(marked):
        return paragraph(reason)
    from optuna import visualization

    figure = _drawn(lambda: visualization.plot_optimization_history(marked.study, target_name=marked.target))
    data = [drawn for drawn in figure["data"] if drawn["x"]]
    for drawn, name, colour in zip(data, ("finished trial", "best so far"), (BLUE, ORANGE), strict=False):
        drawn |= {"name": name, "line": {"color": colour, "shape": "hv"}, "marker": {"color": colour, "size": 7}}
    for trial, mark in marked.stars():
        name = "best" if trial is marked.best else "default"
        look = {"type": "scatter", "mode": "markers", "marker": mark, "name": name}
        data.append({"x": [trial.number], "y": [trial.value], **look})
    figure["data"] = data
    figure["layout"] |= {"legend": LEGEND, "yaxis": _value_axis(marked), "margin": MARGIN | {"t": 40}}
    values = [trial.value for trial in marked.complete if trial.value is not None]
    span = f"from {min(values):.4g} to {max(values):.4g}" if values else ""
    words = f"The {marked.target} of {count(len(marked.complete), 'finished trial')}, {span}.{marked.words()}"
    return plot(figure, words, words, 380)


def _value_axis(marked: Marked) -> dict[str, Any]:
    """Losses of trials that went astray would flatten the others: the worst quarter may lie beyond the top."""
    axis = {"title": {"text": marked.target}, "automargin": True}
    values = sorted(trial.value for trial in marked.complete if trial.value is not None and math.isfinite(trial.value))
    if marked.by_accuracy:
        return axis | {"tickformat": ".0%"}
    if len(values) >= FEW and values[-1] > 4 * (middle := values[3 * len(values) // 4]):
        return axis | {"range": [0.9 * values[0], 1.5 * middle]}
    return axis


def weights(marked: Marked) -> tuple[dict[str, float], str]:
    """How much of the difference between trials each hyperparameter explains, the most first, or why none is known."""
    if reason := _missing(marked, FEW):
        return {}, reason
    if len(marked.names) < 2:
        return {}, f"{marked.names[0]} alone was searched."
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    if len({trial.value for trial in marked.complete}) < 2:
        return {}, "All trials came to the same."
    with _quiet():
        # fANOVA would need scikit-learn.
        found = get_param_importances(marked.study, evaluator=PedAnovaImportanceEvaluator())
    return dict(sorted(found.items(), key=lambda item: -item[1])), ""


def importances(marked: Marked) -> Html:
    """Optuna's importances by PED-ANOVA (Watanabe et al. 2023)."""
    found, reason = weights(marked)
    if not found:
        return paragraph(reason)
    from optuna import visualization
    from optuna.importance import PedAnovaImportanceEvaluator

    def make() -> Any:
        return visualization.plot_param_importances(marked.study, evaluator=PedAnovaImportanceEvaluator())

    figure = _drawn(make)
    for bars in figure["data"]:
        bars |= {"marker": {"color": BLUE}, "hovertemplate": "%{y}: %{x:.1%}<extra></extra>", "width": 0.6}
        bars["text"] = [percent(share) for share in bars["x"]]
    figure["layout"]["xaxis"] |= {"title": {"text": ""}, "tickformat": ".0%", "range": [0, 1.15 * max(found.values())]}
    figure["layout"]["yaxis"] |= {"title": {"text": ""}}
    most = listed(f"{name} {percent(share)}" for name, share in found.items())
    words = f"How much better and worse trials differ in each hyperparameter (PED-ANOVA): {most}."
    return plot(figure, words, words, 90 + 34 * len(found))


def parallel(marked: Marked) -> Html:
    """A line a trial through all its hyperparameters."""
    if reason := _missing(marked, 2):
        return paragraph(reason)
    from optuna import visualization

    figure = _drawn(lambda: visualization.plot_parallel_coordinate(marked.study, target_name=marked.target))
    scale = [
        [place, colour]
        for place, (_, colour) in zip((0, 0.5, 1), _SCALE[:: -1 if marked.by_accuracy else 1], strict=True)
    ]
    lines = [drawn for drawn in figure["data"] if drawn["type"] == "parcoords" or drawn["mode"] == "lines"]
    for drawn in lines:
        if drawn["type"] == "parcoords":  # of Optuna 4
            drawn["line"] |= {"colorscale": scale, "showscale": False, "reversescale": False}
        else:
            drawn["line"]["color"] = mixed(scale, drawn["y"][0])
            drawn |= {"opacity": 0.75}
    figure["data"] = lines
    figure["layout"] |= {"showlegend": False, "margin": MARGIN | {"l": 30, "r": 20, "b": 60, "t": 15}}
    words = (
        f"Each line is one of {count(len(marked.complete), 'finished trial')}: its {marked.target} on the left, then "
        "its hyperparameters. Blue ones are the best, orange ones the worst."
    )
    return plot(figure, words, words, 400)


def mixed(scale: Sequence[Sequence[Any]], place: float) -> str:
    """The colour at a place from 0 to 1 of a scale whose colours are written `#rrggbb`."""
    place = min(max(place, 0.0), 1.0) if math.isfinite(place) else 1.0
    upper = next(i for i in range(1, len(scale)) if place <= scale[i][0])
    (low, first), (high, second) = scale[upper - 1], scale[upper]
    share = (place - low) / (high - low)
    parts = [(int(first[i : i + 2], 16), int(second[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(a + share * (b - a)):02x}" for a, b in parts)


def slices(marked: Marked) -> Html:
    """The value against each hyperparameter."""
    if reason := _missing(marked, 2):
        return paragraph(reason)
    parts = [_slice(marked, name) for name in marked.names if sum(name in t.params for t in marked.complete) >= 2]
    note = f"Early trials are orange, late ones blue.{marked.words()}"
    return join([paragraph(note, class_="note"), tag("div", *parts, class_="columns")])


def _slice(marked: Marked, name: str) -> Html:
    from optuna import visualization

    figure = _drawn(lambda: visualization.plot_slice(marked.study, params=[name], target_name=marked.target))
    layout = figure["layout"]
    categories = layout["xaxis"].get("categoryarray")
    if categories:
        layout["xaxis"]["categoryarray"] = [_unquoted(each) for each in categories]
    for drawn in figure["data"]:
        drawn["x"] = [_unquoted(each) for each in drawn["x"]]
        late = {"colorscale": [[place, colour] for (place, _), (_, colour) in zip(_SCALE, _SCALE[::-1], strict=True)]}
        drawn["marker"] |= late | {"showscale": False, "size": 8, "line": {"width": 0}}
        drawn["hovertemplate"] = "%{x}: %{y:.4f}<extra>trial %{marker.color}</extra>"
    for trial, mark in marked.stars():
        if name in trial.params and trial.value is not None:
            value = trial.params[name]
            x = _unquoted(plain_figure(str(value))) if categories else value
            look = {"type": "scatter", "mode": "markers", "marker": mark, "showlegend": False, "hoverinfo": "skip"}
            figure["data"].append({"x": [x], "y": [trial.value], **look})
    layout |= {"yaxis": layout["yaxis"] | _value_axis(marked), "margin": MARGIN | {"t": 10}, "showlegend": False}
    words = f"{marked.target.capitalize()} of the finished trials by {name}."
    return plot(figure, words, words, 300)


def _unquoted(value: Any) -> Any:
    """Optuna writes texts among categories as Python does."""
    quote = "&#x27;"
    return value.removeprefix(quote).removesuffix(quote) if isinstance(value, str) else value


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
        Panel("Validation accuracy", accuracy, {"tickformat": ".0%", "rangemode": "tozero"}, 200),
    ]
    figure, height = panels([part for part in parts if part.lines], {"title": {"text": "epoch"}, "rangemode": "tozero"})
    some = "" if len(shown) == len(known) else f" Shown are the last {_MOST_CURVES}."
    words = (
        f"One line for each of {count(len(known), 'trial')}; those that were stopped early are dotted, the best is "
        f"green, the default purple.{some}"
    )
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
    """Curves that went astray leave the plot at its top; the others stay to be seen."""
    values = sorted(v for drawn in lines for v in drawn["y"] if math.isfinite(v))
    if not values:
        return {}
    top = 1.3 * values[int(0.9 * (len(values) - 1))]
    return {"range": [0.9 * values[0], top]} if values[-1] > 2 * top else {}
