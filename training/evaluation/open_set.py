"""Photos of none of the classes: how well a score tells them from photos of a class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .calibration import auroc
from .predictions import Floats, Predictions, array, score
from .selective import DECISIONS

TRUE_POSITIVE_PERCENT = 95


def open_set(
    known: Predictions,
    unknown: Predictions,
    temperature: float,
    known_decisions: Sequence[str],
    unknown_decisions: Sequence[str],
) -> dict[str, Any]:
    """How photos of the classes (`known`, the positives) and of none (`unknown`) are told apart.

    `n` unknown photos; `auroc` and `fpr_at_95_tpr` of the model's `known` score; `alternatives`: the AUROC of each
    of `alternative_scores`; `decisions`: the share of each decision for both groups.
    """
    inside, outside = array(known.known), array(unknown.known)
    others = alternative_scores(known, temperature), alternative_scores(unknown, temperature)
    return {
        "n": len(unknown),
        "auroc": auroc(inside, outside),
        "fpr_at_95_tpr": fpr_at_tpr(inside, outside),
        "alternatives": {name: auroc(others[0][name], others[1][name]) for name in others[0]},
        "decisions": {"known": _shares(known_decisions), "unknown": _shares(unknown_decisions)},
    }


def alternative_scores(predictions: Predictions, temperature: float) -> dict[str, Floats]:
    """Scores for "is it one of the classes" that need nothing but the (N, C) logits; higher means more known.

    `max_probability`: the calibrated score of the best class (Hendrycks & Gimpel 2017, "A Baseline for Detecting
    Misclassified and Out-of-Distribution Examples"). `max_logit`: Hendrycks et al. 2022, "Scaling
    Out-of-Distribution Detection for Real-World Settings". `energy`: T logsumexp(logits / T), Liu et al. 2020,
    "Energy-based Out-of-distribution Detection".
    """
    logits = predictions.logits.detach().cpu().double()
    return {
        "max_probability": score(predictions, temperature).confidence,
        "max_logit": array(logits.amax(dim=1)),
        "energy": array(temperature * (logits / temperature).logsumexp(dim=1)),
    }


def fpr_at_tpr(positive: Floats, negative: Floats, percent: int = TRUE_POSITIVE_PERCENT) -> float:
    """Share of negatives at or above the highest threshold that lets `percent` % of the positives pass."""
    needed = -(-percent * len(positive) // 100)
    threshold = np.sort(positive)[len(positive) - needed]
    return float((negative >= threshold).mean())


def roc(positive: Floats, negative: Floats) -> tuple[Floats, Floats]:
    """False and true positive rates for every threshold, from (0, 0) to (1, 1)."""
    thresholds = np.unique(np.concatenate([positive, negative]))[::-1]
    rates = [1 - np.searchsorted(np.sort(group), thresholds, "left") / len(group) for group in (negative, positive)]
    return np.append(0.0, rates[0]), np.append(0.0, rates[1])


def _shares(decisions: Sequence[str]) -> dict[str, float]:
    return {name: decisions.count(name) / len(decisions) for name in DECISIONS}
