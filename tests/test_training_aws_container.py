"""Jobs from the launcher to the archive: S3, the request, AWS's real toolkit on the uploaded source, and home again."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_serving.archive import unpack
from model_serving.classifier import Classifier
from tests.aws_world import TOOLKIT, Container, World, connected, world
from tests.labelled import make_folders
from training.aws.errors import AwsError
from training.aws.single import attach, one_job, refit
from training.config import TrainingConfig
from training.progress import METRICS
from training.search.options import SearchOptions

pytestmark = pytest.mark.slow

QUICK = {"backbone": "efficientnet_lite0", "crop": 64, "resize": 72, "epochs": 3, "batch_size": 16, "hidden": [16]}

CPU = {"instance_type": "ml.m5.xlarge"}


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    """AWS, on this machine, whose jobs run in AWS's training toolkit."""
    if not TOOLKIT.exists():
        pytest.skip(f"no SageMaker training toolkit at {TOOLKIT}; `make test` installs it")
    with world(tmp_path) as found:
        found.jobs = Container(found)
        yield found


def test_a_refit_comes_home(here: World, tmp_path: Path) -> None:
    """Photos and source go up, the job trains with the winner, and its log, archive and metrics come back."""
    photos = make_folders(tmp_path / "dogs", {"train": 6, "valid": 3, "test": 3})
    said: list[str] = []
    aws = connected(debugger=False, **CPU)
    name = refit(aws, QUICK, photos, tmp_path / "run", said.append, seconds=0.2)
    log = "\n".join(said)
    assert len(re.findall(METRICS["best:loss"], log)) == 3
    assert re.findall(METRICS["test:top1"], log)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["test"]["n"] == 9
    (tmp_path / "model").mkdir()
    classifier = Classifier.load(unpack(tmp_path / "run" / "model.tar.gz", tmp_path / "model"))
    assert classifier.spec.hyperparameters["hidden"] == [16]
    assert classifier.spec.data["photos"] == {"train": 18, "valid": 9, "test": 9}
    assert said[-1].startswith(f"{tmp_path / 'run' / 'model.tar.gz'}: the model")
    # Whoever was interrupted gets the same by its name.
    attach(aws, name, tmp_path / "again", said.append, seconds=0.2)
    assert (tmp_path / "again" / "model.tar.gz").read_bytes() == (tmp_path / "run" / "model.tar.gz").read_bytes()


def test_a_crash_of_the_job_is_our_error(here: World, tmp_path: Path) -> None:
    """Its own message, where its log is, and nothing downloaded."""
    photos = make_folders(tmp_path / "dogs", {"train": 4, "valid": 2})
    said: list[str] = []
    bad = {**QUICK, "unfreeze": "99"}
    with pytest.raises(AwsError) as caught:
        refit(connected(debugger=False, **CPU), bad, photos, tmp_path / "run", said.append, seconds=0.2)
    assert re.match(r"whippet-efficientnet-lite0-\S+ failed: unfreeze: ", str(caught.value))
    assert "CloudWatch, group /aws/sagemaker/TrainingJobs" in str(caught.value)
    assert "\n" not in str(caught.value) and "Traceback" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_search_inside_one_job_comes_home(here: World, tmp_path: Path) -> None:
    """Trials, the best, the report and the model of the winner; what was given is not searched."""
    photos = make_folders(tmp_path / "dogs", {"train": 6, "valid": 3})
    said: list[str] = []
    config = TrainingConfig.from_texts({**QUICK, "hidden": "none", "batch_size": 64})
    search = SearchOptions(trials=3, search="learning_rate=0.001:0.1:log")
    one_job(connected(**CPU), config, search, photos, tmp_path / "run", said.append, given=("hidden",), seconds=0.2)
    best = json.loads((tmp_path / "run" / "best.json").read_text())
    with (tmp_path / "run" / "trials.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 3
    assert "learning_rate" in rows[0] and "hidden" not in rows[0]
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    (tmp_path / "model").mkdir()
    spec = Classifier.load(unpack(tmp_path / "run" / "model.tar.gz", tmp_path / "model")).spec
    assert spec.hyperparameters["learning_rate"] == best["hyperparameters"]["learning_rate"]
