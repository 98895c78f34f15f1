"""From logits to `metrics.json`: everything that is known about how good a model is, as plain data."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from model_serving.classifier import ModelSpec
from training.page.output import plain, write_whole

from .calibration import ece, ece_floor, reliability
from .intervals import wilson
from .open_set import open_set
from .per_class import class_scores, confused_pairs, confusion, mean_over_present
from .predictions import Predictions, Scored, check, score
from .selective import coverage_risk, decision_scores
from .slices import slices

TOP = 5


def evaluate(
    predictions: Predictions,
    spec: ModelSpec,
    unknown: Predictions | None = None,
    *,
    train_counts: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """All metrics of a model on N labelled photos, ready for JSON: shares in 0..1, intervals of 95 % as [low, high].

    `n`, `top1`, `top5` with `top1_interval`, `top5_interval` (Wilson; the best 5 of fewer than 5 classes are all);
    `balanced_accuracy`, `macro_f1`; `per_class`, `confused_pairs`; `slices`, by class size too if `train_counts`
    (class id -> photos in training) is given. With logits / `temperature`: `nll` (nats), `brier` (0..2), `ece` beside
    its `ece_floor`, `reliability`, `coverage_risk`, `decisions`; with raw logits `ece_uncalibrated`. `unknown`, if
    photos of none of the classes are given. The functions that compute them name the formulas' sources.

    DataError for no photos, photos of none of the classes among `predictions`, another number of classes than the
    model's, or answers that are not finite.
    """
    check(predictions, len(spec.classes), labelled=True)
    if unknown is not None:
        check(unknown, len(spec.classes), labelled=False)
    temperature = spec.calibration.temperature
    scored = score(predictions, temperature)
    decided = decisions(predictions, spec)
    found = {
        **_accuracy(scored),
        **_by_class(scored, spec),
        **_calibration(scored, score(predictions), temperature),
        "coverage_risk": coverage_risk(scored.confidence, scored.correct),
        "decisions": decision_scores(decided, scored.correct),
        "slices": slices(predictions, scored, spec.classes, train_counts),
    }
    if unknown is not None:
        found["unknown"] = open_set(predictions, unknown, temperature, decided, decisions(unknown, spec))
    ready: dict[str, Any] = plain(found)
    return ready


def decisions(predictions: Predictions, spec: ModelSpec) -> list[str]:
    """What the model decides on each photo: "confident", "unsure" or "unknown"."""
    decide = spec.calibration.decide
    confidence = score(predictions, spec.calibration.temperature).confidence
    return [decide(top, known) for top, known in zip(confidence.tolist(), predictions.known.tolist(), strict=True)]


def write_metrics(metrics: Mapping[str, Any], output: Path) -> Path:
    """Write `metrics.json` into the folder `output`, whole or not at all, and return its path.

    UTF-8; what is not a number becomes null.
    """
    text = json.dumps(plain(metrics), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    return write_whole(output / "metrics.json", text)


def _accuracy(scored: Scored) -> dict[str, Any]:
    n = len(scored.labels)
    first, among = int((scored.rank == 0).sum()), int((scored.rank < TOP).sum())
    return {
        "n": n,
        "top1": first / n,
        "top1_interval": wilson(first, n),
        "top5": among / n,
        "top5_interval": wilson(among, n),
    }


def _by_class(scored: Scored, spec: ModelSpec) -> dict[str, Any]:
    counts = confusion(scored.labels, scored.predicted, len(spec.classes))
    per_class = class_scores(counts, spec.classes)
    return {
        "balanced_accuracy": mean_over_present(per_class, "recall"),
        "macro_f1": mean_over_present(per_class, "f1"),
        "per_class": per_class,
        "confused_pairs": confused_pairs(counts, spec.classes),
    }


def _calibration(scored: Scored, raw: Scored, temperature: float) -> dict[str, Any]:
    true = np.take_along_axis(scored.log_probabilities, scored.labels[:, None], axis=1)[:, 0]
    return {
        "temperature": temperature,
        "nll": float(-true.mean()),
        "brier": _brier(scored),
        "ece": ece(scored.confidence, scored.correct),
        "ece_uncalibrated": ece(raw.confidence, raw.correct),
        "ece_floor": dataclasses.asdict(ece_floor(scored.confidence)),
        "reliability": {"calibrated": _bins(scored), "uncalibrated": _bins(raw)},
    }


def _brier(scored: Scored) -> float:
    """Mean over photos of the squared distance between probabilities and truth, summed over classes (Brier 1950)."""
    probabilities = np.exp(scored.log_probabilities)
    true = np.take_along_axis(probabilities, scored.labels[:, None], axis=1)[:, 0]
    return float(((probabilities**2).sum(axis=1) - 2 * true + 1).mean())


def _bins(scored: Scored) -> list[dict[str, Any]]:
    """The bins of the reliability diagram, each with the interval of its accuracy."""
    found = reliability(scored.confidence, scored.correct)
    return [dataclasses.asdict(b) | {"interval": wilson(round(b.accuracy * b.n), b.n)} for b in found]
