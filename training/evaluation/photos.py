"""The sections of the report that show photos."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from model_serving.classifier import ModelSpec
from training.page.markup import Html, join, paragraph, percent, tag

from .predictions import Bools, Ints, Predictions, Scored, array
from .thumbnails import SIDE, thumbnail

# 2 x 15 + 24 + 12 photos of 4 kB each: a report stays far below a hundred, whatever the size of the test set.
PAIRS, WORST, FOOLED = 15, 24, 12

Show = Callable[[Predictions, int, str], Html]
"""Predictions, index of a photo and a caption -> the photo with its caption."""


def shower(spec: ModelSpec) -> Show:
    """What shows one photo, or a placeholder where its file is gone or unreadable."""

    def show(predictions: Predictions, index: int, caption: str) -> Html:
        name = predictions.names[index]
        source = thumbnail(predictions.paths[index], spec.preprocessing)
        if source is None:
            image = tag("div", "file not readable", class_="missing")
        else:
            image = tag("img", src=source, alt=f"{name}: {caption}", width=str(SIDE), height=str(SIDE))
        return tag("figure", image, tag("figcaption", caption, tag("small", name)), class_="photo")

    return show


def confused_photos(
    metrics: Mapping[str, Any], predictions: Predictions, scored: Scored, spec: ModelSpec, show: Show
) -> Html:
    """Per confused pair its surest mistake beside a photo that shows what the predicted class looks like."""
    index_of = {info.class_id: i for i, info in enumerate(spec.classes)}
    pairs = metrics["confused_pairs"][:PAIRS]
    if not pairs:
        return paragraph("No photo was taken for another class.")
    hint = "Left a photo that was mistaken, right one of the class it was taken for. More photos of both help."
    items = (_pair(pair, index_of, predictions, scored, show) for pair in pairs)
    return join([paragraph(hint), tag("ol", *items, class_="pairs")])


def _pair(
    pair: Mapping[str, Any], index_of: Mapping[str, int], predictions: Predictions, scored: Scored, show: Show
) -> Html:
    true, mistaken = index_of[pair["true"]], index_of[pair["predicted"]]
    wrong = _surest(scored, (scored.labels == true) & (scored.predicted == mistaken))
    right = _surest(scored, (scored.labels == mistaken) & scored.correct)
    photos = [show(predictions, wrong[0], f"{pair['true_label']}, taken for {pair['predicted_label']}")]
    if right:
        photos.append(show(predictions, right[0], f"{pair['predicted_label']}, recognised"))
    noun = "photo" if pair["count"] == 1 else "photos"
    share = f"{pair['count']} {noun}, {percent(pair['share'])} of the class"
    title = tag("h3", pair["true_label"], tag("small", " taken for "), pair["predicted_label"])
    return tag("li", title, paragraph(share), tag("div", *photos, class_="photos"))


def worst_photos(predictions: Predictions, scored: Scored, spec: ModelSpec, show: Show) -> Html:
    """The wrong answers with the highest scores: often a wrong label, sometimes a real blind spot."""
    wrong = _surest(scored, ~scored.correct)[:WORST]
    if not wrong:
        return paragraph("No answer was wrong.")
    hint = "Wrong answers with the highest scores. Look for wrong labels and for photos of two classes first."
    return _grid(
        hint,
        (
            show(predictions, i, f"{spec.classes[scored.labels[i]].label}, taken for {_answer(scored, i, spec)}")
            for i in wrong
        ),
    )


def fooled_photos(unknown: Predictions, scored: Scored, spec: ModelSpec, show: Show) -> Html:
    """The photos of none of the classes that the model takes most for known."""
    known = array(unknown.known)
    hint = "Photos of none of the classes with the highest known scores. Look for photos that do show a class."
    return _grid(
        hint,
        (
            show(unknown, i, f"known score {known[i]:.3g}; taken for {_answer(scored, i, spec)}")
            for i in np.argsort(-known, kind="stable")[:FOOLED].tolist()
        ),
    )


def _answer(scored: Scored, index: int, spec: ModelSpec) -> str:
    return f"{spec.classes[scored.predicted[index]].label} with score {scored.confidence[index]:.2f}"


def _surest(scored: Scored, chosen: Bools) -> list[int]:
    """Indices of the chosen photos by falling confidence."""
    indices: Ints = np.flatnonzero(chosen)
    found: list[int] = indices[np.argsort(-scored.confidence[indices], kind="stable")].tolist()
    return found


def _grid(hint: str, photos: Iterable[Html]) -> Html:
    return join([paragraph(hint), tag("div", *photos, class_="photos")])
