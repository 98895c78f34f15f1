"""`evaluate`: an archive on labelled photos, as metrics, a summary and a report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from model_serving.classifier import Classifier

from .data.layout import Example, evaluation_examples, photos_of
from .evaluate import predict
from .evaluation.metrics import evaluate, write_metrics
from .evaluation.report import write_report
from .progress import Progress


def assess(
    model: Path,
    data: Path,
    output: Path | None,
    *,
    unknown: Path | None = None,
    split_file: Path | None = None,
    skip_unreadable: bool = False,
) -> tuple[dict[str, Any], list[Path]]:
    """The metrics, and the files that were written to `output` if there is one.

    ArchiveError for no archive, DataError for folders or photos that cannot be judged.
    """
    from model_serving.archive import unpacked

    progress = Progress()
    with unpacked(model) as folder:
        classifier = Classifier.load(folder, _device())
    spec = classifier.spec
    examples = evaluation_examples(data, spec.classes, split_file)
    strangers = [Example(path, -1, str(path.relative_to(unknown))) for path in photos_of(unknown)] if unknown else []
    with progress.bar("photos", len(examples) + len(strangers)) as advance:
        known = predict(classifier, examples, skip_unreadable=skip_unreadable, advance=advance)
        others = predict(classifier, strangers, skip_unreadable=skip_unreadable, advance=advance) if unknown else None
    metrics = evaluate(known, spec, others, train_counts=spec.data.get("train_counts"))
    if output is None:
        return metrics, []
    history = spec.metrics.get("history")
    written = [write_metrics(metrics, output), write_report(metrics, known, spec, output, others, history=history)]
    return metrics, written


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def lines(metrics: dict[str, Any]) -> Iterator[str]:
    """The summary for a terminal."""
    low, high = metrics["top1_interval"]
    yield f"{metrics['n']} photos: top-1 {metrics['top1']:.1%} (95 % interval {low:.1%} to {high:.1%})"
    recall, f1 = metrics["balanced_accuracy"], metrics["macro_f1"]
    yield f"top-5 {metrics['top5']:.1%}, mean recall of the classes {recall:.1%}, macro F1 {f1:.3f}"
    yield (
        f"ECE {metrics['ece']:.3f} (before scaling {metrics['ece_uncalibrated']:.3f}; "
        f"a perfect model of this size {metrics['ece_floor']['mean']:.3f})"
    )
    for decision, scores in metrics["decisions"].items():
        if scores["n"]:
            yield f"{decision}: {scores['share']:.1%} of photos, {scores['top1']:.1%} of them right"
    for pair in metrics["confused_pairs"][:3]:
        yield f"confused: {pair['true']} taken for {pair['predicted']} ({pair['count']})"
    if stranger := metrics.get("unknown"):
        yield f"none of the classes: AUROC {stranger['auroc']:.3f} on {stranger['n']} photos"
