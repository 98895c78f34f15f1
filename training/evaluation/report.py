"""One HTML file that shows a person how good a model is and where it fails."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from model_serving.classifier import ModelSpec
from training.page.document import Section, page, plotly_js
from training.page.markup import Html, join, percent, plot, tag
from training.page.output import write_whole

from .figures import coverage_figure, history_figure, known_figure, reliability_figure, roc_figure
from .headline import headline
from .matrix import MOST_CLASSES, confusion_figure, shown_classes
from .per_class import confusion
from .photos import confused_photos, fooled_photos, shower, worst_photos
from .predictions import Predictions, Scored, score
from .tables import class_table, decision_table, model_table, slice_table, unknown_tables


def write_report(
    metrics: Mapping[str, Any],
    predictions: Predictions,
    spec: ModelSpec,
    output: Path,
    unknown: Predictions | None = None,
    title: str | None = None,
    history: Sequence[Mapping[str, Any]] | None = None,
) -> Path:
    """Write `report.html` into the folder `output`, whole or not at all, and return its path; about 5 MB.

    `metrics` are those that `evaluate` made of these very `predictions`, `spec` and `unknown`. `history` has one
    entry per epoch with any of epoch, train_loss, valid_loss, valid_top1, lr. Photos whose files are gone become
    placeholders. TrainingError if plotly is not installed.
    """
    library = plotly_js()
    sections = list(_sections(metrics, predictions, spec, unknown, history))
    return write_whole(output / "report.html", page(title or f"Evaluation of {spec.name}", sections, library))


def _sections(
    metrics: Mapping[str, Any],
    predictions: Predictions,
    spec: ModelSpec,
    unknown: Predictions | None,
    history: Sequence[Mapping[str, Any]] | None,
) -> Iterator[Section]:
    scored, show = score(predictions, spec.calibration.temperature), shower(spec)
    yield Section("summary", "Summary", headline(metrics, spec))
    yield Section("confusion", "Confusion matrix", _confusion(metrics, scored, spec))
    yield Section("pairs", "Most confused classes", confused_photos(metrics, predictions, scored, spec, show))
    yield Section("classes", "Classes", class_table(metrics["per_class"]))
    yield Section("calibration", "Calibration", _calibration(metrics, scored))
    yield Section("coverage", "Coverage and risk", _coverage(metrics))
    yield Section("decisions", "Decisions", decision_table(metrics["decisions"]))
    yield Section("slices", "Slices", slice_table(metrics["slices"]))
    yield Section("worst", "Surest mistakes", worst_photos(predictions, scored, spec, show))
    if unknown is not None and "unknown" in metrics:
        yield Section("unknown", "Photos of none of the classes", _unknown(metrics, predictions, unknown, spec))
        fooled = fooled_photos(unknown, score(unknown, spec.calibration.temperature), spec, show)
        yield Section("fooled", "Photos of none that look most known", fooled)
    if history:
        summary = f"Loss, validation accuracy and learning rate over {len(history)} epochs."
        yield Section("history", "Training history", plot(history_figure(history), summary, summary, 560))
    yield Section("model", "Model and data", model_table(spec, metrics))


def _confusion(metrics: Mapping[str, Any], scored: Scored, spec: ModelSpec) -> Html:
    counts = confusion(scored.labels, scored.predicted, len(spec.classes))
    shown, used = len(shown_classes(counts)), len(metrics["per_class"])
    caption = (
        "A row is a true class, a column a prediction: blue is right, orange is a mistake, darker means more of the "
        "row. Point at a cell for its photos; draw a frame to enlarge. In bigger matrices confused classes are "
        "side by side."
    )
    if shown < used:
        caption += f" Shown are the {MOST_CLASSES} of {used} classes with the most mistakes."
    summary = f"Confusion matrix of {shown} classes; {percent(metrics['top1'])} of the photos are on its diagonal."
    return plot(confusion_figure(counts, spec.classes), summary, caption, max(420, 13 * shown + 160))


def _calibration(metrics: Mapping[str, Any], scored: Scored) -> Html:
    before, after = percent(metrics["ece_uncalibrated"]), percent(metrics["ece"])
    summary = f"Calibration error {before} before and {after} after temperature {metrics['temperature']:.3f}."
    caption = (
        f"{summary} Each point holds equally many photos, its whisker is the 95 % interval; on the dotted line scores "
        f"are right as often as they say. Below: how many photos get which score. Negative log likelihood "
        f"{metrics['nll']:.3f}, Brier score {metrics['brier']:.3f}."
    )
    return plot(reliability_figure(metrics["reliability"], scored.confidence), summary, caption, 520)


def _coverage(metrics: Mapping[str, Any]) -> Html:
    found = metrics["coverage_risk"]
    reached = "; ".join(f"{percent(at['coverage'])} at {percent(at['risk'])} risk" for at in found["at_risk"])
    summary = f"Photos that can be answered: {reached}."
    caption = (
        f"{summary} The surest photos are answered first. Measured on these very photos: a threshold taken from here "
        f"is wrong a little more often on others. Area under the curve (AURC) {found['aurc']:.4f}."
    )
    return plot(coverage_figure(found), summary, caption)


def _unknown(metrics: Mapping[str, Any], predictions: Predictions, unknown: Predictions, spec: ModelSpec) -> Html:
    found = metrics["unknown"]
    spread = f"Known scores of {len(predictions)} photos of the classes and of {found['n']} photos of none."
    passing = (
        f"With a threshold that 95 % of the photos of the classes pass, {percent(found['fpr_at_95_tpr'])} of the "
        "photos of none pass too."
    )
    figures = [
        plot(known_figure(predictions, unknown), spread, spread),
        plot(roc_figure(predictions, unknown, spec.calibration.temperature), passing, passing, 460),
    ]
    return join([tag("div", *figures, class_="columns"), unknown_tables(found)])
