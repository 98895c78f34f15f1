"""Precision, recall and confusion of the single classes."""

from __future__ import annotations

from typing import Any

import numpy as np

from model_serving.classifier import ClassInfo

from .intervals import wilson
from .predictions import Ints

MOST_CONFUSED = 30
"""Pairs of classes that `confused_pairs` lists."""


def confusion(labels: Ints, predicted: Ints, classes: int) -> Ints:
    """(C, C) counts: row is the true class, column the predicted one. Labels must be classes."""
    counts = np.bincount(labels * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes)


def class_scores(counts: Ints, classes: tuple[ClassInfo, ...]) -> dict[str, dict[str, Any]]:
    """Per class id: label, n, predicted, precision, recall, f1 and the recall's 95 % interval.

    Classes that have no photo and were never predicted are left out. Precision is None where nothing was
    predicted, recall and its interval where there is no photo: they are not zero, they are unknown.
    """
    return {
        info.class_id: {"label": info.label, **_scores(int(right), int(row), int(column))}
        for info, right, row, column in zip(classes, counts.diagonal(), counts.sum(1), counts.sum(0), strict=True)
        if row or column
    }


def _scores(right: int, n: int, predicted: int) -> dict[str, Any]:
    return {
        "n": n,
        "predicted": predicted,
        "precision": right / predicted if predicted else None,
        "recall": right / n if n else None,
        "f1": 2 * right / (n + predicted),
        "recall_interval": wilson(right, n),
    }


def mean_over_present(scores: dict[str, dict[str, Any]], name: str) -> float:
    """The plain mean of one score over the classes that have photos, whichever their number.

    Of the recall it is the balanced accuracy (Brodersen et al. 2010), of the f1 the macro F1. Classes without
    photos stay out: for a model of 1,000 classes tested on ten, they would pull every mean to zero.
    """
    present = [score[name] for score in scores.values() if score["n"]]
    return float(sum(present) / len(present))


def confused_pairs(counts: Ints, classes: tuple[ClassInfo, ...], limit: int = MOST_CONFUSED) -> list[dict[str, Any]]:
    """The most frequent mistakes: true and predicted class, count, share of the true class's photos.

    By falling count, then share, then the order of the classes.
    """
    rows, columns = np.nonzero(counts * (1 - np.eye(len(classes), dtype=np.int64)))
    totals = counts.sum(1)
    pairs = [(int(counts[r, c]), counts[r, c] / totals[r], int(r), int(c)) for r, c in zip(rows, columns, strict=True)]
    pairs.sort(key=lambda pair: (-pair[0], -pair[1], pair[2:]))
    return [
        {
            "true": classes[r].class_id,
            "true_label": classes[r].label,
            "predicted": classes[c].class_id,
            "predicted_label": classes[c].label,
            "count": count,
            "share": float(share),
        }
        for count, share, r, c in pairs[:limit]
    ]
