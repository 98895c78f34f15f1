"""Jobs from the command to the archive: S3, the request, AWS's real toolkit on the uploaded source, and home again."""

from __future__ import annotations

import csv
import json
import re
import sys
import tarfile
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model_serving.archive import unpack
from model_serving.classifier import Classifier
from tests.aws_world import TOOLKIT, Container, World, connected, world
from tests.command_line import ACCOUNT, QUICK, run, watch
from tests.labelled import make_folders, random_weights
from training.aws.single import one_job
from training.config import TrainingConfig
from training.progress import METRICS
from training.search.options import SearchOptions

pytestmark = pytest.mark.slow

SEARCH = {"backbone": "efficientnet_lite0", "crop": 64, "resize": 72, "epochs": 3, "batch_size": 16, "hidden": [16]}

CPU = ("--instance-type", "ml.m5.xlarge", "--no-debugger", "--yes")


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    """AWS, on this machine, whose jobs run in AWS's training toolkit."""
    if not TOOLKIT.exists():
        pytest.skip(f"no SageMaker training toolkit at {TOOLKIT}; `make test` installs it")
    with world(tmp_path) as found:
        found.jobs = Container(found)
        yield found


def test_a_search_inside_one_job_comes_home(here: World, tmp_path: Path) -> None:
    """Trials, the best, the report and the model of the winner; what was given is not searched."""
    photos = make_folders(tmp_path / "dogs", {"train": 6, "valid": 3})
    said: list[str] = []
    config = TrainingConfig.from_texts({**SEARCH, "hidden": "none", "batch_size": 64})
    search = SearchOptions(trials=3, search="learning_rate=0.001:0.1:log")
    one_job(
        connected(instance_type="ml.m5.xlarge"),
        config,
        search,
        photos,
        tmp_path / "run",
        said.append,
        given=("hidden",),
        seconds=0.2,
    )
    best = json.loads((tmp_path / "run" / "best.json").read_text())
    with (tmp_path / "run" / "trials.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 3
    assert "learning_rate" in rows[0] and "hidden" not in rows[0]
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    (tmp_path / "model").mkdir()
    spec = Classifier.load(unpack(tmp_path / "run" / "model.tar.gz", tmp_path / "model")).spec
    assert spec.hyperparameters["learning_rate"] == best["hyperparameters"]["learning_rate"]


def test_a_launched_job_comes_home_checked(
    here: World,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """Photos and source go up, the job trains with best.json and what was typed, and its archive passes the checks."""
    photos, requests = make_folders(tmp_path / "dogs", {"train": 6, "valid": 3, "test": 3}), watch(monkeypatch)
    best, output = tmp_path / "best.json", tmp_path / "run"
    best.write_text(json.dumps({"hyperparameters": {"backbone": "efficientnet_lite0", "hidden": [16], "epochs": 9}}))
    registered: list[tuple[Path, str]] = []

    def register(_: Any, archive: Path, group: str, **__: Any) -> str:
        registered.append((archive, group))
        return "arn:of-the-model"

    monkeypatch.setitem(sys.modules, "model_serving.aws.registry", types.SimpleNamespace(register=register))
    arguments = ("--data", str(photos), *ACCOUNT, *CPU, *QUICK[2:], "--hyperparameters", str(best))
    assert run(monkeypatch, "launch", *arguments, "--output", str(output), "--register", "dogs") == 0
    log = capsys.readouterr().out
    assert len(re.findall(METRICS["best:loss"], log)) == 3 and re.findall(METRICS["test:top1"], log)
    assert f"{output / 'model.tar.gz'}: the model" in log
    assert "checks passed" in log.splitlines()[-2] and log.splitlines()[-1] == "registered: arn:of-the-model"
    assert registered == [(output / "model.tar.gz", "dogs")]
    assert json.loads((output / "metrics.json").read_text())["test"]["n"] == 9
    with tarfile.open(output / "model.tar.gz") as tar:
        spec = json.load(tar.extractfile("model.json"))  # type: ignore[arg-type]
    assert spec["hyperparameters"]["hidden"] == [16] and spec["hyperparameters"]["epochs"] == 3
    assert spec["data"]["photos"] == {"train": 18, "valid": 9, "test": 9}
    assert spec["name"] == requests[0]["TrainingJobName"]
    # Whoever was interrupted gets the same by its name.
    assert run(monkeypatch, "attach", spec["name"], "--output", str(tmp_path / "again")) == 0
    assert (tmp_path / "again" / "model.tar.gz").read_bytes() == (output / "model.tar.gz").read_bytes()
    assert len(here.client("sagemaker").list_training_jobs()["TrainingJobSummaries"]) == 1


@pytest.mark.usefixtures("here")
def test_a_crash_of_an_isolated_job_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Code and weights came by channels and nothing was installed, so that its own message ends the command."""
    photos, weights = (
        make_folders(tmp_path / "dogs", {"train": 3, "valid": 2}),
        str(random_weights(tmp_path / "mine.pt")),
    )
    watch(monkeypatch)
    isolated = ("--network-isolation", "--weights", weights, "--unfreeze", "99", "--name", "dogs-1")
    output = tmp_path / "run"
    assert run(monkeypatch, "launch", "--data", str(photos), *ACCOUNT, *CPU, *QUICK, *isolated, "-o", str(output)) == 1
    captured = capsys.readouterr()
    assert captured.err.splitlines()[-1].startswith("error: dogs-1 failed: unfreeze: ")
    assert "CloudWatch, group /aws/sagemaker/TrainingJobs" in captured.err and "Traceback" not in captured.err
    assert "pip install" not in captured.out
    assert not output.exists()
