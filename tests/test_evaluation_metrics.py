"""Metrics of predictions small enough to be worked out by hand, and of models whose worth is known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from model_serving.classifier import Calibration, ClassInfo, ModelSpec
from training.errors import DataError
from training.evaluation.metrics import decisions, evaluate, write_metrics
from training.evaluation.predictions import Predictions


def made(
    logits: torch.Tensor,
    labels: Sequence[int] | torch.Tensor,
    *,
    known: torch.Tensor | None = None,
    sizes: Sequence[tuple[int, int]] | None = None,
    orientations: Sequence[int] | None = None,
    paths: Sequence[Path] | None = None,
) -> Predictions:
    """Predictions of photos that need not exist; `known` is the largest logit unless given."""
    n = len(labels)
    names = tuple(f"{i:03}.jpg" for i in range(n))
    return Predictions(
        names,
        tuple(paths or map(Path, names)),
        torch.as_tensor(labels),
        logits,
        logits.amax(1) if known is None else known,
        torch.tensor(sizes or [(640, 480)] * n).reshape(n, 2),
        torch.tensor(orientations or [1] * n),
    )


def spec_of(*labels: str, temperature: float = 1.0) -> ModelSpec:
    """A model of these classes, whose ids are 0, 1, ...; unknown below a known score of 0, confident from 0.7."""
    classes = tuple(ClassInfo(str(i), label) for i, label in enumerate(labels))
    return ModelSpec("pets", "resnet18", classes, calibration=Calibration(temperature, 0.7, 0.0, "similarity"))


SPEC = spec_of("cat", "dog", "fox")
LABELS = [0, 0, 0, 1, 1, 2]
# Predicted 0 0 1 1 1 0: a cat is taken for a dog, the only fox for a cat.
PROBABILITIES = torch.tensor(
    [[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.1, 0.5, 0.4], [0.05, 0.9, 0.05], [0.6, 0.3, 0.1]]
)
HAND = made(PROBABILITIES.log(), LABELS, known=torch.tensor([1.0, 1, 1, 1, 1, -1]))


@pytest.fixture(scope="module")
def by_hand() -> dict[str, Any]:
    """The metrics of the six photos."""
    return evaluate(HAND, SPEC)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 6),
        ("top1", 4 / 6),
        ("top5", 1.0),  # the best 5 of 3 classes are all
        ("balanced_accuracy", (2 / 3 + 1 + 0) / 3),
        ("macro_f1", (2 / 3 + 4 / 5 + 0) / 3),
        ("nll", 0.907417),  # -ln(0.8 * 0.6 * 0.2 * 0.5 * 0.9 * 0.1) / 6
        ("brier", (0.06 + 0.26 + 1.14 + 0.42 + 0.015 + 1.26) / 6),
        ("ece", (0.5 + 2 * 0.1 + 0.7 + 0.2 + 0.1) / 6),  # the two of confidence 0.6 share a bin and are half right
        ("temperature", 1.0),
    ],
)
def test_values_by_hand(by_hand: dict[str, Any], name: str, value: float) -> None:
    """Each number is the one that pencil and paper give."""
    assert by_hand[name] == pytest.approx(value, abs=1e-6)


def test_per_class_by_hand(by_hand: dict[str, Any]) -> None:
    """Precision of a class that is never predicted is unknown, not zero; its F1 is zero."""
    cat, dog, fox = (by_hand["per_class"][class_id] for class_id in "012")
    assert (cat["label"], cat["n"], cat["predicted"]) == ("cat", 3, 3)
    assert (cat["precision"], cat["recall"], cat["f1"]) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert (dog["precision"], dog["recall"], dog["f1"]) == pytest.approx((2 / 3, 1, 4 / 5))
    assert (fox["precision"], fox["recall"], fox["f1"]) == (None, 0.0, 0.0)
    assert fox["recall_interval"] == pytest.approx([0.0, 0.79345], abs=1e-5)  # Wilson, 0 of 1


def test_confused_pairs_by_hand(by_hand: dict[str, Any]) -> None:
    """Of two single mistakes the one that costs its class more comes first."""
    pairs = [(p["true_label"], p["predicted_label"], p["count"], p["share"]) for p in by_hand["confused_pairs"]]
    assert pairs == [("fox", "cat", 1, 1.0), ("cat", "dog", 1, pytest.approx(1 / 3))]


def test_coverage_and_risk_by_hand(by_hand: dict[str, Any]) -> None:
    """Photos of one confidence are answered together; the mean risk counts their orders equally."""
    found = by_hand["coverage_risk"]
    assert found["curve"]["coverage"] == pytest.approx([1 / 6, 2 / 6, 3 / 6, 5 / 6, 1])
    assert found["curve"]["risk"] == pytest.approx([0, 0, 1 / 3, 2 / 5, 2 / 6])
    assert found["curve"]["score"] == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.5])
    assert found["aurc"] == pytest.approx((0 + 0 + 1 / 3 + 1.5 / 4 + 2 / 5 + 2 / 6) / 6)
    assert [(at["risk"], at["coverage"]) for at in found["at_risk"]] == [(r, 2 / 6) for r in (0.01, 0.02, 0.05)]
    assert found["at_risk"][0]["score"] == pytest.approx(0.8)


def test_reliability_by_hand(by_hand: dict[str, Any]) -> None:
    """The bins that the calibration error is made of are told, each with its interval."""
    bins = by_hand["reliability"]["calibrated"]
    assert [b["n"] for b in bins] == [1, 2, 1, 1, 1]
    assert [b["confidence"] for b in bins] == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9])
    assert [b["accuracy"] for b in bins] == [1.0, 0.5, 0.0, 1.0, 1.0]
    assert bins[1]["interval"] == pytest.approx([0.0945, 0.9055], abs=1e-4)  # Wilson, 1 of 2


def test_decisions_by_hand(by_hand: dict[str, Any]) -> None:
    """Photos are counted by the decision, which sees the calibrated score and the known score."""
    found = by_hand["decisions"]
    assert {name: found[name]["n"] for name in found} == {"confident": 3, "unsure": 2, "unknown": 1}
    assert [found[name]["top1"] for name in found] == [pytest.approx(2 / 3), 1.0, 0.0]
    assert found["unknown"]["share"] == pytest.approx(1 / 6)


def test_decisions_follow_the_temperature() -> None:
    """The score that is decided on is the calibrated one: 0.8 becomes 0.67 at temperature 1.7."""
    hot = spec_of("cat", "dog", "fox", temperature=1.7)
    assert decisions(HAND, SPEC)[0] == "confident"
    assert decisions(HAND, hot)[0] == "unsure"


def test_temperature_changes_scores_only() -> None:
    """Calibration moves likelihood and ECE, never a rank; the uncalibrated ECE stays."""
    plain, hot = (
        evaluate(HAND, SPEC),
        evaluate(HAND, spec_of("a", "b", "c", temperature=3)),
    )
    assert hot["ece_uncalibrated"] == plain["ece_uncalibrated"] == plain["ece"] != hot["ece"]
    assert (hot["top1"], hot["macro_f1"]) == (plain["top1"], plain["macro_f1"])
    assert hot["nll"] != plain["nll"]


def test_slices_by_hand() -> None:
    """Photos are sliced by shorter side as displayed, by whether EXIF turns them, by photos in training."""
    sizes = [(255, 900), (900, 256), (511, 512), (512, 600), (1024, 2000), (1025, 1025)]
    photos = made(PROBABILITIES.log(), LABELS, sizes=sizes, orientations=[1, 6, 3, 1, 1, 8])
    found = evaluate(photos, SPEC, train_counts={"0": 9, "1": 100})["slices"]
    assert [(s["name"], s["n"]) for s in found["size"]] == [
        ("below 256 px", 1),
        ("256 to 511 px", 2),
        ("512 to 1024 px", 2),
        ("above 1024 px", 1),
    ]
    assert [s["top1"] for s in found["size"]] == [1.0, 0.5, 1.0, 0.0]
    assert [(s["name"], s["n"], s["top1"]) for s in found["orientation"]] == [
        ("upright", 3, 1.0),
        ("turned", 3, pytest.approx(1 / 3)),
    ]
    assert [(s["name"], s["n"]) for s in found["class_size"]] == [("below 10", 4), ("100 and more", 2)]


def test_slices_without_photos_are_left_out(by_hand: dict[str, Any]) -> None:
    """All test photos are upright and of one size, and nobody said how many were trained on."""
    assert {by: len(parts) for by, parts in by_hand["slices"].items()} == {"size": 1, "orientation": 1}


def test_unknown_photos_by_hand() -> None:
    """20 known photos of score 1 to 20: 19 of them pass at 2, and so do two of the four unknown ones."""
    inside = made(torch.tensor([[1.0, 0.0]] * 20), [0] * 20, known=torch.arange(1.0, 21.0))
    logits = torch.tensor([[0.0, 0.0], [2.0, 0.0], [1.0, 0.0], [0.5, 0.0]])
    outside = made(logits, [-1] * 4, known=torch.tensor([-1.0, 1.0, 2.0, 5.0]))
    found = evaluate(inside, spec_of("cat", "dog"), outside)["unknown"]
    assert (found["n"], found["fpr_at_95_tpr"]) == (4, 0.5)
    # Pairs won: 20 against -1, 19.5 against 1, 18.5 against 2, 15.5 against 5.
    assert found["auroc"] == pytest.approx(73.5 / 80)
    # Of the unknown logits one is surer than (1, 0), one as sure, two are less sure, whatever the score.
    assert found["alternatives"] == dict.fromkeys(("max_probability", "max_logit", "energy"), 2.5 / 4)
    assert found["decisions"]["known"] == {"confident": 1.0, "unsure": 0.0, "unknown": 0.0}
    assert found["decisions"]["unknown"] == {"confident": 0.5, "unsure": 0.25, "unknown": 0.25}


def test_alternatives_differ_where_they_should() -> None:
    """A constant added to all logits moves the largest logit and the energy, never a probability."""
    inside = made(torch.tensor([[3.0, 0.0]] * 4), [0] * 4)
    outside = made(torch.tensor([[1.0, -2.0]] * 4), [-1] * 4)
    found = evaluate(inside, spec_of("cat", "dog"), outside)["unknown"]["alternatives"]
    assert found == {"max_probability": 0.5, "max_logit": 1.0, "energy": 1.0}


def test_perfect_model() -> None:
    """A model that is right and sure has every score at its best and no confused pair."""
    found = evaluate(made(40 * torch.eye(8), range(8)), spec_of(*"abcdefgh"))
    assert [found[name] for name in ("top1", "top5", "balanced_accuracy", "macro_f1")] == [1.0] * 4
    assert found["top1_interval"] == pytest.approx([0.6756, 1.0], abs=1e-4)  # Wilson, 8 of 8
    assert found["confused_pairs"] == [] and found["coverage_risk"]["aurc"] == 0.0
    assert [found[name] for name in ("nll", "brier", "ece")] == pytest.approx([0.0] * 3, abs=1e-12)


def test_random_model() -> None:
    """Answers drawn by lot are right as often as chance: 1 of 20, and 5 of 20 among the best five."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(20, (8000,), generator=generator)
    photos = made(torch.randn(8000, 20, generator=generator), labels)
    found = evaluate(photos, spec_of(*"abcdefghijklmnopqrst"), photos)
    assert found["top1"] == pytest.approx(0.05, abs=0.01) and found["top5"] == pytest.approx(0.25, abs=0.02)
    assert found["unknown"]["auroc"] == 0.5


def test_ties_earn_nothing() -> None:
    """A model that answers the same for all classes is right where the first class is, and no more often."""
    found = evaluate(made(torch.zeros(10, 10), range(10)), spec_of(*"abcdefghij"))
    assert (found["top1"], found["top5"]) == (0.1, 0.5)
    assert found["coverage_risk"]["curve"] == {"coverage": [1.0], "risk": [0.9], "score": [pytest.approx(0.1)]}
    assert found["coverage_risk"]["at_risk"][0] == {"risk": 0.01, "coverage": 0.0, "score": None}


def test_order_of_photos_changes_nothing() -> None:
    """Shuffled photos, many of them of equal confidence, give the same metrics."""
    generator = torch.Generator().manual_seed(2)
    logits, labels = (
        torch.randint(3, (60, 4), generator=generator).float(),
        torch.randint(4, (60,), generator=generator),
    )
    order = torch.randperm(60, generator=generator)
    spec = spec_of(*"abcd", temperature=0.7)
    first = evaluate(made(logits, labels), spec)
    again = evaluate(made(logits[order], labels[order]), spec)
    assert json.dumps(_rounded(again)) == json.dumps(_rounded(first))


def _rounded(value: Any) -> Any:
    """Sums in another order differ in their last digits."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, 9) if isinstance(value, float) else value


def test_classes_without_photos_stay_out() -> None:
    """Means are over the classes that were tested; a class that was only predicted is listed, an idle one is not."""
    logits = torch.zeros(3, 1000)
    logits[0, 7] = logits[1, 7] = logits[2, 500] = 5.0
    spec = spec_of(*(f"class {i}" for i in range(1000)))
    found = evaluate(made(logits, [7, 7, 9]), spec)
    assert (found["balanced_accuracy"], found["macro_f1"]) == (0.5, 0.5)
    assert list(found["per_class"]) == ["7", "9", "500"]
    assert found["per_class"]["500"]["recall"] is None and found["per_class"]["500"]["recall_interval"] is None


def test_one_photo_of_one_class() -> None:
    """The smallest evaluation there is still says something, and says how little."""
    found = evaluate(made(torch.tensor([[2.0]]), [0]), spec_of("cat"))
    assert found["top1"] == found["top5"] == 1.0
    assert found["top1_interval"] == pytest.approx([0.2065, 1.0], abs=1e-4)  # Wilson, 1 of 1


def test_long_curves_are_thinned() -> None:
    """A curve keeps both its ends and at most 200 points, however many photos there are."""
    logits = torch.stack([torch.linspace(0.01, 5, 5000), torch.zeros(5000)], 1)
    curve = evaluate(made(logits, [0] * 5000), spec_of("cat", "dog"))["coverage_risk"]["curve"]
    assert len(curve["coverage"]) == len(curve["risk"]) == len(curve["score"]) == 200
    assert (curve["coverage"][0], curve["coverage"][-1]) == (1 / 5000, 1.0)


@pytest.mark.parametrize(
    ("photos", "named"),
    [
        (made(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), known=torch.zeros(0)), "no photos"),
        (made(torch.zeros(2, 3), [0, -1]), "001.jpg is of none"),
        (made(torch.zeros(2, 3), [0, 3]), "001.jpg is of none"),
        (made(torch.zeros(1, 4), [0]), "4 classes, the model has 3"),
        (made(torch.tensor([[0.0, 0, 0], [0, float("nan"), 0]]), [0, 1]), "001.jpg is not finite"),
        (made(torch.zeros(1, 3), [0], known=torch.tensor([float("inf")])), "000.jpg is not finite"),
    ],
)
def test_unusable_predictions_are_refused(photos: Predictions, named: str) -> None:
    """The message names the photo or the numbers that do not fit."""
    with pytest.raises(DataError, match=named):
        evaluate(photos, SPEC)


def test_unknown_photos_are_checked_too() -> None:
    """Photos of none of the classes need no label, but there must be some, of the same model."""
    empty = made(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), known=torch.zeros(0))
    for outside in (empty, made(torch.zeros(1, 2), [-1])):
        with pytest.raises(DataError):
            evaluate(HAND, SPEC, outside)


def test_parts_must_fit() -> None:
    """Predictions whose parts differ in length cannot be made."""
    with pytest.raises(ValueError, match="lengths"):
        made(torch.zeros(2, 3), [0])
    with pytest.raises(ValueError, match=r"logits are \(N, C\)"):
        made(torch.zeros(1, 3, 1), [0], known=torch.zeros(1))


def test_metrics_are_json(tmp_path: Path, by_hand: dict[str, Any]) -> None:
    """What is written is UTF-8, reads back as it was, and leaves nothing else in a folder made on the way."""
    folder = tmp_path / "new"
    path = write_metrics(by_hand | {"name": "Épagneul"}, folder)
    assert json.loads(path.read_text(encoding="utf-8")) == by_hand | {"name": "Épagneul"}
    assert list(folder.iterdir()) == [path] and path.name == "metrics.json"


def test_not_a_number_becomes_null(tmp_path: Path) -> None:
    """No reader of JSON knows NaN or Infinity, so neither is ever written."""
    path = write_metrics({"a": float("nan"), "b": [float("inf"), (1.5,)]}, tmp_path)
    assert json.loads(path.read_text()) == {"a": None, "b": [None, [1.5]]}


def test_names_that_are_not_utf8_are_kept(tmp_path: Path) -> None:
    """A folder named in another encoding comes back from the file as Python had it."""
    path = write_metrics({"caf\udce9": 1}, tmp_path)
    assert path.read_bytes().isascii() and json.loads(path.read_text(encoding="utf-8")) == {"caf\udce9": 1}


def test_failed_writing_leaves_no_half_file(tmp_path: Path) -> None:
    """Where the file cannot be put in its place, nothing is left beside it."""
    (tmp_path / "metrics.json").mkdir()
    with pytest.raises(OSError, match=r"metrics\.json"):
        write_metrics({"a": 1}, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]
