"""Loss, accuracy, learning rate, norms and activations over the steps of each stage."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from training.monitor.recording import EVAL, Recording, Scalars
from training.page.markup import Html, escape, fold, join, percent, plot, tag
from training.page.plots import BLUE, COLOURS, GOLD, GREEN, GREY, ORANGE, PURPLE, Panel, line, panels, scale, thinned
from training.page.words import count, listed

from .story import best_epoch, held_out_loss, stages

_MOST_LAYERS = 12  # drawn in one plot; a network has fewer stages, a head fewer layers
_LAYERS = {
    "gradient_norm": "Gradient",
    "weight_norm": "Weights",
    "activation_mean": "Output, mean",
    "activation_std": "Output, spread",
    "zeros": "Zeros of ReLU",
    "dead_units": "Dead units",
}
"""Kinds of numbers that are recorded by layer, and how their plots are called."""
_SHARES = ("zeros", "dead_units")


def curves(recording: Recording) -> Html | None:
    """Plots of each stage, by layer folded away; None if no numbers were recorded."""
    parts: list[Html] = []
    for stage in stages(recording):
        train, valid = recording.of(stage), recording.of(stage, EVAL)
        if not train and not valid:
            continue
        parts += [tag("h3", stage[:1].upper() + stage[1:], class_="part"), _stage_plot(recording, stage, train, valid)]
        if by_layer := _layers_plot(stage, train):
            parts.append(fold(f"{stage}, layer by layer", by_layer))
    return join(parts) if parts else None


def _curve(lines: Sequence[Scalars], name: str, label: str, colour: str, **more: Any) -> list[dict[str, Any]]:
    """One curve of a recorded number, or none if it was not recorded."""
    known = [each for each in lines if name in each.values]
    if not known:
        return []
    x, y = thinned([each.step for each in known], [each.values[name] for each in known])
    alone = {"mode": "lines+markers"} if len(x) == 1 else {}
    return [line(x, y, label, colour, **({"hovertemplate": "step %{x}: %{y:.4g}"} | more | alone))]


def _marked(colour: str, lines: Sequence[Scalars]) -> dict[str, Any]:
    """Few points are marked; many marks would hide the line."""
    return {"mode": "lines+markers" if len(lines) <= 60 else "lines", "marker": {"size": 5}, "line": {"color": colour}}


def _stage_plot(recording: Recording, stage: str, train: list[Scalars], valid: list[Scalars]) -> Html:
    epoch = {"hovertemplate": "after step %{x}: %{y:.4g}"}
    thin = {"line": {"color": GREY, "width": 1}}
    loss = [
        *_curve(train, "loss", "step", GREY, **thin),
        *_curve(valid, "train_loss", "training", ORANGE, **epoch, **_marked(ORANGE, valid)),
        *_curve(valid, "loss", "validation", BLUE, **epoch, **_marked(BLUE, valid)),
        *_curve(valid, "loss_scaled", "rescaled", GREEN, **epoch, **_marked(GREEN, valid)),
    ]
    share = {"hovertemplate": "step %{x}: %{y:.1%}"}
    accuracy = [
        *_curve(train, "accuracy", "step", GREY, **share, **thin),
        *_curve(valid, "accuracy", "validation", BLUE, **share, **_marked(BLUE, valid)),
        *_curve(valid, "recall_rare", "rare", PURPLE, **share, **_marked(PURPLE, valid)),
        *_curve(valid, "recall_common", "common", GOLD, **share, **_marked(GOLD, valid)),
    ]
    rate = _curve(train, "learning_rate", "", GREY)
    norms = [
        *_curve(train, "gradient_norm", "gradient", ORANGE),
        *_curve(train, "weight_norm", "weights", BLUE),
    ]
    shares = {"tickformat": ".0%", "range": [0, 1.03]}
    dead = [*_worst(train, "dead_units", "dead units", ORANGE), *_worst(train, "zeros", "zeros", GREY)]
    parts = [
        Panel("Loss", loss, scale(_values(loss), 1000), 200),
        Panel("Accuracy", accuracy, shares, 160),
        Panel("Learning rate", rate, {"rangemode": "tozero"}, 80),
        Panel("Norms", norms, scale(_values(norms))),
        Panel("ReLU, worst layer", dead, shares, 90),
    ]
    figure, height = panels([p for p in parts if p.lines] or parts[:1], {"title": {"text": f"step of {escape(stage)}"}})
    best = best_epoch(recording, stage)
    if best:
        mark, note = _best_line(best, best.step > (train or valid)[-1].step / 2)
        figure["layout"]["shapes"] = [mark]
        figure["layout"]["annotations"].append(note)
    words = _in_words(stage, train, valid, best)
    return plot(figure, words, words, height)


def _values(lines: Sequence[dict[str, Any]]) -> list[float]:
    return [value for each in lines for value in each["y"]]


def _worst(train: Sequence[Scalars], kind: str, label: str, colour: str) -> list[dict[str, Any]]:
    """The largest share over the layers, at each step."""
    worst = []
    for each in train:
        found = [value for name, value in each.values.items() if name.startswith(f"{kind}/")]
        if found:
            worst.append(Scalars(each.t, each.stage, each.mode, each.epoch, each.step, {kind: max(found)}))
    return _curve(worst, kind, label, colour, hovertemplate="step %{x}: %{y:.1%}")


def _best_line(best: Scalars, late: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """A dotted line and its name, on the side where there is room."""
    place = {"xref": "x", "yref": "paper"}
    mark = {"type": "line", "x0": best.step, "x1": best.step, "y0": 0, "y1": 1, "line": {"color": GREEN, "dash": "dot"}}
    note = {"x": best.step, "y": 1, "yanchor": "top", "xanchor": "right" if late else "left"}
    look = {"text": f"best, epoch {best.epoch}", "showarrow": False, "font": {"size": 11}}
    return place | mark, place | note | look


def _in_words(stage: str, train: Sequence[Scalars], valid: Sequence[Scalars], best: Scalars | None) -> str:
    facts = []
    if valid:
        facts.append(f"{stage} was validated after {count(len(valid), 'epoch')}")
    if best:
        accuracy = best.values.get("accuracy")
        right = f" and {percent(accuracy)} right" if accuracy is not None else ""
        facts.append(f"the best is {best.epoch} with validation loss {held_out_loss(best):.4f}{right}")
    first, last = (_loss(train, i) for i in (0, -1))
    if len(train) > 1 and first is not None and last is not None:
        facts.append(f"the loss of a step went from {first:.4g} to {last:.4g}")
    said = "; ".join(facts) or f"{count(len(train), 'step')} of {stage} recorded"
    sentence = f"{said[:1].upper()}{said[1:]}." if said else ""
    return " ".join([sentence, *not_finite([*train, *valid])]).strip()


def _loss(train: Sequence[Scalars], place: int) -> float | None:
    return train[place].values.get("loss") if train else None


def not_finite(lines: Sequence[Scalars]) -> list[str]:
    """Which numbers were infinite or none at all, and since when; such points are gaps in the plots."""
    first: dict[str, int] = {}
    for each in lines:
        for name, value in each.values.items():
            if not math.isfinite(value):
                first[name] = min(first.get(name, each.step), each.step)
    if not first:
        return []
    named = sorted(first, key=lambda name: (first[name], "/" in name, name))
    more = f" and {len(named) - 3} others" if len(named) > 3 else ""
    known = listed(named[:3]) if not more else ", ".join(named[:3])
    return [f"No finite number from step {first[named[0]]} on: {known}{more}; such points are left out."]


def _layers_plot(stage: str, train: Sequence[Scalars]) -> Html | None:
    """Each kind of number that was recorded by layer, a line a layer; None if there is but one layer or none."""
    names = {name: None for each in train for name in each.values if "/" in name}
    layers = list(dict.fromkeys(name.partition("/")[2] for name in names))
    parts = []
    for kind, title in _LAYERS.items():
        own = [layer for layer in layers if f"{kind}/{layer}" in names][:_MOST_LAYERS]
        lines = [
            drawn
            for layer in own
            for drawn in _curve(train, f"{kind}/{layer}", escape(layer), COLOURS[layers.index(layer) % len(COLOURS)],
                                **_dashed(layers.index(layer)))
        ]  # fmt: skip
        # Outputs may be below zero.
        axis = {"tickformat": ".0%", "range": [0, 1.03]} if kind in _SHARES else scale(_values(lines))
        parts.append(Panel(title, lines, {} if kind == "activation_mean" else axis, 140))
    parts = [part for part in parts if part.lines]
    if not parts:
        return None
    figure, height = panels(parts, {"title": {"text": f"step of {escape(stage)}"}})
    words = f"Norms and outputs of {count(len(layers), 'layer')} of {stage}: {', '.join(layers[:_MOST_LAYERS])}."
    return plot(figure, words, words, height)


def _dashed(place: int) -> dict[str, Any]:
    """Layers beyond the first colours take them again, with other strokes."""
    dash = ("solid", "dash", "dot")[place // len(COLOURS) % 3]
    return {"line": {"color": COLOURS[place % len(COLOURS)], "dash": dash, "width": 1.5}}
