"""The tables of the report."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from model_serving.classifier import ModelSpec
from training.page.markup import NO_VALUE, Html, interval, join, number, percent, table

from .figures import SCORE_NAMES
from .selective import DECISIONS

_LONGEST = 300  # characters of a value: model.json may hold lists as long as the data set

DECISION_MEANING = {
    "confident": "answered, and trusted",
    "unsure": "answered, to be checked by a person",
    "unknown": "taken for a photo of none of the classes",
}


def model_table(spec: ModelSpec, metrics: Mapping[str, Any]) -> Html:
    """Which model this is, how it was trained, on which data."""
    facts = {
        "name": spec.name,
        "version": spec.version or NO_VALUE,
        "backbone": spec.backbone,
        "created": spec.created or NO_VALUE,
        "classes": len(spec.classes),
        "photos evaluated": metrics["n"],
        "calibration": dataclasses.asdict(spec.calibration),
        "preprocessing": f"shorter side to {spec.preprocessing.resize}, centre {spec.preprocessing.crop} px",
        "head": dataclasses.asdict(spec.head),
    }
    for name, values in (("hyperparameters", spec.hyperparameters), ("data", spec.data), ("libraries", spec.libraries)):
        # Photos of each class are in the slices; settings that were left empty say nothing.
        facts |= {f"{name}: {k}": v for k, v in values.items() if v not in ("", []) and k != "train_counts"}
    return table("What was evaluated", ("Fact", "Value"), ((name, _shown(value)) for name, value in facts.items()))


def _shown(value: Any) -> str:
    """Text as it is, anything else as JSON, cut where it goes on and on."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "\N{HORIZONTAL ELLIPSIS}"


def class_table(per_class: Mapping[str, Mapping[str, Any]]) -> Html:
    """Every class that was seen or predicted, the weakest first; classes without photos last."""
    ordered = sorted(per_class.items(), key=lambda item: (item[1]["n"] == 0, item[1]["f1"]))
    head = ("Class", "Photos", "Predicted", "Precision", "Recall", "Recall, 95 % interval", "F1")
    rows = (_class_row(class_id, scores) for class_id, scores in ordered)
    return table("Scores of each class; click a heading to sort", head, rows, sortable=True)


def _class_row(class_id: str, scores: Mapping[str, Any]) -> list[str]:
    label = scores["label"]
    low = None if scores["recall_interval"] is None else scores["recall_interval"][0]
    return [
        label if label == class_id else f"{label} ({class_id})",
        number(str(scores["n"]), scores["n"]),
        number(str(scores["predicted"]), scores["predicted"]),
        number(percent(scores["precision"]), scores["precision"], bar=True),
        number(percent(scores["recall"]), scores["recall"], bar=True),
        number(interval(scores["recall_interval"]), low),
        number(percent(scores["f1"]), scores["f1"], bar=True),
    ]


def decision_table(decisions: Mapping[str, Mapping[str, Any]]) -> Html:
    """How many photos get each decision, and how often the first answer is right then."""
    rows = [
        [
            name,
            DECISION_MEANING[name],
            number(str(decisions[name]["n"]), decisions[name]["n"]),
            number(percent(decisions[name]["share"]), decisions[name]["share"]),
            number(percent(decisions[name]["top1"]), decisions[name]["top1"], bar=True),
            number(interval(decisions[name]["top1_interval"]), decisions[name]["top1"]),
        ]
        for name in DECISIONS
    ]
    head = ("Decision", "Meaning", "Photos", "Share", "First answer right", "95 % interval")
    return table("Decisions on photos of the classes", head, rows)


def slice_table(slices: Mapping[str, list[Mapping[str, Any]]]) -> Html:
    """Accuracy by size, orientation and class size."""
    names = {
        "size": "shorter side",
        "orientation": "orientation (EXIF)",
        "class_size": "photos of the class in training",
    }
    rows = [
        [
            f"{names[by]}: {part['name']}",
            number(str(part["n"]), part["n"]),
            number(percent(part["top1"]), part["top1"], bar=True),
            number(interval(part["top1_interval"]), part["top1"]),
        ]
        for by, parts in slices.items()
        for part in parts
    ]
    return table("Top-1 accuracy of parts of the photos", ("Slice", "Photos", "Top-1", "95 % interval"), rows)


def unknown_tables(unknown: Mapping[str, Any]) -> Html:
    """How well each score tells photos of none apart, and what was decided on them."""
    areas = {"known": unknown["auroc"], **unknown["alternatives"]}
    scores = [[SCORE_NAMES[name], number(percent(area), area, bar=True)] for name, area in areas.items()]
    shares = unknown["decisions"]
    decided = [
        [name, *(number(percent(shares[group][name]), shares[group][name]) for group in ("known", "unknown"))]
        for name in DECISIONS
    ]
    return join(
        [
            table("How well a score tells known from unknown (AUROC; 50 % is chance)", ("Score", "AUROC"), scores),
            table("Share of each decision", ("Decision", "Photos of the classes", "Photos of none"), decided),
        ]
    )
