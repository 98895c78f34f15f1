"""model.json: what it holds comes back, what is wrong is named."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from model_serving.classifier import Calibration, ClassInfo, Head, ModelSpec, Preprocessing, SpecError

SPEC = ModelSpec(
    "dogs",
    "resnet18",
    (ClassInfo("001.Affenpinscher", "Affenpinscher"), ClassInfo("014.Basenji", "Basenji")),
    head=Head((512, 256), 0.25),
    preprocessing=Preprocessing(232, 224, "bilinear"),
    calibration=Calibration(1.3, 0.7, 0.1),
    metrics={"top1": 0.9},
)


def test_round_trip() -> None:
    """Every field survives writing and reading, with its type."""
    assert ModelSpec.from_json(SPEC.to_json()) == SPEC


def test_classes_may_be_bare_names() -> None:
    """A hand-written spec needs no ids."""
    spec = ModelSpec.from_json('{"name": "n", "backbone": "resnet18", "classes": ["cat", "dog"]}')
    assert spec.classes == (ClassInfo("cat", "cat"), ClassInfo("dog", "dog"))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"backbone": 3}, "backbone"),
        ({"classes": []}, "at least one class"),
        ({"classes": ["a", "a"]}, "repeated: a"),
        ({"classes": [{"class_id": "x"}]}, "'label' is missing"),
        ({"format": 2}, "format"),
        ({"surprise": 1}, "'surprise'"),
        ({"head": {"hidden": [0]}}, "hidden widths"),
        ({"head": {"hidden": [1.5]}}, "head.hidden[0]"),
        ({"preprocessing": {"crop": 300, "resize": 256}}, "crop <= resize"),
        ({"preprocessing": {"mean": [0.5, 0.5]}}, "three numbers"),
        ({"preprocessing": {"std": [0, 1, 1]}}, "above 0"),
        ({"preprocessing": {"interpolation": "cubic"}}, "'cubic'"),
        ({"preprocessing": {"antialias": False}}, "antialias"),
        ({"preprocessing": {"crop": True}}, "preprocessing.crop"),
        ({"calibration": {"temperature": 0}}, "temperature > 0"),
        ({"calibration": {"known": 0.9, "confident": 0.5}}, "known <= 0.5"),
    ],
)
def test_mistakes_are_named(change: dict[str, Any], named: str) -> None:
    """The message says which field is wrong, so that a hand-written spec can be mended."""
    raw = json.loads(SPEC.to_json()) | change
    with pytest.raises(SpecError) as caught:
        ModelSpec.from_json(json.dumps(raw))
    assert named in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "3", "{", '{"calibration": {"temperature": NaN}}'])
def test_other_json_is_refused(text: str) -> None:
    """Nothing but an object with the fields passes, and nothing else than SpecError comes out."""
    with pytest.raises(SpecError):
        ModelSpec.from_json(text)


def test_decision_thresholds() -> None:
    """At a threshold the better decision counts."""
    decide = Calibration(confident=0.6, known=0.2).decide
    assert [decide(s, s) for s in (0.6, 0.59, 0.2, 0.19)] == ["confident", "unsure", "unsure", "unknown"]


def test_unlike_photos_are_unknown_whatever_the_score() -> None:
    """Confident nonsense on photos of none of the classes is the failure that the similarity is for."""
    decide = Calibration(confident=0.6, known=0.5, known_by="similarity").decide
    assert [decide(0.99, k) for k in (0.5, 0.49, -1.0)] == ["confident", "unknown", "unknown"]
    assert decide(0.3, 0.9) == "unsure"


@pytest.mark.parametrize(
    "wrong", [{"known": 0.7}, {"known": -0.1}, {"known_by": "luck"}, {"known": 1.1, "known_by": "similarity"}]
)
def test_calibration_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    """A threshold that no photo can meet, or that all do, is a mistake."""
    with pytest.raises(SpecError, match="calibration"):
        Calibration(**wrong)


def test_spec_is_immutable() -> None:
    """A loaded model's description cannot drift."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        SPEC.name = "cats"  # type: ignore[misc]  # that is the test
