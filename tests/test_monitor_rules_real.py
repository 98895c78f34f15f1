"""Rules on runs that were really trained, on drawings and a small random network: what should trip, trips alone."""

from __future__ import annotations

import contextlib
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from model_serving.classifier import network
from tests.labelled import COLOURS, make_folders, random_weights
from training import head
from training.config import TrainingConfig
from training.data import layout
from training.errors import DivergedError
from training.monitor.finding import FOUND
from training.monitor.monitor import FOLDER
from training.monitor.recording import Recording
from training.monitor.rules import check
from training.run import Place, run

pytestmark = pytest.mark.slow


class Drawings:
    """A folder of drawings, weights and features of their network, and runs on them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data = folder, make_folders(folder / "shapes", {"train": 8, "valid": 8})
        self.weights = random_weights(folder / "weights.pt")

    def tripped(self, data: Path | None = None, **settings: Any) -> set[str]:
        """Train, and name the rules that find something; a run that diverges has a record too."""
        config = TrainingConfig(backbone="resnet18", weights=str(self.weights), crop=32, **settings)
        output = self.folder / "run"
        shutil.rmtree(output, ignore_errors=True)
        with contextlib.suppress(DivergedError):
            run(layout.load(data or self.data), config, "drawings", Place(output, cache=self.folder / "cache"))
        return {finding.rule for finding in check(Recording.read(output / FOLDER)) if finding.status == FOUND}

    def shuffled(self) -> Path:
        """The same with few training photos, labelled by chance."""
        root = self.folder / "shuffled"
        shutil.copytree(self.data, root)
        photos = sorted((root / "train").glob("*/*.jpg"))
        random.Random(0).shuffle(photos)
        for number, photo in enumerate(photos):
            photo.rename(root / "train" / list(COLOURS)[number % len(COLOURS)] / f"shuffled-{photo.name}")
        return root


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drawings]:
    """One folder for all tests, whose features are computed once; one thread, as steps are too small for more.

    Each run begins as if its process had begun then: the other tests before it are no start-up of its own.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.monitor.about._process_started", time.time)
        yield Drawings(tmp_path_factory.mktemp("drawings"))
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"hidden": (32,), "dropout": 0.3, "learning_rate": 0.01},
        {"hidden": (64, 32), "learning_rate": 0.02},
        {"balance": 0.0, "batch_size": 4},
        {"epochs": 3},
        {"unfreeze": "1", "finetune_epochs": 4, "finetune_batch_size": 8},
    ],
)
def test_sound_runs_trip_nothing(drawings: Drawings, settings: dict[str, Any]) -> None:
    """Defaults first of all."""
    assert drawings.tripped(**settings) == set()


@pytest.mark.parametrize(
    "settings",
    [{"learning_rate": 100.0}, {"learning_rate": 10.0, "batch_size": 8}, {"hidden": (32,), "learning_rate": 100.0}],
)
def test_a_diverging_rate_explodes(drawings: Drawings, settings: dict[str, Any]) -> None:
    """Whether the loss ends as no number or only as a huge one."""
    found = drawings.tripped(**settings)
    assert "ExplodingTensor" in found
    assert found <= {"ExplodingTensor", "DeadRelu"}


def test_an_overfit_tiny_set(drawings: Drawings) -> None:
    """Labels by chance, learned by heart: nothing of it holds elsewhere, and most epochs were for nothing."""
    settings = {"hidden": (64,), "patience": 0, "epochs": 100, "weight_decay": 0.0, "learning_rate": 0.02}
    found = drawings.tripped(drawings.shuffled(), **settings)
    assert "Overfit" in found
    assert found <= {"Overfit", "Overtraining"}


def test_a_head_frozen_at_zero(drawings: Drawings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss stays at that of guessing, since no gradient comes."""

    def freeze(module: nn.Module) -> None:
        for parameter in module.parameters():
            nn.init.zeros_(parameter)
            parameter.register_hook(torch.zeros_like)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(head, "_start_at_zero", freeze)
    assert "LossNotDecreasing" in drawings.tripped()
    assert drawings.tripped(patience=0) == {"LossNotDecreasing", "VanishingGradient"}


def test_steps_that_are_far_too_small(drawings: Drawings) -> None:
    """Gradients come, but nothing moves."""
    assert drawings.tripped(learning_rate=1e-8) == {"LossNotDecreasing"}


def test_a_head_of_dead_units(drawings: Drawings, monkeypatch: pytest.MonkeyPatch) -> None:
    """They get no gradient, so the loss stays; that they were so from the start is said too."""
    make = network.make_head

    def pushed(*shape: Any) -> nn.Module:
        module = make(*shape)
        nn.init.constant_(next(layer for layer in module.modules() if isinstance(layer, nn.Linear)).bias, -100.0)
        return module

    monkeypatch.setattr(network, "make_head", pushed)
    found = drawings.tripped(hidden=(32,), patience=0)
    assert "DeadRelu" in found
    assert found <= {"DeadRelu", "PoorWeightInitialization", "VanishingGradient", "LossNotDecreasing"}


def test_weights_that_begin_far_too_large(drawings: Drawings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first loss says so."""
    make = network.make_head

    def large(*shape: Any) -> nn.Module:
        module = make(*shape)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.mul_(20)
        return module

    monkeypatch.setattr(network, "make_head", large)
    assert "PoorWeightInitialization" in drawings.tripped(hidden=(32,))
