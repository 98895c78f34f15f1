"""`python -m training launch` and `attach`: what is shown is what is sent, what comes home is checked."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import tarfile
import types
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.aws_world import BUCKET, ROLE, World, connected, sent
from tests.command_line import ACCOUNT, QUICK, run, watch
from tests.conftest import ROOT
from tests.labelled import make_folders, random_weights
from training.aws import command, cost, jobs, launch, single, volume
from training.aws.errors import AwsError
from training.aws.follow import follow
from training.aws.jobs import Job
from training.aws.options import JobOptions
from training.aws.session import Aws
from training.config import TrainingConfig
from training.errors import ConfigError, DataError, TrainingError
from training.monitor.settings import Monitoring

DEFAULTS = "SchemaVersion: '1.0'\nSageMaker: {PythonSDK: {Modules: {Session: {DefaultS3Bucket: of-the-account}}}}\n"
"""The SDK's configuration of somebody whose default bucket is not there yet."""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three classes of drawings."""
    return make_folders(tmp_path / "dogs", {"train": 3, "valid": 2})


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Grows with the requests of jobs that the command line sends."""
    return watch(monkeypatch)


def request(
    aws: Aws[JobOptions], config: TrainingConfig | None = None, data: str = "", name: str = "job-1"
) -> dict[str, Any]:
    """The request of a launched job."""
    requests = sent(aws)
    launch.launch(aws, Job(config or TrainingConfig(), data or f"s3://{BUCKET}/dogs"), name, lambda _: None)
    (only,) = requests
    return only


@pytest.fixture
def uploaded(here: World) -> None:
    """A photo in the bucket, for jobs that read from there."""
    here.client("s3").put_object(Bucket=BUCKET, Key="dogs/train/a/1.jpg", Body=b"a photo")


def ordered(found: dict[str, Any]) -> dict[str, Any]:
    """The SDK keeps the hook's collections in a set, whose order is another in each process."""
    found["DebugHookConfig"]["CollectionConfigurations"].sort(key=lambda one: str(one["CollectionName"]))
    return found


def test_a_dry_run_shows_what_is_sent_and_sends_nothing(
    here: World, photos: Path, requests: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its standard output is the request that a real run sends; no bucket is made; cost and source are beside it."""
    (here.root / "sagemaker-defaults.yaml").write_text(DEFAULTS)
    weights = str(random_weights(tmp_path / "mine.pt"))
    given = ("--role", ROLE, "--name", "dogs-1", "--weights", weights, "--spot", "--max-hours", "1")
    arguments = ("launch", "--data", str(photos), *given, *QUICK)
    shown = subprocess.run(
        [sys.executable, "-m", "training", *arguments, "--dry-run"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert {bucket["Name"] for bucket in here.client("s3").list_buckets()["Buckets"]} == {BUCKET, "photos"}
    assert here.keys() == []
    assert here.client("sagemaker").list_training_jobs()["TrainingJobSummaries"] == []
    assert "cost: at most 0.74 dollars" in shown.stderr
    assert "disk: 30 GB a machine, for 0.0 MB of photos x 1.2" in shown.stderr
    assert (
        "  training/monitor/rules/ " in shown.stderr and "pip installs: psutil>=6.0, nvidia-ml-py>=12" in shown.stderr
    )
    assert "AKIA" not in shown.stdout and "made-up" not in shown.stdout + shown.stderr
    assert run(monkeypatch, *arguments, "--yes", "--detach") == 0
    assert ordered(requests[0]) == ordered(json.loads(shown.stdout))
    assert requests[0]["OutputDataConfig"]["S3OutputPath"] == "s3://of-the-account/whippet/jobs"


@pytest.mark.usefixtures("here")
def test_a_detached_job_is_named_with_the_way_back(
    photos: Path, requests: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A command that can be pasted, for the same output and region; nothing is waited for."""
    arguments = ("launch", "--data", str(photos), *ACCOUNT, "--output", "my run", "--region", "us-east-1")
    assert run(monkeypatch, *arguments, "--yes", "--detach") == 0
    name = requests[0]["TrainingJobName"]
    assert capsys.readouterr().out.splitlines()[-2:] == [
        f"{name} has started",
        f"to come back: python -m training attach {name} --output 'my run' --region us-east-1",
    ]


@pytest.mark.usefixtures("uploaded")
def test_who_does_not_confirm_starts_nothing(
    here: World, requests: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The cost is said before the question, and before anything is uploaded."""
    said: list[str] = []
    asked = command.Request({}, {}, {"bucket": BUCKET, "role": ROLE}, f"s3://{BUCKET}/dogs", tmp_path)

    def refuse() -> bool:
        assert said[0].startswith("cost: at most")
        return False

    assert command.run(asked, said.append, refuse) is None
    assert said[-1] == "nothing was started"
    assert requests == [] and len(here.keys()) == 1


@pytest.mark.usefixtures("uploaded")
def test_spot_network_and_keys_are_in_the_request(tmp_path: Path) -> None:
    """As sent: spot with its wait and checkpoint, VPC, both keys, isolation with the code as a channel, retries."""
    network: dict[str, Any] = {"subnets": ("subnet-1",), "security_groups": ("sg-1",), "network_isolation": True}
    aws = connected(
        spot=True, max_hours=1.0, max_wait_hours=3.0, kms_key="key-1", instance_type="ml.c5.xlarge", max_retries=2,
        debugger=False, **network,
    )  # fmt: skip
    found = request(aws, TrainingConfig(backbone="resnet18", weights=str(random_weights(tmp_path / "mine.pt"))))
    assert found["EnableManagedSpotTraining"] is True
    assert found["StoppingCondition"] == {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 10800}
    assert found["CheckpointConfig"] == {"S3Uri": f"s3://{BUCKET}/whippet/checkpoints/job-1"}
    assert found["VpcConfig"] == {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}
    assert found["OutputDataConfig"]["KmsKeyId"] == found["ResourceConfig"]["VolumeKmsKeyId"] == "key-1"
    assert found["RetryStrategy"] == {"MaximumRetryAttempts": 2}
    assert found["EnableNetworkIsolation"] is True
    channels = {one["ChannelName"]: one["DataSource"]["S3DataSource"]["S3Uri"] for one in found["InputDataConfig"]}
    assert sorted(channels) == ["code", "train", "weights"]
    assert json.loads(found["HyperParameters"]["sagemaker_submit_directory"]).startswith("/opt/ml/input/data/code/")


@pytest.mark.usefixtures("uploaded")
def test_keep_alive_is_in_the_request_and_in_the_cost(here: World) -> None:
    """A machine that is kept warm is billed; a key is not sent for disks that a machine has of its own."""
    aws = connected(keep_alive_minutes=30.0, kms_key="key-1", max_hours=1.0)
    found = request(aws)
    assert found["ResourceConfig"]["KeepAlivePeriodInSeconds"] == 1800
    assert "VolumeKmsKeyId" not in found["ResourceConfig"]
    lines = list(cost.estimate(aws, 1).lines())
    assert lines[0] == f"cost: at most {1.5 * 0.736:.2f} dollars"
    assert "1 job x 1 h and 30 minutes kept warm x 1 x ml.g4dn.xlarge" in lines[1]
    assert here.client("sagemaker").describe_training_job(TrainingJobName="job-1")


@pytest.mark.usefixtures("uploaded")
def test_two_machines_with_gpus_work_together() -> None:
    """By torchrun, and encrypted if asked; machines without are refused before anything is uploaded."""
    found = request(connected(instance_count=2, encrypt_traffic=True))
    assert found["ResourceConfig"]["InstanceCount"] == 2
    assert found["HyperParameters"]["sagemaker_torch_distributed_enabled"] == "true"
    assert found["EnableInterContainerTrafficEncryption"] is True
    with pytest.raises(ConfigError, match=r"several machines need GPUs, and ml.m5.xlarge has none. Take 1"):
        request(connected(instance_count=2, instance_type="ml.m5.xlarge"), data="/no/such/folder", name="job-2")


@pytest.mark.usefixtures("uploaded")
def test_the_disk_is_by_the_size_of_the_photos() -> None:
    """Of those in S3 as well, unless it is given; it is said how it was computed."""
    aws, said = connected(instance_type="ml.m5.xlarge"), list[str]()

    def heavy(parsed: dict[str, Any], **_: Any) -> None:
        for entry in parsed.get("Contents", ()):
            entry["Size"] = 100_000_000_000

    aws.s3.meta.events.register("after-call.s3.ListObjectsV2", heavy)
    requests = sent(aws)
    for name, views in (("job-1", 1), ("job-2", 100)):
        launch.launch(aws, Job(TrainingConfig(views=views), f"s3://{BUCKET}/dogs"), name, said.append)
    assert [found["ResourceConfig"]["VolumeSizeInGB"] for found in requests] == [146, 146]
    assert said[0].startswith("disk: 146 GB a machine, for 100.0 GB of photos x 1.2, 0.0 MB of features and 25 GB")
    assert volume.needed(0, 0) == volume.SMALLEST
    assert volume.needed(100e9, 1e6 * 10 * volume.FEATURES) == 120 + 164 + 25
    assert request(connected(volume_gb=50), name="job-3")["ResourceConfig"]["VolumeSizeInGB"] == 50


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (f"s3://{BUCKET}/cats", "holds no files. Check --data"),
        ("s3://nobodys/dogs", "s3://nobodys/dogs/: the bucket does not exist. Check --data"),
    ],
)
@pytest.mark.usefixtures("uploaded")
def test_photos_that_are_not_there_are_not_paid_for(data: str, said: str) -> None:
    """A job would wait for its machine, and then fail."""
    with pytest.raises(DataError, match=said):
        request(connected(), data=data)


ISOLATED: dict[str, tuple[dict[str, Any], Job, str]] = {
    "weights": ({}, Job(TrainingConfig(), "x"), "weights of resnet152 cannot be had there. Give --weights FILE"),
    "smdebug": ({}, Job(TrainingConfig(weights="w.pt"), "x"), "Add --no-debugger"),
    "search": ({}, Job(TrainingConfig(weights="w.pt"), "x", watched=False, searches=True), "Take --sagemaker instead"),
    "backbones": ({}, Job(TrainingConfig(weights="w.pt"), "x", backbones=("vgg11",), watched=False), "Search one"),
}


@pytest.mark.parametrize("case", ISOLATED)
@pytest.mark.usefixtures("here")
def test_a_job_without_network_needs_none(case: str) -> None:
    """What pip or a download would have brought is refused at once; without hook no smdebug is needed."""
    options, job, said = ISOLATED[case]
    with (
        pytest.raises(ConfigError, match=said),
        jobs.built(connected(network_isolation=True, **options), job, "job-1", print),
    ):
        pass
    jobs.built(connected(network_isolation=True), job, "job-1", print)
    assert not Job(TrainingConfig(), "x", Monitoring(record_interval=0)).debugged(JobOptions())


REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "name": (("--name", "my_dogs"), "name: 'my_dogs' is none; take letters, digits and dashes, 63 at most"),
    "register": (("--detach", "--register", "dogs"), "register: a model is registered when it has come home."),
    "tuner": (("--strategy", "random"), "strategy is for a tuner. Leave it out, or take `tune --sagemaker`"),
    "spot": (("--spot", "--keep-alive-minutes", "5"), "keep_alive_minutes: AWS keeps no spot machines warm."),
    "old": (("--framework-version", "2.5.1"), "framework_version: jobs need PyTorch 2.6 or later, found 2.5.1."),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_is_one_line(
    case: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And exit 1, before AWS is asked for anything."""
    arguments, said = REFUSED[case]
    monkeypatch.setattr(command, "connect", None)
    assert run(monkeypatch, "launch", "--data", "dogs", "--yes", *arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {said}") and error.count("\n") == 1


ANSWERS: dict[str, tuple[str, str, str]] = {
    "role": ("ValidationException", "Could not assume role arn:x.", "Check --role and whom it trusts"),
    "quota": (
        "ResourceLimitExceeded",
        "The limit is 0 Instances.",
        "or take another --instance-type or fewer machines",
    ),
    "throttled": ("ThrottlingException", "Rate exceeded", "Wait a minute and do it again"),
    "name": ("ResourceInUse", "Training job names must be unique", "the name is taken. Give another --name"),
}


@pytest.mark.parametrize("case", ANSWERS)
@pytest.mark.usefixtures("uploaded")
def test_what_aws_refuses_is_one_line(
    case: str,
    requests: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And exit 1: what AWS said, and what to do."""
    code, message, mend = ANSWERS[case]
    connected_by: Any = vars(command)["connect"]

    def refusing(options: Any, **more: Any) -> Aws[Any]:
        aws: Aws[Any] = connected_by(options, **more)

        def refuse(**_: Any) -> None:
            raise ClientError({"Error": {"Code": code, "Message": message}}, "CreateTrainingJob")

        aws.sagemaker.meta.events.register("before-call.sagemaker.CreateTrainingJob", refuse)
        return aws

    monkeypatch.setattr(command, "connect", refusing)
    arguments = ("launch", "--data", f"s3://{BUCKET}/dogs", *ACCOUNT, "--name", "dogs-1", "--yes")
    assert run(monkeypatch, *arguments) == 1
    assert requests == []
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: starting dogs-1: ") and mend in last


@pytest.mark.usefixtures("uploaded")
def test_a_name_that_is_taken_is_told_before_anything_is_uploaded(here: World) -> None:
    """The source of the other job, which may still wait for its machine, stays as it was."""
    request(connected())
    before = here.client("s3").head_object(Bucket=BUCKET, Key="whippet/jobs/job-1/source/sourcedir.tar.gz")
    with pytest.raises(AwsError, match=r"name: there is a job job-1 already. Give another --name"):
        request(connected(), TrainingConfig(epochs=3))
    after = here.client("s3").head_object(Bucket=BUCKET, Key="whippet/jobs/job-1/source/sourcedir.tar.gz")
    assert after["LastModified"] == before["LastModified"] and after["ETag"] == before["ETag"]


@pytest.mark.usefixtures("requests")
def test_a_bucket_that_is_not_there_is_one_line(
    here: World, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the option that names it; nothing was started."""
    arguments = ("launch", "--data", str(photos), "--role", ROLE, "--bucket", "nobodys-bucket", "--yes")
    assert run(monkeypatch, *arguments) == 1
    assert "the bucket does not exist. Check --bucket" in capsys.readouterr().err.splitlines()[-1]
    assert here.client("sagemaker").list_training_jobs()["TrainingJobSummaries"] == []


@pytest.mark.usefixtures("uploaded")
def test_ctrl_c_leaves_the_job_and_says_how_to_come_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With its output and what was to be done with the model."""
    aws, said = connected(region="us-east-1"), list[str]()
    request(aws)
    aws.sagemaker.meta.events.register(
        "after-call.sagemaker.DescribeTrainingJob", lambda parsed, **_: parsed.update(TrainingJobStatus="InProgress")
    )

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(launch, "follow", functools.partial(follow, sleep=interrupt))
    with pytest.raises(KeyboardInterrupt):
        launch.bring(aws, "job-1", tmp_path / "run", said.append, register="dogs")
    back = f"python -m training attach job-1 --output {tmp_path / 'run'} --region us-east-1 --register dogs"
    assert said[-2].endswith(f"Its results later: {back}")
    assert said[-1].endswith("stop-training-job --training-job-name job-1 --region us-east-1")


def test_an_archive_that_breaks_its_promises_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line with the way to look closer; the file stays, and is not registered."""
    archive = tmp_path / "model.tar.gz"
    with tarfile.open(archive, "w:gz"):
        pass
    registry = types.SimpleNamespace(register=lambda *_, **__: pytest.fail("registered"))
    monkeypatch.setitem(sys.modules, "model_serving.aws.registry", registry)
    with pytest.raises(TrainingError) as caught:
        launch.finish(None, archive, print, register="dogs")  # type: ignore[arg-type]
    said = str(caught.value)
    assert "1 of 2 checks fail, first: has model.json, model.pt and code/inference.py (missing: " in said
    assert said.endswith(f"Look closer: python -m model_serving check {archive}") and "\n" not in said
    assert archive.exists()


@pytest.mark.usefixtures("uploaded")
def test_a_refit_is_a_launch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The same request, names aside."""
    brought: list[str] = []
    monkeypatch.setattr(single, "bring", lambda _aws, name, *_, **__: brought.append(name))
    aws = connected()
    requests = sent(aws)
    name = single.refit(aws, {"epochs": 7}, f"s3://{BUCKET}/dogs", tmp_path, print)
    launched = request(connected(), TrainingConfig(epochs=7))
    assert brought == [name] and name.startswith("whippet-resnet152-")
    assert json.loads(json.dumps(requests[0]).replace(name, "job-1")) == launched


@pytest.mark.usefixtures("requests", "uploaded")
def test_attach_of_a_tuner_is_its_table(
    here: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """As `tune --attach` has it; it has no model that could be registered, and a strange name is none."""
    from training.aws import tuner
    from training.config import search_space
    from training.search.options import SearchOptions

    data = f"s3://{BUCKET}/dogs"
    name = tuner.start(connected(), TrainingConfig(), search_space(), data, SearchOptions(trials=4), lambda _: None)
    here.tuners[name].looks = 3
    assert run(monkeypatch, "attach", name, "--output", str(tmp_path / "search")) == 0
    assert sorted(path.name for path in (tmp_path / "search").iterdir()) == ["best.json", "trials.csv"]
    assert f"best loss 0.2000 by trial 3 ({name}-003-abcdef01)" in capsys.readouterr().out
    assert run(monkeypatch, "attach", name, "--register", "dogs") == 1
    assert "is a tuner, whose jobs have no model" in capsys.readouterr().err
    assert run(monkeypatch, "attach", "nobody") == 1
    assert capsys.readouterr().err == (
        "error: nobody is no tuner and no job in us-east-1. Check the name and --region\n"
    )
