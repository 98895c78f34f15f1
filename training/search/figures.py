"""Optuna's own plots in the colours of the page."""

from __future__ import annotations

import math
from typing import Any

from training.page.markup import Html, join, paragraph, percent, plot, tag
from training.page.plots import BLUE, MARGIN, ORANGE, log_axis
from training.page.words import count, listed

from .adopted import BLUE_TO_ORANGE, ORANGE_TO_BLUE, adopted, mixed, plain_figure, quiet
from .marked import Marked

FEW = 5
"""Finished trials without which nothing can be said of what mattered."""


def history(marked: Marked) -> Html:
    """Each trial's value, and the best so far."""
    if reason := marked.missing():
        return paragraph(reason)
    from optuna import visualization

    figure = adopted(lambda: visualization.plot_optimization_history(marked.study, target_name=marked.target))
    data = [drawn for drawn in figure["data"] if drawn["x"]]
    for drawn, name, colour in zip(data, ("finished trial", "best so far"), (BLUE, ORANGE), strict=False):
        drawn |= {"name": name, "line": {"color": colour, "shape": "hv"}, "marker": {"color": colour, "size": 7}}
    for trial, mark in marked.stars():
        name = "best" if trial is marked.best else "default"
        look = {"type": "scatter", "mode": "markers", "marker": mark, "name": name}
        data.append({"x": [trial.number], "y": [trial.value], **look})
    figure["data"] = data
    layout = figure["layout"]
    layout["xaxis"] |= {"dtick": 1} if len(marked.trials) <= 10 else {}
    layout |= {"yaxis": _value_axis(marked), "margin": MARGIN | {"t": 15}, "showlegend": False}
    values = [trial.value for trial in marked.complete if trial.value is not None]
    span = f", from {min(values):.4g} to {max(values):.4g}" if values else ""
    ended = count(len(marked.complete), "finished trial")
    words = f"The {marked.target} of {ended}{span}; the line is the best so far.{marked.words()}"
    return plot(figure, words, words, 380)


def _value_axis(marked: Marked) -> dict[str, Any]:
    """Losses far apart get a logarithmic axis: a few trials that went astray would flatten the others."""
    axis = {"title": {"text": marked.target}, "automargin": True}
    values = [trial.value for trial in marked.complete if trial.value is not None and math.isfinite(trial.value)]
    if marked.by_accuracy:
        return axis | {"tickformat": ".0%"}
    return axis | (log_axis(min(values), max(values)) if values and 0 < 3 * min(values) < max(values) else {})


def weights(marked: Marked) -> tuple[dict[str, float], str]:
    """How much of the difference between trials each hyperparameter explains, the most first, or why none is known."""
    if reason := marked.missing(FEW):
        return {}, reason
    if len(marked.names) < 2:
        return {}, f"{marked.names[0]} alone was searched."
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    if len({trial.value for trial in marked.complete}) < 2:
        return {}, "All trials came to the same."
    with quiet():
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

    figure = adopted(make)
    for bars in figure["data"]:
        bars |= {"marker": {"color": BLUE}, "textangle": 0, "width": 0.6}
        bars |= {"hovertemplate": "%{y}: %{x:.1%}<extra></extra>", "text": [percent(share) for share in bars["x"]]}
    figure["layout"]["xaxis"] |= {"title": {"text": ""}, "tickformat": ".0%", "range": [0, 1.35 * max(found.values())]}
    figure["layout"]["yaxis"] |= {"title": {"text": ""}}
    most = listed(f"{name} {percent(share)}" for name, share in found.items())
    words = f"How much better and worse trials differ in each hyperparameter (PED-ANOVA): {most}."
    return plot(figure, words, words, 90 + 34 * len(found))


def parallel(marked: Marked) -> Html:
    """A line a trial through all its hyperparameters."""
    if reason := marked.missing(2):
        return paragraph(reason)
    from optuna import visualization

    figure = adopted(lambda: visualization.plot_parallel_coordinate(marked.study, target_name=marked.word))
    scale = ORANGE_TO_BLUE if marked.by_accuracy else BLUE_TO_ORANGE
    lines = [drawn for drawn in figure["data"] if drawn["type"] == "parcoords" or drawn["mode"] == "lines"]
    for drawn in lines:
        if drawn["type"] == "parcoords":  # of Optuna 4
            drawn["line"] |= {"colorscale": scale, "showscale": False, "reversescale": False}
        else:
            drawn["line"]["color"] = mixed(scale, drawn["y"][0])
            drawn |= {"opacity": 0.75}
    figure["data"] = lines
    ticks = figure["layout"].get("xaxis", {}).get("ticktext", [])
    ticks[:] = [name if len(name) < 9 else name.replace("_", "_<br>") for name in ticks]
    figure["layout"] |= {"showlegend": False, "margin": MARGIN | {"l": 30, "r": 20, "t": 15}}
    words = (
        f"Each line is one of {count(len(marked.complete), 'finished trial')}: its {marked.target} on the left, then "
        "its hyperparameters. Blue ones are the best, orange ones the worst."
    )
    return plot(figure, words, words, 400)


def slices(marked: Marked) -> Html:
    """The value against each hyperparameter."""
    if reason := marked.missing(2):
        return paragraph(reason)
    parts = [_slice(marked, name) for name in marked.names if sum(name in t.params for t in marked.complete) >= 2]
    note = f"Early trials are orange, late ones blue.{marked.words()}"
    return join([paragraph(note, class_="note"), tag("div", *parts, class_="columns")])


def _slice(marked: Marked, name: str) -> Html:
    from optuna import visualization

    figure = adopted(lambda: visualization.plot_slice(marked.study, params=[name], target_name=marked.target))
    layout = figure["layout"]
    categories = layout["xaxis"].get("categoryarray")
    if categories:
        layout["xaxis"]["categoryarray"] = [_unquoted(each) for each in categories]
    for drawn in figure["data"]:
        drawn["x"] = [_unquoted(each) for each in drawn["x"]]
        late = {"colorscale": ORANGE_TO_BLUE}
        drawn["marker"] |= late | {"showscale": False, "size": 8, "line": {"width": 0}}
        drawn["hovertemplate"] = "%{x}: %{y:.4f}<extra>trial %{marker.color}</extra>"
    if layout["xaxis"].get("type") == "log":
        values = [trial.params[name] for trial in marked.complete if name in trial.params]
        layout["xaxis"] |= {"exponentformat": "none"} | ({"dtick": 1} if max(values) >= 10 * min(values) else {})
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
