"""The confusion matrix as a heat-map that stays readable with a hundred classes."""

from __future__ import annotations

from typing import Any

import numpy as np

from model_serving.classifier import ClassInfo
from training.page.markup import escape, percent

from .predictions import Bools, Floats, Ints

ALPHABETICAL_UP_TO = 20
"""So few classes keep their order, where they are found by name."""

MOST_CLASSES = 150
"""More cells than 150 x 150 are no longer seen apart; the classes with the most mistakes are shown."""

_LABEL = 26  # characters of an axis label; the hover text has the whole name
_RIGHT = [[0, "rgba(47,127,193,0.15)"], [1, "rgba(47,127,193,1)"]]
_WRONG = [[0, "rgba(224,112,45,0.25)"], [1, "rgba(224,112,45,1)"]]


def shown_classes(counts: Ints) -> list[int]:
    """Indices of the classes of a (C, C) confusion matrix to show, in their order on the axes.

    Classes without photos that were never predicted are left out, and beyond `MOST_CLASSES` those with the fewest
    mistakes.
    """
    mistakes = counts.sum(0) + counts.sum(1) - 2 * counts.diagonal()
    used = np.flatnonzero(counts.sum(0) + counts.sum(1))
    chosen = np.sort(used[np.argsort(-mistakes[used], kind="stable")[:MOST_CLASSES]])
    order = range(len(chosen)) if len(chosen) <= ALPHABETICAL_UP_TO else neighbours(counts[np.ix_(chosen, chosen)])
    return [int(chosen[i]) for i in order]


def neighbours(counts: Ints) -> list[int]:
    """An order of the classes that puts those confused most side by side.

    Greedy joining of chains, the strongest confusion first, as in the greedy edge heuristic for tours: exact
    seriation is NP-hard, and a reader needs no more than confused breeds close together.
    """
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    strength = np.triu(shares + shares.T, 1)
    chain_of = [[i] for i in range(len(counts))]
    for flat in np.argsort(-strength, axis=None, kind="stable")[: np.count_nonzero(strength)]:
        one, other = divmod(int(flat), len(counts))
        left, right = chain_of[one], chain_of[other]
        if left is right or one not in (left[0], left[-1]) or other not in (right[0], right[-1]):
            continue
        joined = (left if left[-1] == one else left[::-1]) + (right if right[0] == other else right[::-1])
        for member in joined:
            chain_of[member] = joined
    # By their first class, and each from its earlier end: as near to the order of the classes as chains can be.
    chains = {min(chain): chain if chain[0] <= chain[-1] else chain[::-1] for chain in chain_of}
    return [member for _, chain in sorted(chains.items()) for member in chain]


def confusion_figure(counts: Ints, classes: tuple[ClassInfo, ...]) -> dict[str, Any]:
    """Rows are true classes and sum to 1, columns predictions; right answers blue, mistakes orange."""
    shown = shown_classes(counts)
    totals = counts.sum(axis=1)
    square = counts[np.ix_(shown, shown)]
    shares = square / np.maximum(totals[shown], 1)[:, None]
    every = range(len(shown))
    names = _axis_names([classes[i] for i in shown])
    labels = [escape(classes[i].label) for i in shown]
    texts = [
        [_hover(labels[r], labels[c] if r != c else None, int(square[r, c]), int(totals[shown[r]])) for c in every]
        for r in every
    ]
    diagonal = np.eye(len(shown), dtype=bool)
    axis = {"type": "category", "categoryorder": "array", "categoryarray": names, "automargin": True, "showgrid": False}
    axis |= {"tickfont": {"size": 10 if len(shown) > ALPHABETICAL_UP_TO else 12}, "zeroline": False}
    upright = {"tickangle": -90} if len(shown) > 8 else {}  # fewer names find room side by side
    return {
        "data": [
            _cells(names, shares, texts, (square > 0) & diagonal, _RIGHT),
            _cells(names, shares, texts, (square > 0) & ~diagonal, _WRONG),
        ],
        "layout": {
            "xaxis": axis | {"title": {"text": "predicted"}} | upright,
            "yaxis": axis | {"title": {"text": "true"}, "autorange": "reversed"},
            "margin": {"l": 40, "r": 10, "t": 10, "b": 40},
        },
    }


def _cells(
    names: list[str], shares: Floats, texts: list[list[str]], chosen: Bools, scale: list[list[Any]]
) -> dict[str, Any]:
    """One layer of the heat-map: a cell that is not chosen is empty, so that the layer below shows."""
    return {
        "type": "heatmap",
        "x": names,
        "y": names,
        "z": _where(chosen, shares.round(4).tolist(), None),
        "hovertext": _where(chosen, texts, ""),
        "hoverinfo": "text",
        "hoverongaps": False,
        "colorscale": scale,
        "showscale": False,
        "zmin": 0,
        "zmax": 1,
        "xgap": 1,
        "ygap": 1,
    }


def _where(chosen: Bools, rows: list[list[Any]], otherwise: Any) -> list[list[Any]]:
    """The matrix with everything that is not chosen replaced."""
    return [
        [item if kept else otherwise for item, kept in zip(row, mask, strict=True)]
        for row, mask in zip(rows, chosen.tolist(), strict=True)
    ]


def _hover(true: str, mistaken: str | None, count: int, total: int) -> str:
    """The text over a cell; only cells with photos have one, most cells of a big matrix have none."""
    if not count:
        return ""
    relation = "right" if mistaken is None else f"taken for <b>{mistaken}</b>"
    return f"<b>{true}</b> {relation}<br>{count} of {total} photos ({percent(count / total)})"


def _axis_names(classes: list[ClassInfo]) -> list[str]:
    """Short names, no two alike: plotly would draw classes of one name in one row."""
    found: list[str] = []
    for info in classes:
        short = info.label if len(info.label) <= _LABEL else info.label[: _LABEL - 1] + "\N{HORIZONTAL ELLIPSIS}"
        same = 1
        name = short
        while name in found:
            same += 1
            name = f"{short} ({same})"
        found.append(name)
    return [escape(name) for name in found]
