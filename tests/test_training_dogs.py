"""Real photos and real weights: what a user gets with the defaults, and that what was trained is what is served."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from client import Client
from tests.conftest import described, photo_folder, start_stack
from training import cli

pytestmark = [pytest.mark.slow, pytest.mark.stack]

PROBE = 0.888
"""Test accuracy of a plain logistic regression on the same features, as the photos' README gives it."""


def run(*command: str) -> str:
    """The command's standard output; it must succeed."""
    done = CliRunner().invoke(cli.app, list(command))
    assert done.exit_code == 0, done.output + repr(done.exception)
    return done.stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with the default settings on EfficientNet-Lite0."""
    folder = tmp_path_factory.mktemp("dogs")
    run(
        "fit",
        "--data",
        str(photo_folder("dogs")),
        "--backbone",
        "efficientnet_lite0",
        "--output",
        str(folder),
        "--no-cache",
    )
    return folder


@pytest.fixture(scope="module")
def report(trained: Path) -> Path:
    """The folder of its evaluation, with photos of no dog."""
    options = ["--data", str(photo_folder("dogs")), "--unknown", str(photo_folder("not_dogs"))]
    run("evaluate", "--model", str(trained / "model.tar.gz"), *options, "--output", str(trained / "report"))
    return trained / "report"


def test_defaults_are_no_worse_than_a_linear_probe(report: Path) -> None:
    """Less than three photos below it, and scores that mean what they say."""
    metrics = json.loads((report / "metrics.json").read_text())
    assert metrics["n"] == 285
    assert metrics["top1"] >= PROBE - 0.01
    assert metrics["ece"] <= 0.05
    assert metrics["unknown"]["auroc"] >= 0.95
    others = metrics["unknown"]["alternatives"]
    assert metrics["unknown"]["auroc"] > max(others.values())


def test_the_documented_recipe_is_better(tmp_path: Path) -> None:
    """The one of docs/training.md, by at least a point and a half."""
    options = ["--backbone", "efficientnet_lite0", "--resize", "320", "--crop", "288", "--no-cache"]
    run("fit", "--data", str(photo_folder("dogs")), "--output", str(tmp_path), *options)
    assert json.loads((tmp_path / "metrics.json").read_text())["test"]["top1"] >= PROBE + 0.015


def test_the_stack_answers_as_evaluate_says(trained: Path, report: Path, own_state: dict[str, str]) -> None:
    """Photos sent as they are: the served top label is right exactly as often."""
    root = photo_folder("dogs") / "test"
    photos = sorted(root.glob("*/*.jpg"))
    with start_stack(trained / "model.tar.gz", env=own_state) as process:
        told = described(process)
        with Client(told.url, told.api_key, shrink=False) as client:
            outcomes = [client.classify(photo) for photo in photos]
    labels = [outcome.predictions[0].class_id for outcome in outcomes]
    right = sum(label == photo.parent.name for label, photo in zip(labels, photos, strict=True))
    metrics = json.loads((report / "metrics.json").read_text())
    assert right == round(metrics["top1"] * metrics["n"])


def test_photos_stored_turned_are_as_good(trained: Path, report: Path, tmp_path: Path) -> None:
    """Copies that lie on their side and say so in EXIF lose at most half a point."""
    for number, path in enumerate(sorted((photo_folder("dogs") / "test").glob("*/*.jpg"))):
        image = Image.open(path).convert("RGB")
        turn, orientation = ((Image.Transpose.ROTATE_90, 6), (Image.Transpose.ROTATE_270, 8))[number % 2]
        exif = Image.Exif()
        exif[0x0112] = orientation
        buffer = io.BytesIO()
        image.transpose(turn).save(buffer, "JPEG", quality=95, exif=exif)
        target = tmp_path / path.parent.name / path.name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(buffer.getvalue())
    run("evaluate", "--model", str(trained / "model.tar.gz"), "--data", str(tmp_path), "--output", str(tmp_path))
    upright, turned = (json.loads((folder / "metrics.json").read_text())["top1"] for folder in (report, tmp_path))
    assert turned >= upright - 0.005 - 1e-9
