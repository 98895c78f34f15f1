"""The first screen of the report: the numbers that matter, each with its interval and one sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from model_serving.classifier import ModelSpec
from training.page.markup import Html, card, cards, interval, percent

from .metrics import TOP

ANSWERED_AT = 0.02
"""The risk, one of those of `coverage_risk`, for which the headline says how many photos can be answered."""


def headline(metrics: Mapping[str, Any], spec: ModelSpec) -> Html:
    """A list of cards: name, value, 95 % interval where there is one, meaning."""
    n, right = metrics["n"], round(metrics["top1"] * metrics["n"])
    meaning = f"The first answer is right on {right} of {n} photos."
    found = [
        card("Top-1 accuracy", percent(metrics["top1"]), meaning, _bounds(metrics, "top1")),
        card("Balanced accuracy", percent(metrics["balanced_accuracy"]), "Mean over the classes, each counting alike."),
        card("Macro F1", percent(metrics["macro_f1"]), "Mean over the classes of precision and recall taken together."),
        _ece_card(metrics),
        _answered_card(metrics),
    ]
    if len(spec.classes) > TOP:
        meaning = f"The true class is among the best {TOP} answers."
        found.insert(1, card(f"Top-{TOP} accuracy", percent(metrics["top5"]), meaning, _bounds(metrics, "top5")))
    if "unknown" in metrics:
        found.append(_unknown_card(metrics["unknown"]))
    return cards(*found)


def _bounds(metrics: Mapping[str, Any], name: str) -> str:
    bounds: Sequence[float] = metrics[f"{name}_interval"]
    return f"95 % interval {interval(bounds)}"


def _ece_card(metrics: Mapping[str, Any]) -> Html:
    """The calibration error says nothing without what chance makes of a perfect model."""
    floor = metrics["ece_floor"]
    verdict = (
        "No more than chance explains: scores can be read as probabilities."
        if metrics["ece"] <= floor["p95"]
        else "More than chance explains: read scores with caution."
    )
    chance = f"perfectly calibrated: {percent(floor['mean'])}, by chance up to {percent(floor['p95'])}"
    meaning = f"How far scores are from the share that is right, on average. {verdict}"
    return card("Calibration error (ECE)", percent(metrics["ece"]), meaning, chance)


def _answered_card(metrics: Mapping[str, Any]) -> Html:
    found = next(at for at in metrics["coverage_risk"]["at_risk"] if at["risk"] == ANSWERED_AT)
    meaning = "No threshold brings wrong answers down to that share."
    if found["score"] is not None:
        meaning = f"Share of photos with a score from {found['score']:.3f}; no more of their answers are wrong."
    return card(f"Answered at {100 * ANSWERED_AT:.0f} % risk", percent(found["coverage"]), meaning)


def _unknown_card(unknown: Mapping[str, Any]) -> Html:
    meaning = f"How often a photo of a class looks more known than one of {unknown['n']} of none; 50 % is chance."
    return card("Known from unknown (AUROC)", percent(unknown["auroc"]), meaning)
