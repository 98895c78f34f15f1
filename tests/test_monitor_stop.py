"""A rule that ends a real run: what is left to do is done, and the best epoch so far is packed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.labelled import make_folders, random_weights
from training.config import TrainingConfig
from training.data import layout
from training.monitor import rules
from training.monitor.finding import FOUND, Finding
from training.monitor.recording import FINETUNE, Recording
from training.monitor.settings import DEBUG_RULES, Monitoring
from training.run import Place, run


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "epochs"), [("head", 1), (FINETUNE, 2)])
def test_a_stopped_run_is_packed(
    stage: str, epochs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stopped in the head the backbone stays frozen; stopped in fine-tuning its features are computed all the same."""

    def check(recording: Recording, names: Sequence[str] = DEBUG_RULES) -> list[Finding]:
        seen = [line for line in recording.scalars if line.stage == stage]
        return [Finding(name, FOUND if seen and name == "Overfit" else "clear", "So it is.", "So.") for name in names]

    monkeypatch.setattr(rules, "check", check)
    data = layout.load(make_folders(tmp_path / "photos", {"train": 4, "valid": 2, "test": 1}))
    weights = random_weights(tmp_path / "weights.pt")
    config = TrainingConfig(
        backbone="resnet18", weights=str(weights), crop=32, epochs=3, unfreeze="1", finetune_epochs=4, hidden=(8,)
    )
    run(data, config, "stopped", Place(tmp_path, keep_features=False), Monitoring(stop_on=("Overfit",)))
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["stopped_by"] == "Overfit"
    stages = [epoch["stage"] for epoch in metrics["history"]]
    assert stages == ["head"] * (1 if stage == "head" else 3) + [FINETUNE] * (epochs - 1)
    assert (tmp_path / "model.tar.gz").exists()
    assert Recording.read(tmp_path / "recording").about["message"] == "by the rule Overfit"
    assert capsys.readouterr().out.count("stopped by the rule Overfit") == 1
