"""smdebug reads what a run recorded, in an environment of its own: it needs an older protobuf than the rest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.labelled import make_folders, random_weights
from training.aws.debugger import RULE_COLLECTIONS
from training.monitor.recording import EVAL, Recording

pytestmark = pytest.mark.slow

PYTHON = Path(os.environ.get("WHIPPET_SMDEBUG", Path(sys.prefix) / "smdebug")) / "bin" / "python"

READ = """
import json, sys
from smdebug import modes
from smdebug.trials import create_trial

trial = create_trial(sys.argv[1])
loss = trial.tensor("CrossEntropyLoss_output_0")
gradient = trial.tensor("gradient/Sequential_0.weight")
train, evaluation = (
    {step: float(loss.value(step, mode=mode)) for step in loss.steps(mode=mode)}
    for mode in (modes.TRAIN, modes.EVAL)
)
shapes = [list(gradient.value(step, mode=modes.TRAIN).shape) for step in gradient.steps(mode=modes.TRAIN)]
relu, before = (trial.tensor(f"fc.1.relu_{way}put_output_0").value(10, mode=modes.TRAIN) for way in ("out", "in"))
more = {"predictions": list(trial.tensor("predictions_output_0").value(10, mode=modes.TRAIN).shape)}
more |= {"relu": list(relu.shape), "lowest": [float(relu.min()), float(before.min())]}
print(json.dumps({**more, "names": trial.tensor_names(), "train": train, "eval": evaluation, "shapes": shapes}))
"""


def python(*arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """What it printed, in the environment that has smdebug."""
    if not PYTHON.exists():
        pytest.skip("no environment with smdebug; make test makes one, or WHIPPET_SMDEBUG names one")
    own = {**os.environ, "OMP_NUM_THREADS": "1", "SMDEBUG_LOG_LEVEL": "error", **(environment or {})}
    done = subprocess.run([str(PYTHON), *arguments], cwd=ROOT, env=own, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def fit(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A short run with a hidden layer, whose last stage is unfrozen."""
    root = tmp_path_factory.mktemp("photos")
    make_folders(root, {"train": 8, "valid": 4})
    weights = random_weights(root / "weights.pt")
    return [
        "-m",
        "training",
        "fit",
        "--data",
        str(root),
        "--backbone",
        "resnet18",
        "--weights",
        str(weights),
        "--crop",
        "64",
        "--resize",
        "72",
        "--hidden",
        "16",
        "--epochs",
        "3",
        "--batch-size",
        "8",
        "--unfreeze",
        "1",
        "--finetune-epochs",
        "2",
        "--finetune-batch-size",
        "8",
        "--record-interval",
        "2",
        "--no-cache",
    ]


def read(folder: Path) -> dict[str, Any]:
    """What smdebug finds there."""
    found: dict[str, Any] = json.loads(python("-c", READ, str(folder)).splitlines()[-1])
    return found


def test_smdebug_reads_the_run(fit: list[str], tmp_path: Path) -> None:
    """Losses of both stages, as in our own record, gradients and weights of the head alone; the run is as ever."""
    said = python(*fit, "--output", str(tmp_path))
    assert "note: smdebug" not in said
    found, ours = read(tmp_path / "recording" / "smdebug"), Recording.read(tmp_path / "recording")
    # 3 epochs of 3 steps, then 2 of 3; smdebug counts from 0 and goes on in the second stage.
    assert [int(step) for step in found["train"]] == [0, 2, 4, 6, 8, 10, 12, 14]
    validations = [line.values["loss"] for stage in ("head", "finetune") for line in ours.of(stage, EVAL)]
    assert list(found["eval"].values()) == pytest.approx(validations)
    assert ours.of("head")[0].values["loss"] == pytest.approx(found["train"]["0"])
    assert found["shapes"] == [[16, 512]] * 8
    assert {"Sequential_0.weight", "Sequential_2.bias", "gradient/Sequential_2.weight"} <= set(found["names"])
    assert not [name for name in found["names"] if "layer4" in name]
    # What SageMaker's DeadRelu, PoorWeightInitialization and ClassImbalance look for.
    assert {"head.1.relu_output_output_0", "fc.1.relu_input_output_0", "labels_output_0"} <= set(found["names"])
    assert found["predictions"] == [8]
    assert found["relu"] == [8, 16] and found["lowest"][0] >= 0 > found["lowest"][1]


def test_a_job_s_configuration_is_obeyed(fit: list[str], tmp_path: Path) -> None:
    """SageMaker's file says where to and how often."""
    configuration = {
        "S3OutputPath": "s3://bucket/debug",
        "LocalPath": str(tmp_path / "tensors"),
        "HookParameters": {"save_interval": "5"},
        "CollectionConfigurations": [
            {"CollectionName": name, "CollectionParameters": {"include_regex": regex} if regex else {}}
            for collections in RULE_COLLECTIONS.values()
            for name, regex in collections.items()
        ],
    }
    file = tmp_path / "debughookconfig.json"
    file.write_text(json.dumps(configuration))
    python(*fit, "--output", str(tmp_path / "run"), environment={"SMDEBUG_CONFIG_FILE_PATH": str(file)})
    assert [int(step) for step in read(tmp_path / "tensors")["train"]] == [0, 5, 10]
    assert not (tmp_path / "run" / "recording" / "smdebug").exists()


def test_a_failing_smdebug_ends_no_run(fit: list[str], tmp_path: Path) -> None:
    """A configuration that it cannot read: said in one line, and our own record is whole."""
    file = tmp_path / "debughookconfig.json"
    file.write_text("{")
    said = python(*fit, "--output", str(tmp_path / "run"), environment={"SMDEBUG_CONFIG_FILE_PATH": str(file)})
    assert said.count("note: smdebug is installed but cannot be used") == 1
    assert Recording.read(tmp_path / "run" / "recording").about["status"] == "done"
