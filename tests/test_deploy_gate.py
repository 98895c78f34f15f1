"""What the gate holds against what, the requests of an update, and the settings of a container: nothing is sent."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import pytest

from model_serving.aws import endpoint, package
from model_serving.aws.gate import Check, Report, Sample, judge
from model_serving.aws.invoke import Answered
from model_serving.aws.options import EndpointOptions
from model_serving.aws.waiting import _Stages, reason
from model_serving.golden import GoldenPhoto
from tests.conftest import ROOT
from training.aws.errors import AwsError
from training.errors import ConfigError

OPTIONS = EndpointOptions()
CLASSES = ("cat", "dog", "owl")


def photo(*predictions: tuple[str, float], true: str | None = None) -> GoldenPhoto:
    """A recorded one."""
    return GoldenPhoto("photo.jpg", b"", true, predictions, "confident")


def answer(*predictions: tuple[str, float], version: str = "v1") -> Answered:
    """One of an endpoint."""
    return Answered(predictions, "confident", "pets", version)


def checks(
    photos: list[GoldenPhoto], answers: list[Any], live: list[Any] | None = None, **options: Any
) -> dict[str, Check]:
    """By name."""
    served = None if live is None else Sample(tuple(live))
    report = judge(photos, Sample(tuple(answers)), "v1", CLASSES, EndpointOptions(**options), served)
    return {check.name: check for check in report.checks}


SURE = [photo(("cat", 0.9), ("dog", 0.1))]


def test_a_near_tie_may_break_the_other_way() -> None:
    """Another machine's rounding decides it; a clear label may not change, nor to a class that was not in sight."""
    tie = [photo(("cat", 0.41), ("dog", 0.40))]
    turned = [answer(("dog", 0.41), ("cat", 0.40))]
    assert checks(tie, turned)["labels"].ok
    assert not checks(SURE, turned)["labels"].ok
    assert not checks([photo(("cat", 0.01))], [answer(("owl", 0.01))])["labels"].ok


@pytest.mark.parametrize(("least", "ok"), [(0.75, True), (0.76, False)])
def test_the_share_of_labels_that_must_stay(least: float, ok: bool) -> None:
    """Three of four."""
    same, other = answer(("cat", 0.9), ("dog", 0.1)), answer(("dog", 0.9), ("cat", 0.1))
    assert checks(SURE * 4, [same, same, same, other], gate_labels=least)["labels"].ok is ok


def test_scores_are_those_of_the_recorded_label() -> None:
    """Wherever it stands in the answer; one that is not in it has none."""
    assert checks(SURE, [answer(("cat", 0.86), ("dog", 0.14))])["scores"].ok
    assert not checks(SURE, [answer(("cat", 0.84), ("dog", 0.16))])["scores"].ok
    assert "differ by 0.9000" in checks(SURE, [answer(("dog", 1.0))])["scores"].detail


def test_a_photo_without_answer_is_a_miss() -> None:
    """The first error is told; the others are judged."""
    found = checks(SURE * 2, [AwsError("a photo to dogs: no"), answer(("cat", 0.9))])
    assert not found["answered"].ok
    assert "1 of 2 photos; a photo to dogs: no" in found["answered"].detail
    assert found["labels"].ok
    assert set(checks(SURE, [AwsError("no")])) == {"answered"}


def test_another_version_is_a_miss() -> None:
    """Though it answers the same."""
    found = checks(SURE, [answer(("cat", 0.9), version="v0")])["version"]
    assert (found.ok, found.detail) == (False, "v1 was deployed, v0 answers")


def test_accuracy_may_differ_by_two_standard_errors_from_live() -> None:
    """Of the photos that only one of them has right: four of ten are chance, five of ten are not.

    Against what was recorded of the same model it is one.
    """
    known = [photo(("cat", 0.9), true="cat")] * 10
    right, wrong = answer(("cat", 0.9), ("dog", 0.1)), answer(("dog", 0.9), ("cat", 0.1))
    live = [right] * 10
    assert checks(known, [right] * 6 + [wrong] * 4, live)["accuracy, live"].ok
    assert not checks(known, [right] * 6 + [wrong] * 4)["accuracy, recorded"].ok
    assert not checks(known, [right] * 5 + [wrong] * 5, live)["accuracy, live"].ok
    assert checks(known, [right] * 10, [wrong] * 10)["accuracy, live"].ok


def test_calibration_may_not_get_worse() -> None:
    """Right labels with less likelihood, on every photo."""
    known = [photo(("cat", 0.9), ("dog", 0.1), true="cat")] * 8
    found = checks(known, [answer(("cat", 0.6), ("dog", 0.4))] * 8)
    assert found["accuracy, recorded"].ok
    assert not found["calibration, recorded"].ok
    assert f"{math.log(0.9 / 0.6):+.3f} nats" in found["calibration, recorded"].detail
    assert checks(known, [answer(("cat", 0.99), ("dog", 0.01))] * 8)["calibration, recorded"].ok


def test_without_true_classes_there_is_no_accuracy() -> None:
    """Nor with those of another model."""
    names = set(checks([photo(("cat", 0.9))], [answer(("cat", 0.9))], [answer(("cat", 0.9))]))
    assert names == {"answered", "version", "labels", "scores", "live"}
    assert "accuracy, recorded" not in checks([photo(("cat", 0.9), true="whale")], [answer(("cat", 0.9))])


@pytest.mark.parametrize(("milliseconds", "ok"), [(219.0, True), (221.0, False)])
def test_latency_is_held_against_live(milliseconds: float, ok: bool) -> None:
    """The 95th percentile: twice that of what is live, and 20 ms of the network."""
    given = answer(("cat", 0.9))
    new, live = Sample((given,), (1.0,) * 90 + (milliseconds,) * 10), Sample((given,), (100.0,) * 100)
    report = judge(SURE, new, "v1", CLASSES, OPTIONS, live)
    assert next(check.ok for check in report.checks if check.name == "latency") is ok
    assert report.p95 == milliseconds


def test_what_is_told_decides_nothing() -> None:
    """A report is fine unless a check missed."""
    assert Report((Check("live", None, "3 of 4"), Check("labels", True, "")), ()).ok
    assert not Report((Check("live", None, "3 of 4"), Check("labels", False, "")), ()).ok


NAMES = endpoint.Names("dogs", "dogs-v1", "dogs-v1")


@pytest.mark.parametrize(
    ("canary", "running", "routing"),
    [
        (10, 1, {"Type": "ALL_AT_ONCE"}),
        (10, 4, {"Type": "CANARY", "CanarySize": {"Type": "INSTANCE_COUNT", "Value": 1}}),
        (10, 20, {"Type": "CANARY", "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 10}}),
        (0, 20, {"Type": "ALL_AT_ONCE"}),
    ],
)
def test_a_canary_is_a_whole_machine_and_half_of_them_at_most(
    canary: int, running: int, routing: dict[str, Any]
) -> None:
    """One machine alone cannot be shared, so all its traffic shifts at once and the old one waits for the alarms."""
    options = EndpointOptions(canary=canary, bake_minutes=2)
    policy = endpoint.update_request(options, NAMES, running, ["a"], scaled=False)["DeploymentConfig"]
    found = policy["BlueGreenUpdatePolicy"]
    assert found["TrafficRoutingConfiguration"] == {**routing, "WaitIntervalInSeconds": 120}
    assert found["TerminationWaitInSeconds"] == 120
    assert found["MaximumExecutionTimeoutInSeconds"] == 30 * 60 + 240


@pytest.mark.parametrize(
    ("options", "threads", "workers"),
    [
        ({}, "4", "1"),
        ({"instance_type": "ml.c5.large"}, "2", "1"),
        ({"instance_type": "ml.c5.4xlarge"}, "16", "1"),
        ({"instance_type": "ml.g4dn.xlarge"}, "4", "1"),
        ({"instance_type": "ml.g4dn.12xlarge"}, "12", "4"),
        ({"serverless_mb": 2048}, "2", "1"),
    ],
)
@pytest.mark.filterwarnings("ignore")  # of the SDK
def test_workers_times_threads_are_the_cores(options: dict[str, Any], threads: str, workers: str) -> None:
    """A worker for each GPU, else one; the toolkit counts them by two other variables once it batches."""
    chosen = EndpointOptions(**options)
    found = package.environment(chosen, package.threads(chosen))
    assert found["OMP_NUM_THREADS"] == threads
    names = ("SAGEMAKER_MODEL_SERVER_WORKERS", "SAGEMAKER_TS_MIN_WORKERS", "SAGEMAKER_TS_MAX_WORKERS")
    assert {found[name] for name in names} == {workers}
    assert found["TS_DEFAULT_SERVICE_HANDLER"] == "batch_handler.py:handle"


@pytest.mark.parametrize(
    ("machine", "sent"),
    [
        ("ml.m5.xlarge", True),
        ("ml.g4dn.xlarge", False),
        ("ml.m5d.large", False),
        ("ml.c5.large", True),
        ("ml.p3.2xlarge", True),
    ],
)
def test_a_key_for_disks_only_where_aws_takes_one(machine: str, sent: bool) -> None:
    """Machines with disks of their own encrypt them by themselves, and AWS refuses a key."""
    spec = type("Spec", (), {"name": "pets", "version": "v1"})()
    hosted = package.Hosted(None, "s3://b/k", "image", {}, spec)
    request = endpoint.config_request(hosted, EndpointOptions(kms_key="k", instance_type=machine), NAMES)
    assert ("KmsKeyId" in request) is sent


WRONG = {
    "step": ({"serverless_mb": "1500"}, "in steps of 1024"),
    "ray": ({"serverless_mb": "2048", "runtime": "ray"}, "Take --runtime pytorch"),
    "serverless capture": ({"serverless_mb": "2048", "data_capture": "s3://b"}, "data_capture: serverless"),
    "serverless scaling": ({"serverless_mb": "2048", "autoscale": "1:2"}, "autoscale: serverless"),
    "scaling": ({"autoscale": "3"}, "write MIN:MAX"),
    "upside down": ({"autoscale": "3:1"}, "MIN not above MAX"),
    "from nothing": ({"autoscale": "0:1"}, "from 1 machine up"),
    "count": ({"autoscale": "1:2", "instance_count": "3"}, "not within 1:2"),
    "target": ({"autoscale_target": "50"}, "only with --autoscale"),
    "capture": ({"data_capture": "/tmp"}, "write s3://BUCKET"),
    "machine": ({"instance_type": "m5.xlarge"}, "take one like ml.m5.xlarge"),
    "runtime": ({"runtime": "triton"}, "none of pytorch, ray"),
    "alarms": ({"alarms": ",".join("abcdefghi")}, "at most 8 of yours"),
    "canary": ({"canary": "60"}, "not from 0 to 50"),
}


@pytest.mark.parametrize("case", WRONG)
def test_options_that_do_not_go_together_are_refused(case: str) -> None:
    """Before anything is sent, by name, with what to do instead."""
    texts, message = WRONG[case]
    with pytest.raises(ConfigError, match=message):
        EndpointOptions.from_texts(texts)


def test_reasons_of_aws_come_with_a_mend() -> None:
    """On one line."""
    assert reason({"FailureReason": "Could not\nfind image."}).endswith("Check --image-uri, --runtime and --region")
    assert reason({}) == "AWS gives no reason"


def test_a_long_wait_is_not_silent() -> None:
    """A line a minute, with the stage of the update, where nothing else changes."""
    stages = [{"VariantStatus": [{"Status": "Baking", "StatusMessage": "Baking for 300 seconds"}]}]
    found = {"EndpointStatus": "Updating", "PendingDeploymentSummary": {"ProductionVariants": stages}}
    lines = _Stages()
    assert list(lines.new(found, 0)) == ["Updating, Baking Baking for 300 seconds"]
    assert list(lines.new(found, 0)) == []
    assert list(lines.new(found, 1)) == ["Updating, Baking Baking for 300 seconds, 1 min"]


def test_names_fit() -> None:
    """However long the endpoint's, with the version in them."""
    found = endpoint.names("d" * 63, "0123456789ab")
    assert len(found.config) == 63
    assert "-0123456789ab-" in found.config


def test_importing_the_package_loads_no_sdk() -> None:
    """`--help` does not wait for it, nor for torch."""
    code = (
        "import sys, model_serving.aws.deploy_cli\n"
        "print({'boto3', 'botocore', 'sagemaker', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_requests_that_fail_are_a_miss() -> None:
    """However fast the others are."""
    report = judge(SURE, Sample((answer(("cat", 0.9)),), (1.0, math.inf, 1.0)), "v1", CLASSES, OPTIONS)
    assert "steady: 1 of 3 single requests failed" in report.missed()
    assert report.p95 == 1.0
