"""From validation photos to what an answer is worth: temperature, thresholds, and the class means behind "unknown"."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from model_serving.classifier import Calibration

from .evaluation.calibration import TEMPERATURE_SPREAD, ece, fit_temperature

CONFIDENT_ACCURACY = 0.95
"""Answers called confident are right this often on validation photos."""

CONFIDENT_RANGE = (0.5, 0.99)
"""The threshold stays in here: below a half something else is likelier, and above no answer would be confident."""

UNKNOWN_SHARE = 0.025
"""Share of validation photos, all of the classes, that may be called unknown: the price of telling strangers."""


def prototypes(features: torch.Tensor, labels: torch.Tensor, classes: int) -> torch.Tensor:
    """Features (N, F) and labels (N,) -> (classes, F): the mean direction of each class, of length 1."""
    directions = functional.normalize(features, dim=1)
    sums = torch.zeros(classes, features.shape[1]).index_add_(0, labels, directions)
    return functional.normalize(sums, dim=1)


def calibrate(logits: torch.Tensor, labels: torch.Tensor, known: torch.Tensor) -> Calibration:
    """Temperature and thresholds by validation photos: logits (N, classes), labels (N,), known scores (N,)."""
    temperature = fit_temperature(logits, labels, TEMPERATURE_SPREAD)
    scores, predicted = (logits / temperature).softmax(dim=1).max(dim=1)
    threshold = torch.quantile(known.double(), UNKNOWN_SHARE).item()
    return Calibration(
        temperature=round(temperature, 4),
        confident=round(_confident(scores, predicted == labels), 4),
        known=round(threshold, 4),
        known_by="similarity",
    )


def _confident(scores: torch.Tensor, right: torch.Tensor) -> float:
    """The lowest score at and above which CONFIDENT_ACCURACY of the answers are right, within CONFIDENT_RANGE."""
    order = scores.argsort(descending=True)
    accuracy = right[order].double().cumsum(0) / torch.arange(1, len(order) + 1)
    enough = (accuracy >= CONFIDENT_ACCURACY).nonzero()
    low, high = CONFIDENT_RANGE
    return min(max(scores[order[enough[-1, 0]]].item(), low), high) if len(enough) else high


def summary(logits: torch.Tensor, labels: torch.Tensor, temperature: float) -> dict[str, Any]:
    """The few metrics that travel in the archive; `evaluate` gives all: `n`, `top1`, `top5`, `nll`, `ece`, …"""
    probabilities = (logits.double() / temperature).softmax(dim=1)
    raw, (scores, predicted) = logits.double().softmax(dim=1), probabilities.max(dim=1)
    right = predicted == labels
    best = logits.topk(min(5, logits.shape[1]), dim=1).indices
    return {
        "n": len(labels),
        "top1": right.double().mean().item(),
        "top5": (best == labels[:, None]).any(dim=1).double().mean().item(),
        "nll": functional.cross_entropy(logits.double() / temperature, labels).item(),
        "ece": ece(scores, right),
        "ece_uncalibrated": ece(raw.max(dim=1).values, right),
    }
