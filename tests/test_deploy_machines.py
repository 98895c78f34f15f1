"""What a deployment asks AWS for, as it is sent, and what an update keeps of it."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from model_serving.aws import scaling
from tests import endpoint_world
from tests.endpoint_world import CALM, Endpoints, attempt, deployed, variant, versions
from training.aws.errors import AwsError
from training.errors import ConfigError

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def test_autoscaling_protects_what_runs_while_it_updates(world: Endpoints, archives: dict[str, Path]) -> None:
    """No machine is taken away meanwhile, their number is kept, and afterwards it scales as before."""
    deployed(archives["good"], autoscale="2:4", autoscale_target="120")
    client = world.world.client("application-autoscaling")

    def target() -> dict[str, Any]:
        (found,) = client.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
        return dict(found)

    (policy,) = client.describe_scaling_policies(ServiceNamespace="sagemaker")["ScalingPolicies"]
    tracking = policy["TargetTrackingScalingPolicyConfiguration"]
    assert tracking["TargetValue"] == 120
    assert tracking["ScaleInCooldown"] > tracking["ScaleOutCooldown"]
    assert tracking["PredefinedMetricSpecification"]["PredefinedMetricType"] == "SageMakerVariantInvocationsPerInstance"
    assert (target()["MinCapacity"], target()["MaxCapacity"]) == (2, 4)
    world.backend.endpoints["dogs"].production_variants[0].update(CurrentInstanceCount=4, DesiredInstanceCount=4)
    update = attempt(archives["newer"], **CALM)
    suspended: list[bool] = []
    update.made.aws.sagemaker.meta.events.register(
        "before-call.sagemaker.UpdateEndpoint",
        lambda **_: suspended.append(target()["SuspendedState"]["DynamicScalingInSuspended"]),
    )
    update.go()
    assert suspended == [True]
    assert target()["SuspendedState"]["DynamicScalingInSuspended"] is False
    (request,) = update.sent["UpdateEndpoint"]
    assert request["RetainAllVariantProperties"] is True
    assert request["ExcludeRetainedVariantProperties"] == [{"VariantPropertyType": "DataCaptureConfig"}]
    assert world.backend.endpoints["dogs"].production_variants[0]["DesiredInstanceCount"] == 4


def test_autoscaling_outlives_another_machine_and_ends_on_request(world: Endpoints, archives: dict[str, Path]) -> None:
    """AWS refuses another machine while it scales, so it is made anew, also where the update fails."""
    deployed(archives["good"], autoscale="1:3")
    before = scaling.current(endpoint_world.connection(), "dogs")
    world.rolls_back = "no"
    with pytest.raises(AwsError):
        attempt(archives["newer"], gate=False, instance_type="ml.c5.xlarge").go()
    assert scaling.current(endpoint_world.connection(), "dogs") == before
    world.rolls_back = ""
    deployed(archives["newer"], gate=False, instance_type="ml.c5.xlarge")
    assert scaling.current(endpoint_world.connection(), "dogs") == before
    deployed(archives["newest"], gate=False, autoscale="off")
    assert scaling.current(endpoint_world.connection(), "dogs") is None


def test_serverless_stays_serverless(world: Endpoints, archives: dict[str, Path]) -> None:
    """Without guardrails, which it has none of; what it was made with is kept where an update names nothing."""
    done = deployed(archives["good"], serverless_mb="3072", max_concurrency="7")
    (config,) = done.sent["CreateEndpointConfig"]
    assert variant(config)["ServerlessConfig"] == {"MemorySizeInMB": 3072, "MaxConcurrency": 7}
    assert "InstanceType" not in variant(config)
    environment = done.sent["CreateModel"][0]["PrimaryContainer"]["Environment"]
    assert (environment["LOG_LOCATION"], environment["OMP_NUM_THREADS"]) == ("/tmp", "3")
    update = deployed(archives["newer"], **CALM)
    assert variant(update.sent["CreateEndpointConfig"][0])["ServerlessConfig"]["MemorySizeInMB"] == 3072
    assert set(update.sent["UpdateEndpoint"][0]) == {"EndpointName", "EndpointConfigName"}
    assert world.world.client("cloudwatch").describe_alarms()["MetricAlarms"] == []


def test_machines_cannot_become_serverless(world: Endpoints, archives: dict[str, Path]) -> None:
    """AWS refuses it, so it is told before anything is made."""
    deployed(archives["good"])
    with pytest.raises(ConfigError, match="serverless_mb: dogs has machines"):
        attempt(archives["good"], serverless_mb="2048")


def test_network_keys_tags_and_capture_are_sent_and_kept(world: Endpoints, archives: dict[str, Path]) -> None:
    """Once given, an update keeps them; the candidate's requests are not captured."""
    given = {
        "subnets": "subnet-1,subnet-2", "security_groups": "sg-1", "kms_key": "alias/k", "tags": "team=vision",
        "data_capture": "s3://captured/dogs", "capture_percent": "25",
    }  # fmt: skip
    done = deployed(archives["good"], **given)
    network = {"Subnets": ["subnet-1", "subnet-2"], "SecurityGroupIds": ["sg-1"]}
    for step in (done, deployed(archives["newer"], **CALM)):
        model, config = step.sent["CreateModel"][0], step.sent["CreateEndpointConfig"][0]
        assert model["VpcConfig"] == network
        assert config["KmsKeyId"] == "alias/k"
        capture = config["DataCaptureConfig"]
        assert (capture["DestinationS3Uri"], capture["InitialSamplingPercentage"]) == ("s3://captured/dogs", 25)
        assert capture["CaptureOptions"] == [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}]
        assert versions(config["Tags"])["team"] == "vision"
    assert "DataCaptureConfig" not in step.sent["CreateEndpointConfig"][1]
    bucket, _, key = done.made.hosted.uri.removeprefix("s3://").partition("/")
    assert world.world.client("s3").head_object(Bucket=bucket, Key=key)["ServerSideEncryption"] == "aws:kms"
    ended = deployed(archives["good"], gate=False, data_capture="off")
    assert "DataCaptureConfig" not in ended.sent["CreateEndpointConfig"][0]


def test_ray_serve_gets_its_image_and_settings(world: Endpoints, archives: dict[str, Path]) -> None:
    """A replica for each GPU, and the machine image whose driver fits; an update stays with it."""
    done = deployed(archives["good"], runtime="ray", instance_type="ml.g5.12xlarge")
    container = done.sent["CreateModel"][0]["PrimaryContainer"]
    assert container["Image"] == "763104351884.dkr.ecr.us-east-1.amazonaws.com/ray:serve-ml-sagemaker-cuda"
    assert variant(done.sent["CreateEndpointConfig"][0])["InferenceAmiVersion"].startswith("al2")
    with tarfile.open(fileobj=io.BytesIO(world.archive("dogs"))) as tar:
        settings = tar.extractfile("config.yaml")
        assert settings is not None
        text = settings.read().decode()
    assert "min_replicas: 4" in text
    assert "num_gpus: 1" in text
    assert attempt(archives["newer"]).made.options.runtime == "ray"


def test_an_image_and_role_of_your_own_are_kept(world: Endpoints, archives: dict[str, Path]) -> None:
    """Not those of AWS, which follow runtime and machine."""
    image = "123456789012.dkr.ecr.us-east-1.amazonaws.com/mine:1"
    deployed(archives["good"], gate=False, image_uri=image)
    update = attempt(archives["newer"], gate=False, instance_type="ml.g4dn.xlarge")
    assert update.made.hosted.image == image
    assert update.made.options.instance_type == "ml.g4dn.xlarge"
    deployed(archives["good"], "cats", gate=False)
    update = attempt(archives["newer"], "cats", gate=False, instance_type="ml.g4dn.xlarge")
    assert update.made.hosted.image.endswith("pytorch-inference:2.6.0-gpu-py312")


def test_serverless_can_get_machines_with_a_warning(world: Endpoints, archives: dict[str, Path]) -> None:
    """There is no way back."""
    deployed(archives["good"], gate=False, serverless_mb="2048")
    update = deployed(archives["newer"], gate=False, instance_type="ml.c5.large")
    assert variant(update.sent["CreateEndpointConfig"][0])["InstanceType"] == "ml.c5.large"
    assert "it cannot be rolled back" in update.said
    assert "DeploymentConfig" not in update.sent["UpdateEndpoint"][0]


def test_a_miss_on_what_was_serverless_tries_no_way_back(
    world: Endpoints, archives: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is none; that the new model serves is told."""
    deployed(archives["good"], gate=False, serverless_mb="2048")
    update = attempt(archives["newer"], gate=False, instance_type="ml.c5.large")

    def miss(*_: Any) -> None:
        raise AwsError("it answers no photo")

    monkeypatch.setattr("model_serving.aws.trial.answer", miss)
    with pytest.raises(AwsError, match="no photo"):
        update.go()
    assert len(update.sent["UpdateEndpoint"]) == 1
    assert "dogs serves the new model still" in update.said
    assert update.made.names.config in world.names()["configs"]


def test_a_rollback_keeps_the_number_of_machines(
    world: Endpoints, archives: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was raised by hand since the former configuration was made with one."""
    deployed(archives["good"], gate=False)
    world.backend.endpoints["dogs"].production_variants[0].update(CurrentInstanceCount=4, DesiredInstanceCount=4)
    update = attempt(archives["newer"], gate=False)

    def miss(*_: Any) -> None:
        raise AwsError("it answers no photo")

    monkeypatch.setattr("model_serving.aws.trial.answer", miss)
    with pytest.raises(AwsError, match="no photo"):
        update.go()
    assert update.sent["UpdateEndpoint"][1]["RetainAllVariantProperties"] is True
    assert world.backend.endpoints["dogs"].production_variants[0]["DesiredInstanceCount"] == 4


def test_autoscaling_that_cannot_be_set_is_not_left_suspended(
    world: Endpoints, archives: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The update is done; machines are taken away again as before."""
    deployed(archives["good"], gate=False, autoscale="1:3")
    update = attempt(archives["newer"], gate=False)

    def refuse(*_: Any) -> None:
        raise AwsError("autoscaling of dogs: throttled")

    monkeypatch.setattr("model_serving.aws.scaling.put", refuse)
    with pytest.raises(AwsError, match="throttled"):
        update.go()
    found = scaling.current(update.made.aws, "dogs")
    assert found is not None
    assert not found.suspended


def test_a_first_deployment_that_fails_at_autoscaling_leaves_none(
    world: Endpoints, archives: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the target either, which was made before the policy was refused."""
    failed = attempt(archives["good"], gate=False, autoscale="1:3")
    put = scaling.put

    def half(aws: Any, name: str, wanted: scaling.Scaling) -> None:
        put(aws, name, wanted)
        raise AwsError("autoscaling of dogs: throttled")

    monkeypatch.setattr("model_serving.aws.scaling.put", half)
    with pytest.raises(AwsError, match="throttled"):
        failed.go()
    assert scaling.current(failed.made.aws, "dogs") is None
    assert world.names()["endpoints"] == []
