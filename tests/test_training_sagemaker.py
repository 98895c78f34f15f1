"""The same trainer as a SageMaker job: what runs AWS's PyTorch containers on `/opt/ml`, and the entry point alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from model_serving.archive import code_digest, content_version
from model_serving.classifier import Classifier, ModelSpec, read_weights
from tests.conftest import ROOT
from tests.labelled import make_folders, random_weights
from training.progress import METRICS

pytestmark = pytest.mark.slow

TOOLKIT = Path(os.environ.get("WHIPPET_TOOLKIT", Path(sys.prefix) / "sagemaker")) / "bin" / "train"


class Job:
    """`/opt/ml` as a container finds it, in a folder of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.weights = random_weights(root / "weights.pt")
        for package in ("training", "model_serving"):
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / package, root / "code" / package, ignore=ignore)
        make_folders(root / "input" / "data", {"train": 8, "valid": 4, "test": 4})

    def hyperparameters(self, **more: str) -> dict[str, str]:
        """As SageMaker writes them: texts, the tuner's choices in quotes, truth values as Python prints them."""
        quick = {"backbone": '"resnet18"', "crop": "64", "resize": "72", "epochs": "3", "batch-size": '"16"'}
        return {**quick, "weights": json.dumps(str(self.weights)), "skip_unreadable": "True", **more}

    def run(self, **hyperparameters: str) -> subprocess.CompletedProcess[str]:
        """The toolkit's `train` on this folder."""
        own = {"sagemaker_program": "training/train.py", "sagemaker_submit_directory": str(self.root / "code")}
        resources = {"current_host": "localhost", "hosts": ["localhost"], "network_interface_name": "lo"}
        channels = {split: {"TrainingInputMode": "File"} for split in ("train", "valid", "test")}
        self.configure("hyperparameters", self.hyperparameters(**hyperparameters) | own)
        self.configure("resourceconfig", resources)
        self.configure("inputdataconfig", channels)
        for folder in ("model", "output"):
            (self.root / folder).mkdir(exist_ok=True)
        path = f"{TOOLKIT.parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "SAGEMAKER_BASE_DIR": str(self.root), "PATH": path, "OMP_NUM_THREADS": "1"}
        environment["SAGEMAKER_TRAINING_MODULE"] = "sagemaker_pytorch_container.training:main"
        environment.pop("PYTHONPATH")
        return subprocess.run(
            [str(TOOLKIT)], cwd=self.root, env=environment, capture_output=True, text=True, timeout=240
        )

    def configure(self, name: str, content: Mapping[str, Any]) -> None:
        """One file of `input/config`."""
        folder = self.root / "input" / "config"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(content))


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A container's folder."""
    return Job(tmp_path_factory.mktemp("ml"))


@pytest.fixture
def toolkit() -> None:
    """AWS's toolkit lives in an environment of its own."""
    if not TOOLKIT.exists():
        pytest.skip(f"no SageMaker training toolkit at {TOOLKIT}; `make test` installs it")


@pytest.mark.usefixtures("toolkit")
def test_the_real_toolkit_runs_a_job(job: Job) -> None:
    """It ends as a success; the model folder is what an archive holds, and the log has the metrics."""
    done = job.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert (job.root / "output" / "success").exists()
    model = job.root / "model"
    classifier = Classifier.load(model)
    spec = classifier.spec
    assert spec.version == content_version(spec, read_weights(model / "model.pt"), code_digest(model / "code"))
    assert spec.hyperparameters["batch_size"] == 16
    assert spec.hyperparameters["skip_unreadable"] is True
    assert (model / "code" / "inference.py").exists()
    assert len(re.findall(METRICS["valid:top1"], done.stdout)) == 3
    metrics = json.loads((job.root / "output" / "data" / "metrics.json").read_text())
    assert metrics["test"]["n"] == 12
    assert list((job.root / "checkpoints" / "features").rglob("*.pt"))  # a restarted spot job computes none again


@pytest.mark.usefixtures("toolkit")
def test_a_failed_job_says_why(job: Job) -> None:
    """The reason that SageMaker shows is our message, not a traceback of ours."""
    done = job.run(epochs="many")
    assert done.returncode != 0
    reason = (job.root / "output" / "failure").read_text()
    assert "ConfigError, an Exception: epochs: 'many' is no whole number" in reason
    assert "Traceback" not in reason


def start(job: Job, *flags: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """The entry point as a plain script, from another folder, with SageMaker's variables."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    base = {"SM_MODEL_DIR": str(job.root / "plain" / "model"), "SM_OUTPUT_DATA_DIR": str(job.root / "plain" / "out")}
    command = [sys.executable, str(job.root / "code" / "training" / "train.py"), *flags]
    return subprocess.run(
        command, cwd="/", env={**environment, **base, **environ}, capture_output=True, text=True, timeout=120
    )


def test_one_channel_may_hold_all_splits(job: Job) -> None:
    """Also hyperparameters from SM_HPS alone, with a flag that decides over them."""
    texts = json.dumps(job.hyperparameters())
    done = start(job, "--epochs", "1", SM_HPS=texts, SM_CHANNEL_TRAINING=str(job.root / "input" / "data"))
    assert done.returncode == 0, done.stderr
    spec = ModelSpec.load(job.root / "plain" / "model" / "model.json")
    assert spec.data["photos"] == {"train": 24, "valid": 12, "test": 12}
    assert spec.hyperparameters["epochs"] == 1


def test_no_channel_is_a_message(job: Job) -> None:
    """What is missing and how it is given."""
    done = start(job)
    assert done.returncode == 1
    assert done.stderr == "DataError, an Exception: no photos: give the job a channel named train, or --train FOLDER.\n"
