"""Endpoints, requests to them and photos in a world of tests, as deployments and callers leave them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError

from model_serving.aws import alarms, scaling
from model_serving.aws.options import EndpointOptions
from tests.aws_world import BUCKET, ROLE, World
from training.aws.session import Aws, connect

PYTORCH = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-inference:2.6.0-cpu-py312"
RAY = "763104351884.dkr.ecr.us-east-1.amazonaws.com/ray:serve-ml-sagemaker-cpu"
VERSION = "0123456789ab"
ROLE_ARN = f"arn:aws:iam::123456789012:role/{ROLE}"


def connection(**options: Any) -> Aws[EndpointOptions]:
    """With the world's bucket and role, and two tries a request."""
    return connect(EndpointOptions(**{"bucket": BUCKET, "role": ROLE, **options}), attempts=2)


def tags(version: str = VERSION, **more: str) -> list[dict[str, str]]:
    """Ours."""
    found = {"whippet:model": "dogs", "whippet:version": version, **more}
    return [{"Key": key, "Value": value} for key, value in found.items()]


def make_model(aws: Aws[Any], name: str, image: str = PYTORCH) -> None:
    """A model of ours."""
    container = {"Image": image, "ModelDataUrl": f"s3://{BUCKET}/whippet/models/{name}/model.tar.gz"}
    aws.sagemaker.create_model(
        ModelName=name, ExecutionRoleArn=ROLE_ARN, PrimaryContainer=container, Tags=tags()
    )  # fmt: skip


def make_config(
    aws: Aws[Any], name: str, model: str, *, machines: int = 1, serverless: int = 0, capture: str = "", former: str = ""
) -> None:
    """A configuration of ours."""
    machine: dict[str, Any] = {"InstanceType": "ml.m5.xlarge", "InitialInstanceCount": machines}
    if serverless:
        machine = {"ServerlessConfig": {"MemorySizeInMB": serverless, "MaxConcurrency": 5}}
    variant = {"VariantName": "AllTraffic", "ModelName": model, "InitialVariantWeight": 1.0, **machine}
    more: dict[str, Any] = {}
    if capture:
        more["DataCaptureConfig"] = {
            "EnableCapture": True,
            "InitialSamplingPercentage": 50,
            "DestinationS3Uri": capture,
            "CaptureOptions": [{"CaptureMode": "Input"}],
        }
    ours = tags(**({"whippet:former": former} if former else {}))
    aws.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant], Tags=ours, **more)


def make_endpoint(aws: Aws[Any], name: str, *, image: str = PYTORCH, protected: bool = False, **config: Any) -> str:
    """An endpoint as deployed; returns the name of its model and configuration."""
    unique = f"{name}-{VERSION}-261125-0900-abcd"
    make_model(aws, unique, image)
    make_config(aws, unique, unique, **config)
    aws.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=unique, Tags=tags())
    if protected:
        wanted = scaling.wanted(EndpointOptions(autoscale="1:4"))
        assert wanted is not None
        scaling.put(aws, name, wanted)
        alarms.put(aws, name, tags())
    return unique


def asked(
    world: World, name: str, when: datetime, metric: str = "Invocations", values: Sequence[float] = (1.0,)
) -> None:
    """Requests to an endpoint, as SageMaker counts them."""
    dimensions = [{"Name": "EndpointName", "Value": name}, {"Name": "VariantName", "Value": "AllTraffic"}]
    data = [
        {"MetricName": metric, "Dimensions": dimensions, "Value": value, "Timestamp": when} for value in values
    ]  # fmt: skip
    world.client("cloudwatch").put_metric_data(Namespace="AWS/SageMaker", MetricData=data)


def days(number: float) -> timedelta:
    """For tests that look from a later day."""
    return timedelta(days=number)


def later(number: float) -> datetime:
    """So many days from now: what is made in a test is made now."""
    return datetime.now(timezone.utc) + days(number)


def count_percentiles(patch: pytest.MonkeyPatch) -> None:
    """moto's CloudWatch knows none."""
    from moto.cloudwatch.models import Statistics

    known = Statistics.get_statistics_for_type

    def statistic(self: Any, stat: str) -> Any:
        if not stat.startswith("p"):
            return known(self, stat)
        values = sorted(self.metric_single_values_list)
        return values[min(len(values) - 1, int(len(values) * float(stat[1:]) / 100))]

    patch.setattr(Statistics, "get_statistics_for_type", statistic)


def left(aws: Aws[Any]) -> set[str]:
    """Names of all that is there."""
    client = aws.sagemaker
    found = {one["EndpointName"] for one in client.list_endpoints()["Endpoints"]}
    found |= {one["EndpointConfigName"] for one in client.list_endpoint_configs()["EndpointConfigs"]}
    return found | {one["ModelName"] for one in client.list_models()["Models"]}


def fail(monkeypatch: pytest.MonkeyPatch, operation: str) -> None:
    """One request ends in an error, as where the network is lost."""
    client: Any = BaseClient
    original = client._make_api_call

    def call(self: Any, name: str, params: dict[str, Any]) -> Any:
        if name == operation:
            raise ClientError({"Error": {"Code": "InternalFailure", "Message": "lost"}}, name)
        return original(self, name, params)

    monkeypatch.setattr(client, "_make_api_call", call)
