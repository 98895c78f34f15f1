"""Accuracy of parts of the photos: where a model that is good on average is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from model_serving.classifier import ClassInfo

from .intervals import wilson
from .predictions import Bools, Floats, Predictions, Scored, array

SIZES = (("below 256 px", 0, 256), ("256 to 511 px", 256, 512), ("512 to 1024 px", 512, 1025), ("above 1024 px", 1025))
"""Shorter side of the photo as displayed: name, from, below."""

CLASS_SIZES = (("below 10", 0, 10), ("10 to 29", 10, 30), ("30 to 99", 30, 100), ("100 and more", 100))
"""Photos that the class had in training: name, from, below."""


def slices(
    predictions: Predictions, scored: Scored, classes: tuple[ClassInfo, ...], train_counts: Mapping[str, int] | None
) -> dict[str, list[dict[str, Any]]]:
    """By "size", "orientation" and, if `train_counts` (class id -> photos) is given, "class_size".

    Each slice has name, n, top1 and its 95 % interval; slices without photos are left out.
    """
    upright = array(predictions.orientations) == 1
    found = {
        "size": _by_range(array(predictions.sizes).min(axis=1), SIZES, scored.correct),
        "orientation": [_slice("upright", upright, scored.correct), _slice("turned", ~upright, scored.correct)],
    }
    if train_counts is not None:
        counts = np.array([train_counts.get(info.class_id, 0) for info in classes], np.float64)
        found["class_size"] = _by_range(counts[scored.labels], CLASS_SIZES, scored.correct)
    return {by: [part for part in parts if part["n"]] for by, parts in found.items()}


def _by_range(values: Floats, ranges: Sequence[tuple[Any, ...]], correct: Bools) -> list[dict[str, Any]]:
    return [
        _slice(name, (values >= low) & (values < (below[0] if below else np.inf)), correct)
        for name, low, *below in ranges
    ]


def _slice(name: str, chosen: Bools, correct: Bools) -> dict[str, Any]:
    n, right = int(chosen.sum()), int(correct[chosen].sum())
    return {"name": name, "n": n, "top1": right / n if n else None, "top1_interval": wilson(right, n)}
