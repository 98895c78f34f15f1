"""A search as SageMaker's tuner, against a local AWS whose tuner draws from the ranges of the request."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.aws_world import BUCKET, World, connected, sent
from tests.labelled import make_folders
from training.aws import trials, tuner
from training.aws.errors import AwsError
from training.aws.options import JobOptions
from training.aws.single import attach
from training.aws.source import GPU, MACHINE
from training.config import TrainingConfig, search_space
from training.errors import ConfigError
from training.search.options import SearchOptions
from training.settings import Choices, Range, as_text

CREATE = "CreateHyperParameterTuningJob"
LIST = "ListTrainingJobsForHyperParameterTuningJob"


def started(aws: Any, **more: Any) -> tuple[str, dict[str, Any]]:
    """A tuner's name, and its request as it went out."""
    requests = sent(aws, CREATE)
    given: dict[str, Any] = {"trials": 4, **more}
    config, space = given.pop("config", TrainingConfig(epochs=5)), given.pop("space", search_space())
    name = tuner.start(aws, config, space, "s3://photos/dogs", SearchOptions(**given), lambda _: None)
    return name, requests[-1]


def test_a_tuner_from_start_to_best(here: World, tmp_path: Path) -> None:
    """Photos uploaded, created, polled to its end, all pages of trials read, the best one written and read back."""
    aws, said = connected(parallel_jobs=3), list[str]()
    folder = make_folders(tmp_path / "dogs", {"train": 2, "valid": 1})
    name = tuner.start(aws, TrainingConfig(epochs=5), search_space(), folder, SearchOptions(trials=5), said.append)
    assert trials.wait(aws, name, said.append, sleep=lambda _: None) == "Completed"
    assert (
        said[-1] == f"Completed: 5 of 5 trials ended, 0 running, 1 failed, best best:loss 0.1667 by {name}-004-abcdef01"
    )
    found = trials.results(aws, name)
    assert [(t.number, t.state, t.value, t.seconds) for t in found.trials] == [
        (0, "Completed", 0.5, 30.0),
        (1, "Failed", None, 30.0),
        (2, "Completed", 0.25, 30.0),
        (3, "Completed", 0.2, 30.0),
        (4, "Completed", pytest.approx(1 / 6), 30.0),
    ]
    assert found.trials[1].why == "AlgorithmError: out of memory"
    assert found.best is found.trials[4]
    table = list(found.lines())
    assert table[0] == "  4   0.1667  Completed   hidden=128 batch_size=64 dropout=0.5 learning_rate=0.02"
    assert table[-1] == f"{name}: Completed, best loss 0.1667 by trial 4 ({name}-004-abcdef01)"
    content = trials.write(found, tmp_path / "out", said.append)
    written = json.loads((tmp_path / "out" / "best.json").read_text())
    assert written == content
    assert written | {"value": 0} == {
        "hyperparameters": {"epochs": 5, "hidden": [128], "batch_size": 64, "dropout": 0.5, "learning_rate": 0.02},
        "objective": "loss",
        "value": 0,
        "trial": f"{name}-004-abcdef01",
        "source": name,
    }
    best = TrainingConfig.from_texts(written["hyperparameters"])
    assert (best.hidden, best.batch_size, best.epochs) == ((128,), 64, 5)
    with (tmp_path / "out" / "trials.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == [
        "number", "state", "name", "hidden", "batch_size", "dropout", "learning_rate", "value", "seconds"
    ]  # fmt: skip
    assert [row["value"] for row in rows][:3] == ["0.5", "", "0.25"]
    assert rows[0]["hidden"] == "none"


def test_the_request_of_a_tuner(here: World) -> None:
    """The declared ranges, the metric of our log, limits, source without smdebug; nothing of debugger or profiler."""
    aws = connected(parallel_jobs=8, early_stopping=True, tags=("team=dogs",))
    name, found = started(aws, objective="accuracy", max_minutes=90.0)
    assert len(name) <= 32
    config = found["HyperParameterTuningJobConfig"]
    assert config["Strategy"] == "Bayesian"
    assert config["HyperParameterTuningJobObjective"] == {"Type": "Maximize", "MetricName": "best:top1"}
    assert config["ResourceLimits"] == {
        "MaxNumberOfTrainingJobs": 4, "MaxParallelTrainingJobs": 4, "MaxRuntimeInSeconds": 5400
    }  # fmt: skip
    assert config["TrainingJobEarlyStoppingType"] == "Auto"
    ranges = config["ParameterRanges"]
    assert {
        r["Name"]: (r["MinValue"], r["MaxValue"], r["ScalingType"]) for r in ranges["ContinuousParameterRanges"]
    } == {
        "learning_rate": ("0.0001", "0.02", "Logarithmic"),
        "dropout": ("0.0", "0.5", "Linear"),
    }
    choices = {r["Name"]: [json.loads(value) for value in r["Values"]] for r in ranges["CategoricalParameterRanges"]}
    assert choices == {"hidden": ["none", "128", "256"], "batch_size": ["32", "64", "128"]}
    job = found["TrainingJobDefinition"]
    assert job["StaticHyperParameters"]["epochs"] == "5"
    assert "best:top1" in {one["Name"] for one in job["AlgorithmSpecification"]["MetricDefinitions"]}
    code = here.source(json.loads(job["StaticHyperParameters"]["sagemaker_submit_directory"]))
    assert code["requirements.txt"].split() == [MACHINE.encode(), GPU.encode()]
    assert not [key for key in job if "Debug" in key or "Profiler" in key]
    assert found["Tags"] == [{"Key": "team", "Value": "dogs"}]
    assert "WarmStartConfig" not in found and "EnableManagedSpotTraining" not in job


@pytest.mark.usefixtures("here")
def test_spot_is_in_the_request_of_a_tuner() -> None:
    """With the waiting and checkpoints; SDKs have dropped it before."""
    _, found = started(connected(spot=True, max_hours=1.0, max_wait_hours=1.5))
    job = found["TrainingJobDefinition"]
    assert job["EnableManagedSpotTraining"] is True
    assert job["StoppingCondition"] == {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 5400}
    assert job["CheckpointConfig"]["S3Uri"].startswith(f"s3://{BUCKET}/whippet/checkpoints/whippet-")


@pytest.mark.usefixtures("here")
def test_a_tuner_that_lost_spot_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one mistake of an SDK that costs money in silence."""
    import sagemaker.tuner

    prepare = sagemaker.tuner._TuningJob._prepare_training_config

    def forgetful(*arguments: Any, **more: Any) -> Any:
        return {**prepare(*arguments, **more), "use_spot_instances": False}

    monkeypatch.setattr(sagemaker.tuner._TuningJob, "_prepare_training_config", staticmethod(forgetful))
    aws = connected(spot=True)
    with pytest.raises(AwsError, match="spot was asked for and is not in the request; nothing was started"):
        started(aws)


@pytest.mark.usefixtures("here")
def test_strategies_in_the_request() -> None:
    """Hyperband with as many resources as the log has epochs; a grid with as many jobs as points."""
    _, found = started(
        connected(strategy="hyperband"), config=TrainingConfig(epochs=30, unfreeze="1", finetune_epochs=5)
    )
    config = found["HyperParameterTuningJobConfig"]
    assert config["Strategy"] == "Hyperband"
    assert config["StrategyConfig"] == {"HyperbandStrategyConfig": {"MinResource": 1, "MaxResource": 35}}
    assert config["TrainingJobEarlyStoppingType"] == "Off"
    space = {"hidden": Choices(((), (64,))), "batch_size": Choices((32, 64))}
    _, found = started(connected(strategy="grid"), space=space, trials=9)
    assert found["HyperParameterTuningJobConfig"]["Strategy"] == "Grid"
    assert found["HyperParameterTuningJobConfig"]["ResourceLimits"] == {
        "MaxNumberOfTrainingJobs": 4, "MaxParallelTrainingJobs": 2
    }  # fmt: skip


def test_warm_start_is_in_the_request(here: World) -> None:
    """From tuners that have ended and searched for the same; otherwise one line before anything is uploaded."""
    parent, _ = started(connected(), trials=2)
    with pytest.raises(AwsError, match=f"warm_start: {parent} has not ended yet"):
        started(connected(warm_start=(parent,)))
    here.tuners[parent].looks = 2
    _, found = started(connected(warm_start=(parent,)))
    assert found["WarmStartConfig"] == {
        "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": parent}],
        "WarmStartType": "IdenticalDataAndAlgorithm",
    }
    _, found = started(connected(warm_start=(parent,), warm_start_type="transfer"))
    assert found["WarmStartConfig"]["WarmStartType"] == "TransferLearning"
    with pytest.raises(AwsError, match="searched for best:loss, and this one for best:top1"):
        started(connected(warm_start=(parent,)), objective="accuracy")
    with pytest.raises(AwsError, match="there is nothing of that name"):
        started(connected(warm_start=("nobody",)))


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "log of zero": ({"space": {"weight_decay": Range(0, 0.1, log=True)}}, "weight_decay: a logarithmic range cannot"),
    "no range": ({"space": {}}, "nothing to search"),
    "unknown": ({"space": {"wings": Range(0, 1)}}, "wings is no hyperparameter"),
    "many": ({"space": {"epochs": Choices(tuple(range(31)))}}, "SageMaker takes 30 choices, found 31"),
    "grid of ranges": ({"options": JobOptions(strategy="grid")}, "a grid takes choices only, and dropout is a range"),
    "large grid": (
        {
            "options": JobOptions(strategy="grid"),
            "space": {"epochs": Choices((1, 2, 3))},
            "search": SearchOptions(trials=2),
        },
        "the grid has 3 points, more than 2. Give --trials 3",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_tuner_cannot_search_is_refused_first(case: str) -> None:
    """SDK and local AWS would take some of them; the real one says so after the upload."""
    given, message = REFUSED[case]
    full = {"options": JobOptions(), "space": search_space(), "search": SearchOptions(), **given}
    with pytest.raises(ConfigError) as caught:
        tuner.check(**full)
    assert message in str(caught.value)


def test_texts_of_choices_are_read_back() -> None:
    """As SageMaker hands them to a job: quoted JSON of our texts."""
    for name, value in {
        "hidden": (512, 256),
        "skip_unreadable": True,
        "backbone": "resnet50",
        "batch_size": 64,
    }.items():
        assert TrainingConfig.parse(name, json.dumps(as_text(value))) == value
    assert TrainingConfig.parse("hidden", json.dumps(as_text(()))) == ()
    whole = tuner.parameters({"epochs": Range(1.5, 9.9)})["epochs"]
    assert whole.as_tuning_range("epochs") == {
        "Name": "epochs", "MinValue": "2", "MaxValue": "9", "ScalingType": "Linear"
    }  # fmt: skip


def test_attach_reads_a_tuner_that_still_runs(here: World, tmp_path: Path) -> None:
    """What there is so far is written; a tuner without any result says so and writes no winner."""
    aws, said = connected(), list[str]()
    name, _ = started(aws)
    here.tuners[name].jobs = lambda: []  # type: ignore[method-assign]
    here.tuners[name].describe = lambda found: {**found, "HyperParameterTuningJobStatus": "InProgress"}  # type: ignore[method-assign]
    found = attach(aws, name, tmp_path / "empty", said.append)
    assert found is not None and found.best is None and not found.ended
    assert f"{name}: InProgress, no trial with a loss yet" in said
    assert [path.name for path in (tmp_path / "empty").iterdir()] == ["trials.csv"]
    del here.tuners[name].jobs, here.tuners[name].describe
    here.tuners[name].looks = 1
    found = attach(aws, name, tmp_path / "some", said.append)
    assert found is not None and found.best is not None and not found.ended
    assert (tmp_path / "some" / "best.json").exists()


def test_a_tuner_of_somebody_else_is_refused(here: World, tmp_path: Path) -> None:
    """Its metric is none of ours."""
    aws = connected()
    name, _ = started(aws)
    config = here.tuners[name].request["hyper_parameter_tuning_job_config"]
    config["HyperParameterTuningJobObjective"]["MetricName"] = "validation:auc"
    with pytest.raises(AwsError, match="searched for validation:auc, so it is no tuner of ours"):
        attach(aws, name, tmp_path, print)


@pytest.mark.usefixtures("here")
def test_ctrl_c_leaves_a_tuner_running() -> None:
    """And says how to come back, and how to end it."""
    aws, said = connected(), list[str]()
    name, _ = started(aws)

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trials.wait(aws, name, said.append, sleep=interrupt)
    assert f"python -m training tune --attach {name}" in said[-2]
    assert said[-1].endswith(f"stop-hyper-parameter-tuning-job --hyper-parameter-tuning-job-name {name}")


@pytest.mark.usefixtures("here")
def test_a_tuner_that_failed_says_why() -> None:
    """As AWS does, in one line."""
    aws = connected()
    name, _ = started(aws)
    failed = {"HyperParameterTuningJobStatus": "Failed", "FailureReason": "No training job\nsucceeded."}
    aws.sagemaker.meta.events.register(
        "after-call.sagemaker.DescribeHyperParameterTuningJob", lambda parsed, **_: parsed.update(failed)
    )
    with pytest.raises(AwsError, match=f"{name} failed: No training job succeeded"):
        trials.wait(aws, name, print, sleep=lambda _: None)


def test_throttling_is_waited_out(here: World) -> None:
    """A request that is throttled once is sent again; one that stays so ends in one line."""
    aws = connected()
    name, _ = started(aws)
    trials.wait(aws, name, lambda _: None, sleep=lambda _: None)
    throttled = 0

    def once(**_: Any) -> Any:
        """In place of the answer: too many requests."""
        nonlocal throttled
        throttled += 1
        if throttled > 1:
            return None
        from botocore.awsrequest import AWSResponse
        from botocore.compat import HTTPHeaders

        class Raw:
            """What urllib3 would hold."""

            def stream(self) -> Iterator[bytes]:
                """The body."""
                yield b'{"__type": "ThrottlingException", "message": "Rate exceeded"}'

        return AWSResponse("http://x", 400, HTTPHeaders(), Raw())

    aws.sagemaker.meta.events.register(f"before-send.sagemaker.{LIST}", once)
    assert len(trials.results(aws, name).trials) == 4
    assert throttled == 3  # the first page twice, the second once

    def always(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "ThrottlingException", "Message": "Rate exceeded"}}, LIST)

    aws.sagemaker.meta.events.register(f"before-call.sagemaker.{LIST}", always)
    with pytest.raises(AwsError, match="Wait a minute and do it again"):
        trials.results(aws, name)


def test_the_weights_of_a_job_are_no_hyperparameter_elsewhere(here: World, tmp_path: Path) -> None:
    """Their path within the job would end a training on one machine."""
    (tmp_path / "mine.pt").write_bytes(b"weights")
    aws = connected()
    name, request = started(aws, config=TrainingConfig(weights=str(tmp_path / "mine.pt"), epochs=3))
    static = request["TrainingJobDefinition"]["StaticHyperParameters"]
    assert json.loads(static["weights"]) == "/opt/ml/input/data/weights/mine.pt"
    here.tuners[name].looks = 4
    assert trials.results(aws, name).fixed == {"epochs": 3}
