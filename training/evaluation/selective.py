"""What refusing unsure answers buys: risk against coverage, and the three decisions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .intervals import wilson
from .predictions import Bools, Floats

RISKS = (0.01, 0.02, 0.05)
"""Shares of wrong answers for which the reachable coverage is reported."""

DECISIONS = ("confident", "unsure", "unknown")

_POINTS = 200  # of the curve: more than a screen can show apart


def coverage_risk(confidence: Floats, correct: Bools) -> dict[str, Any]:
    """Share of wrong answers (risk) when only the surest photos are answered, for every share answered (coverage).

    Geifman & El-Yaniv 2017, "Selective Classification for Deep Neural Networks". `curve` has a point per
    threshold: coverage, risk and the confidence from which photos are answered, thinned to 200. `aurc` is the
    mean risk over coverages 1/N, 2/N, ... 1 (Geifman et al. 2019, "Bias-Reduced Uncertainty Estimation for Deep
    Neural Classifiers"), lower is better; photos of equal confidence count in the mean of all their orders.
    `at_risk` lists the largest coverage of at most 1, 2 and 5 % risk, measured on these very photos.
    """
    order = np.argsort(-confidence)
    confidence, errors = confidence[order], np.cumsum(~correct[order])
    n = len(confidence)
    # A threshold answers all photos of one confidence or none: only the ends of such runs can be reached.
    ends = np.flatnonzero(np.append(confidence[1:] != confidence[:-1], True))
    coverage, risk, threshold = (ends + 1) / n, errors[ends] / (ends + 1), confidence[ends]
    answered = np.arange(1, n + 1)
    expected = np.interp(answered, np.append(0, ends + 1), np.append(0, errors[ends]))
    kept = np.unique(np.linspace(0, len(ends) - 1, min(_POINTS, len(ends))).round().astype(int))
    return {
        "curve": {"coverage": coverage[kept].tolist(), "risk": risk[kept].tolist(), "score": threshold[kept].tolist()},
        "aurc": float((expected / answered).mean()),
        "at_risk": [_at_risk(limit, coverage, risk, threshold) for limit in RISKS],
    }


def _at_risk(limit: float, coverage: Floats, risk: Floats, threshold: Floats) -> dict[str, Any]:
    good = np.flatnonzero(risk <= limit)
    if not len(good):
        return {"risk": limit, "coverage": 0.0, "score": None}
    return {"risk": limit, "coverage": float(coverage[good[-1]]), "score": float(threshold[good[-1]])}


def decision_scores(decisions: Sequence[str], correct: Bools) -> dict[str, dict[str, Any]]:
    """Per decision: n, share of all photos, and how often the best class is right (None without photos)."""
    found = np.asarray(decisions)
    return {name: _decision(correct[found == name], len(found)) for name in DECISIONS}


def _decision(correct: Bools, total: int) -> dict[str, Any]:
    n, right = len(correct), int(correct.sum())
    return {"n": n, "share": n / total, "top1": right / n if n else None, "top1_interval": wilson(right, n)}
