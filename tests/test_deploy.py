"""A model behind an endpoint, end to end: moto takes the requests, the archive read back from S3 answers the photos."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.responses import Response

from model_serving.aws import deploy
from model_serving.aws.trial import MISSED
from tests import endpoint_world
from tests.conftest import ROOT
from tests.endpoint_world import CALM, Endpoints, attempt, deployed, model_error, variant, versions
from tests.labelled import COLOURS, drawing
from training.aws.errors import AwsError

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def test_a_new_endpoint_serves_the_archive_with_this_code(world: Endpoints, archives: dict[str, Path]) -> None:
    """What SageMaker unpacks has the hooks, the batch handler and Ray's files, and answered before it was done."""
    done = deployed(archives["good"])
    with tarfile.open(fileobj=io.BytesIO(world.archive("dogs"))) as tar:
        names = {member.name for member in tar}
        spec = tar.extractfile("model.json")
        assert spec is not None
        version = json.load(spec)["version"]
    assert names >= {
        "model.json",
        "model.pt",
        "code/inference.py",
        "code/batch_handler.py",
        "config.yaml",
        "deployment.py",
    }
    assert version == done.made.version
    assert f"dogs serves shapes {version}" in done.said
    assert "dogs" in world.asked
    (model,), (config,), (endpoint,) = (
        done.sent[name] for name in ("CreateModel", "CreateEndpointConfig", "CreateEndpoint")
    )
    assert model["PrimaryContainer"]["Image"].endswith("pytorch-inference:2.6.0-cpu-py312")
    assert variant(config)["ModelName"] == model["ModelName"]
    for request in (model, config, endpoint):
        assert versions(request["Tags"]) == {"whippet:model": "shapes", "whippet:version": version}


def test_a_changed_script_needs_no_training(world: Endpoints, archives: dict[str, Path], tmp_path: Path) -> None:
    """Whatever code the archive was trained with, this checkout's is served, as a version of its own."""
    old = tmp_path / "old.tar.gz"
    with tarfile.open(archives["good"]) as source, tarfile.open(old, "w:gz") as target:
        for member in source:
            stream = source.extractfile(member)
            assert stream is not None
            content = b"raise SystemExit" if member.name == "code/inference.py" else stream.read()
            member.size = len(content)
            target.addfile(member, io.BytesIO(content))
    done = deployed(old)
    with tarfile.open(fileobj=io.BytesIO(world.archive("dogs"))) as tar:
        code = tar.extractfile("code/inference.py")
        assert code is not None
        assert code.read() == (ROOT / "model_serving" / "inference.py").read_bytes()
    assert f"gate ok   version: {done.made.version} answers" in done.said


def test_weights_are_uploaded_once(world: Endpoints, archives: dict[str, Path]) -> None:
    """A second deployment of the same archive finds it in S3; nothing else is put there."""
    deployed(archives["good"], **CALM)
    keys = world.world.keys()
    deployed(archives["good"], **CALM)
    assert len(keys) == 1
    assert world.world.keys() == keys


def test_an_update_goes_by_a_candidate_and_a_canary(world: Endpoints, archives: dict[str, Path]) -> None:
    """The candidate is asked before the endpoint is touched, and is gone afterwards; alarms of ours watch the shift."""
    deployed(archives["good"], instance_count="3")
    world.asked.clear()
    done = deployed(archives["newer"], bake_minutes="0.5", canary="10", **CALM)
    (update,) = done.sent["UpdateEndpoint"]
    policy = update["DeploymentConfig"]["BlueGreenUpdatePolicy"]
    assert policy["TrafficRoutingConfiguration"] == {
        "Type": "CANARY",
        "WaitIntervalInSeconds": 30,
        "CanarySize": {"Type": "INSTANCE_COUNT", "Value": 1},
    }
    watched = [alarm["AlarmName"] for alarm in update["DeploymentConfig"]["AutoRollbackConfiguration"]["Alarms"]]
    there = world.world.client("cloudwatch").describe_alarms()["MetricAlarms"]
    assert (
        sorted(watched)
        == sorted(alarm["AlarmName"] for alarm in there)
        == ["whippet-dogs-errors", "whippet-dogs-latency"]
    )
    assert {"Name": "EndpointName", "Value": "dogs"} in there[0]["Dimensions"]
    own, candidate = (variant(request) for request in done.sent["CreateEndpointConfig"])
    assert (own["InitialInstanceCount"], candidate["InitialInstanceCount"]) == (3, 1)
    assert own["ModelName"] == candidate["ModelName"]
    assert world.asked[0].startswith("dogs-candidate-")
    assert world.names()["endpoints"] == ["dogs"]
    assert world.backend.endpoints["dogs"].endpoint_config_name == update["EndpointConfigName"]


def test_the_former_configuration_is_kept_and_older_ones_go(world: Endpoints, archives: dict[str, Path]) -> None:
    """One to go back to, with its model."""
    made = [deployed(archives[name], **CALM).made.names.config for name in ("good", "newer", "newest")]
    assert world.names()["configs"] == world.names()["models"] == sorted(made[1:])


def test_the_gate_refuses_weights_that_answer_otherwise(
    world: Endpoints, archives: dict[str, Path], tmp_path: Path
) -> None:
    """Changed after the golden photos were recorded: live is not touched, nothing stays, the report has the reasons."""
    first = deployed(archives["good"])
    before, report = world.names(), tmp_path / "gate.json"
    refused = attempt(archives["changed"], report=report, **CALM)
    with pytest.raises(AwsError, match=r"gate refuses the new model, and dogs serves what.*labels: 0 of 12") as caught:
        refused.go()
    assert caught.value.code == MISSED
    assert refused.sent["UpdateEndpoint"] == []
    assert world.names() == before
    assert world.backend.endpoints["dogs"].endpoint_config_name == first.made.names.config
    found = json.loads(report.read_text())
    assert found["ok"] is False
    missed = {check["name"] for check in found["checks"] if check["ok"] is False}
    assert missed >= {"labels", "scores", "accuracy, recorded", "accuracy, live", "calibration, live"}
    assert found["photos"][0]["recorded"]["label"] != found["photos"][0]["new"]["label"]


def test_a_model_that_is_worse_than_the_live_one_is_refused(world: Endpoints, archives: dict[str, Path]) -> None:
    """It answers as it was recorded, which is wrong."""
    deployed(archives["good"])
    refused = attempt(archives["wrong"], **CALM)
    with pytest.raises(AwsError, match=r"gate refuses .*accuracy, live: 0.0% of 12, live 100.0%"):
        refused.go()
    assert "gate ok   labels: 12 of 12" in refused.said


def test_a_better_model_than_the_live_one_passes(world: Endpoints, archives: dict[str, Path]) -> None:
    """Labels that differ from those of the live one are told and decide nothing."""
    deployed(archives["wrong"])
    done = deployed(archives["good"], **CALM)
    assert "gate      live: 0 of 12 labels are those of" in done.said


def test_a_first_deployment_is_its_own_candidate(world: Endpoints, archives: dict[str, Path]) -> None:
    """Refused, it is taken away again with all that was made for it."""
    refused = attempt(archives["changed"])
    with pytest.raises(AwsError, match="gate refuses the new model, and dogs was not kept"):
        refused.go()
    assert world.names() == {"endpoints": [], "configs": [], "models": []}
    assert "removed: endpoint dogs" in refused.said


def test_a_container_that_serves_something_else_is_found(world: Endpoints, archives: dict[str, Path]) -> None:
    """The version in the answer is that of the archive, or the deployment has failed; the gate may be off."""
    world.instead["dogs"] = archives["newer"].read_bytes()
    with pytest.raises(AwsError, match=r"dogs answers as shapes \w+, and \w+ was deployed"):
        attempt(archives["good"], gate=False).go()
    assert world.names()["endpoints"] == []


def test_a_candidate_that_was_left_behind_is_named(world: Endpoints, archives: dict[str, Path]) -> None:
    """By a deployment that was killed: it is billed."""
    config = deployed(archives["good"], gate=False).made.names.config
    world.world.client("sagemaker").create_endpoint(EndpointName="dogs-candidate-old", EndpointConfigName=config)
    assert "warning: dogs-candidate-old is there already" in deployed(archives["newer"], **CALM).said


def test_a_miss_after_the_shift_rolls_back(world: Endpoints, archives: dict[str, Path]) -> None:
    """The candidate was fine, the endpoint is not: it ends with the configuration that it had."""
    first = deployed(archives["good"])
    world.instead = {"dogs": world.archive("dogs"), "dogs-candidate": archives["newer"].read_bytes()}
    failed = attempt(archives["newer"], **CALM)
    with pytest.raises(AwsError, match="was deployed"):
        failed.go()
    assert [request["EndpointConfigName"] for request in failed.sent["UpdateEndpoint"]] == [
        failed.made.names.config,
        first.made.names.config,
    ]
    assert world.backend.endpoints["dogs"].endpoint_config_name == first.made.names.config
    assert world.names()["configs"] == [first.made.names.config]


def test_a_rollback_of_aws_is_no_success(world: Endpoints, archives: dict[str, Path]) -> None:
    """The endpoint is in service with its former configuration: which alarm rang is told, the new one is removed."""
    first = deployed(archives["good"])
    world.rolls_back = "Rolled back because of an alarm"
    failed = attempt(archives["newer"], alarms="mine", **CALM)
    cloudwatch = world.world.client("cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName="mine", MetricName="m", Namespace="n", EvaluationPeriods=1, ComparisonOperator="GreaterThanThreshold",
        Period=60, Statistic="Sum", Threshold=1,
    )  # fmt: skip
    said = failed.said

    class Ringing(endpoint_world.Told):
        def __call__(self, line: str) -> None:
            said(line)
            if line.startswith("dogs: InService"):
                cloudwatch.set_alarm_state(AlarmName="mine", StateValue="ALARM", StateReason="test")

    made = replace(failed.made, say=Ringing())
    with pytest.raises(AwsError, match=rf"AWS rolled dogs back to {first.made.names.config}: alarm mine") as caught:
        deploy.deploy(made, failed.live)
    assert caught.value.code == deploy.ROLLED_BACK
    assert world.names()["configs"] == [first.made.names.config]


def test_a_rollback_without_alarm_tells_the_reason(world: Endpoints, archives: dict[str, Path]) -> None:
    """AWS's own, with where the log is."""
    deployed(archives["good"])
    world.rolls_back = "The primary container did not pass the ping health check."
    with pytest.raises(AwsError, match=r"did not pass the ping health check\. The container did not come up"):
        attempt(archives["newer"], gate=False).go()


def test_a_broken_endpoint_can_be_replaced(world: Endpoints, archives: dict[str, Path]) -> None:
    """There is nothing live to compare with then."""
    deployed(archives["good"])
    broken = world.backend.endpoints["dogs"].endpoint_config_name

    def answer(name: str) -> Response | None:
        live = world.backend.endpoints["dogs"].endpoint_config_name == broken
        return model_error(500, "out of order") if name == "dogs" and live else None

    world.answer = answer
    done = deployed(archives["newer"])
    assert "there is nothing live to compare with" in done.said


def test_without_a_gate_it_warns(world: Endpoints, archives: dict[str, Path]) -> None:
    """And no candidate is made."""
    deployed(archives["good"])
    done = deployed(archives["changed"], gate=False)
    assert "warning: no gate" in done.said
    assert len(done.sent["CreateEndpointConfig"]) == 1


def test_golden_photos_of_a_folder(world: Endpoints, archives: dict[str, Path], tmp_path: Path) -> None:
    """By the name of their folder their class is known, and the model is held against what it answers here."""
    for class_id in COLOURS:
        (tmp_path / "golden" / class_id).mkdir(parents=True)
        (tmp_path / "golden" / class_id / "1.jpg").write_bytes(drawing(class_id, 2001))
    done = deployed(archives["bare"], golden=tmp_path / "golden")
    assert "labels: 3 of 3" in done.said
    assert "accuracy, recorded" in done.said


def test_without_golden_photos_made_up_ones_are_sent(world: Endpoints, archives: dict[str, Path]) -> None:
    """And what they are worth is said."""
    done = deployed(archives["bare"])
    assert "no golden photos" in done.said
    assert "labels: 8 of 8" in done.said
