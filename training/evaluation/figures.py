"""The curves of the report, as the plain data that plotly.js draws. Colours of text and lines come from the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from training.page.markup import percent
from training.page.plots import BLUE, FROM_ZERO, GREEN, GREY, LEGEND, MARGIN, ORANGE, PURPLE, SHARE, line

from .open_set import alternative_scores, roc
from .predictions import Floats, Predictions, array

SCORE_NAMES = {
    "known": "known score of the model",
    "max_probability": "score of the best class",
    "max_logit": "largest logit",
    "energy": "energy",
}

_POINTS = 300  # of a curve: more than a screen can show apart


def reliability_figure(reliability: Mapping[str, Sequence[Mapping[str, Any]]], confidence: Floats) -> dict[str, Any]:
    """Accuracy against confidence before and after the temperature; below, how many photos have which score."""
    counts, edges = np.histogram(confidence, bins=20, range=(0, 1))
    middles = ((edges[1:] + edges[:-1]) / 2).round(3)
    photos = {"type": "bar", "x": middles.tolist(), "y": counts.tolist(), "yaxis": "y2", "showlegend": False}
    photos |= {"marker": {"color": GREY}, "width": 0.045, "hovertemplate": "%{y} photos near %{x:.2f}<extra></extra>"}
    diagonal = {"color": GREY, "dash": "dot"}
    return {
        "data": [
            line([0, 1], [0, 1], "perfect", GREY, line=diagonal, hoverinfo="skip"),
            _bins(reliability["uncalibrated"], "before", ORANGE) | {"line": {"color": ORANGE, "dash": "dash"}},
            _bins(reliability["calibrated"], "after the temperature", BLUE) | _whiskers(reliability["calibrated"]),
            photos,
        ],
        "layout": {
            "xaxis": SHARE | {"title": {"text": "score"}, "range": [0, 1.02], "anchor": "y2"},
            "yaxis": SHARE | {"title": {"text": "share that is right"}, "range": [0, 1.05], "domain": [0.3, 1]},
            "yaxis2": {"title": {"text": "photos"}, "domain": [0, 0.2], "automargin": True, "nticks": 3},
            "legend": LEGEND,
            "margin": MARGIN,
        },
    }


def _bins(bins: Sequence[Mapping[str, Any]], name: str, colour: str) -> dict[str, Any]:
    x, y = [b["confidence"] for b in bins], [b["accuracy"] for b in bins]
    hover = [f"{percent(b['accuracy'])} of {b['n']} photos right, mean score {percent(b['confidence'])}" for b in bins]
    return line(x, y, name, colour, mode="lines+markers", hovertext=hover, hoverinfo="text+name", cliponaxis=False)


def _whiskers(bins: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The 95 % interval of each bin's accuracy, as plotly's error bars."""
    up = [b["interval"][1] - b["accuracy"] for b in bins]
    down = [b["accuracy"] - b["interval"][0] for b in bins]
    bars = {"type": "data", "symmetric": False, "array": up, "arrayminus": down, "thickness": 1, "width": 3}
    return {"error_y": bars}


def coverage_figure(coverage_risk: Mapping[str, Any]) -> dict[str, Any]:
    """Wrong answers against the share of photos answered; the points reachable at 1, 2 and 5 % risk are marked."""
    curve = coverage_risk["curve"]
    hover = [
        f"from score {s:.3f}: {percent(c)} answered, {percent(r)} of them wrong"
        for c, r, s in zip(curve["coverage"], curve["risk"], curve["score"], strict=True)
    ]
    marks = [at for at in coverage_risk["at_risk"] if at["score"] is not None]
    points = {
        "type": "scatter",
        "mode": "markers",
        "x": [at["coverage"] for at in marks],
        "y": [at["risk"] for at in marks],
        "name": "reachable risk",
        "marker": {"color": ORANGE, "size": 9},
        "hovertext": [f"{percent(at['coverage'])} answered at {percent(at['risk'])} risk" for at in marks],
        "hoverinfo": "text",
    }
    return {
        "data": [
            line(curve["coverage"], curve["risk"], "risk", BLUE, hovertext=hover, hoverinfo="text"),
            points,
        ],
        "layout": {
            "xaxis": SHARE | {"title": {"text": "share of photos answered"}, "range": [0, 1.02]},
            "yaxis": FROM_ZERO | {"title": {"text": "share of wrong answers"}},
            "legend": LEGEND,
            "margin": MARGIN,
        },
    }


def known_figure(known: Predictions, unknown: Predictions) -> dict[str, Any]:
    """How the model's known score is spread over photos of the classes and of none, in % of each group."""
    inside, outside = array(known.known), array(unknown.known)
    edges = np.histogram_bin_edges(np.concatenate([inside, outside]), 40)
    middles = ((edges[1:] + edges[:-1]) / 2).tolist()
    groups = (("photos of the classes", inside, BLUE), ("photos of none", outside, ORANGE))
    return {
        "data": [
            {
                "type": "bar",
                "x": middles,
                "y": (np.histogram(scores, edges)[0] / len(scores)).tolist(),
                "name": name,
                "opacity": 0.65,
                "marker": {"color": colour},
                "hovertemplate": "%{y:.1%} near score %{x:.3g}<extra>" + name + "</extra>",
            }
            for name, scores, colour in groups
        ],
        "layout": {
            "barmode": "overlay",
            "bargap": 0,
            "xaxis": {"title": {"text": "known score"}, "automargin": True},
            "yaxis": FROM_ZERO | {"title": {"text": "share of the group"}},
            "legend": LEGEND,
            "margin": MARGIN,
        },
    }


def roc_figure(known: Predictions, unknown: Predictions, temperature: float) -> dict[str, Any]:
    """True against false positive rate of the model's known score and of the scores that logits alone give."""
    scores = {"known": array(known.known)} | alternative_scores(known, temperature)
    others = {"known": array(unknown.known)} | alternative_scores(unknown, temperature)
    lines = [line([0, 1], [0, 1], "chance", GREY, line={"color": GREY, "dash": "dot"}, hoverinfo="skip")]
    for name, colour in zip(SCORE_NAMES, (BLUE, ORANGE, GREEN, PURPLE), strict=True):
        false, true = (_thinned(rates) for rates in roc(scores[name], others[name]))
        drawn = {"color": colour, "width": 3 if name == "known" else 1.5}
        hover = "%{y:.1%} of the classes and %{x:.1%} of none pass"
        lines.append(line(false, true, SCORE_NAMES[name], colour, line=drawn, hovertemplate=hover))
    return {
        "data": lines,
        "layout": {
            "xaxis": SHARE | {"title": {"text": "photos of none that pass"}, "range": [0, 1.02]},
            "yaxis": SHARE | {"title": {"text": "photos of the classes that pass"}, "range": [0, 1.02]},
            "legend": LEGEND,
            "margin": MARGIN | {"t": 60},
        },
    }


def history_figure(history: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Loss, accuracy and learning rate over the epochs, one above the other; what nobody recorded is left out."""
    panels = [
        ("loss", [("train_loss", "training loss", ORANGE), ("valid_loss", "validation loss", BLUE)]),
        ("validation top-1", [("valid_top1", "validation top-1", GREEN)]),
        ("learning rate", [("lr", "learning rate", GREY)]),
    ]
    recorded = {key for row in history for key, value in row.items() if value is not None}
    shown = [(title, lines) for title, lines in panels if any(key in recorded for key, *_ in lines)]
    data, layout = [], {"margin": MARGIN, "legend": LEGEND}
    for place, (title, lines) in enumerate(shown):
        suffix = "" if place == 0 else str(place + 1)
        top = 1 - place / len(shown)
        domain = [top - 0.85 / len(shown), top]
        layout[f"yaxis{suffix}"] = {"title": {"text": title}, "domain": domain, "automargin": True}
        for key, name, colour in lines:
            rows = [(row.get("epoch", i + 1), row[key]) for i, row in enumerate(history) if row.get(key) is not None]
            drawn = line([x for x, _ in rows], [y for _, y in rows], name, colour, mode="lines+markers")
            data.append(drawn | {"yaxis": f"y{suffix}", "hovertemplate": "epoch %{x}: %{y:.4g}"})
    last = "y" if len(shown) < 2 else f"y{len(shown)}"
    return {"data": data, "layout": layout | {"xaxis": {"title": {"text": "epoch"}, "anchor": last}}}


def _thinned(values: Floats) -> list[float]:
    kept = np.linspace(0, len(values) - 1, min(len(values), _POINTS)).round().astype(int)
    return [round(value, 5) for value in values[kept].tolist()]
