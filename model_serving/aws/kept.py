"""Options of an update: what is given, and for the rest what is live."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from training.aws.errors import AwsError, told
from training.aws.session import Aws
from training.errors import ConfigError

from . import endpoint
from .options import EndpointOptions
from .package import RAY_IMAGE
from .parts import VERSION_TAG
from .waiting import reason


def resolved(
    aws: Aws[EndpointOptions], given: Mapping[str, Any], live: dict[str, Any] | None, *, adopt: bool = False
) -> tuple[Aws[EndpointOptions], dict[str, Any]]:
    """The connection with its options, and those that were not `given` and come from what is live.

    ConfigError for what cannot be made of the endpoint there is, AwsError for one that cannot be updated.
    """
    if live is None:
        return aws, {}
    _require_updatable(live)
    if not adopt:
        _require_ours(aws, live)
    there = kept(aws, live)
    given = {name.replace("-", "_"): value for name, value in given.items()}
    _require_convertible(live["EndpointName"], there, given)
    if "instance_type" in given:
        there.pop("serverless_mb", None)
    if low_high := EndpointOptions.from_texts({"autoscale": given.get("autoscale", "")}).scale:
        there["instance_count"] = min(max(there.get("instance_count", 1), low_high[0]), low_high[1])
    added = {name: value for name, value in there.items() if name not in given}
    options = EndpointOptions.from_texts({**added, **given})
    return replace(aws, options=options), {k: v for k, v in added.items() if v != EndpointOptions.options()[k].default}


def _require_updatable(live: dict[str, Any]) -> None:
    name, status = live["EndpointName"], live["EndpointStatus"]
    variants = [each["VariantName"] for each in live.get("ProductionVariants", [])]
    if variants != [endpoint.VARIANT]:
        raise AwsError(f"{name} has the variants {', '.join(variants)}, so it is none of ours. Give another --endpoint")
    if status == "InService":
        return
    if status in ("Failed", "OutOfService", "UpdateRollbackFailed"):
        raise AwsError(f"{name} is {status}: {reason(live)}. Remove it first: python -m model_serving delete {name}")
    raise AwsError(f"{name} is {status}: somebody changes it right now. Wait until that is done, and deploy again")


def _require_ours(aws: Aws[Any], live: dict[str, Any]) -> None:
    name = live["EndpointName"]
    with told(f"tags of {name}"):
        tags = aws.sagemaker.list_tags(ResourceArn=live["EndpointArn"])["Tags"]
    if all(tag["Key"] != VERSION_TAG for tag in tags):
        raise AwsError(f"{name} was not made by this command: it has no tag {VERSION_TAG}. To take it over: --adopt")


def _require_convertible(name: str, there: dict[str, Any], given: Mapping[str, Any]) -> None:
    serverless = str(given.get("serverless_mb", "0")) not in ("0", "")
    if serverless and "serverless_mb" not in there:
        raise ConfigError(f"serverless_mb: {name} has machines, and AWS makes none serverless. Give another --endpoint")


def kept(aws: Aws[Any], found: dict[str, Any]) -> dict[str, Any]:
    """Options that an update keeps where none are given: those of the configuration and model that are live."""
    with told(f"looking at {found['EndpointName']}"):
        config = aws.sagemaker.describe_endpoint_config(EndpointConfigName=found["EndpointConfigName"])
        model = (
            endpoint.or_none(aws.sagemaker.describe_model, ModelName=endpoint.variant(config).get("ModelName", ""))
            or {}
        )
        tags = aws.sagemaker.list_tags(ResourceArn=config["EndpointConfigArn"])["Tags"]
    options = {**_kept_machine(endpoint.variant(config), endpoint.variant(found)), **_kept_model(model)}
    options["tags"] = [f"{t['Key']}={t['Value']}" for t in tags if not t["Key"].startswith(("whippet:", "aws:"))]
    if capture := config.get("DataCaptureConfig"):
        percent = capture.get("InitialSamplingPercentage", 100)
        options |= {"data_capture": capture["DestinationS3Uri"], "capture_percent": percent}
    # A machine with disks of its own has the key for captured data alone.
    if key := config.get("KmsKeyId") or (capture or {}).get("KmsKeyId"):
        options["kms_key"] = key
    return options


def _kept_machine(live: dict[str, Any], running: dict[str, Any]) -> dict[str, Any]:
    if serverless := live.get("ServerlessConfig"):
        return {"serverless_mb": serverless["MemorySizeInMB"], "max_concurrency": serverless["MaxConcurrency"]}
    count = running.get("DesiredInstanceCount") or live.get("InitialInstanceCount", 1)
    return {"instance_type": live.get("InstanceType", ""), "instance_count": count}


def _kept_model(model: dict[str, Any]) -> dict[str, Any]:
    image = str(model.get("PrimaryContainer", {}).get("Image", ""))
    options: dict[str, Any] = {"runtime": "ray" if f"/{RAY_IMAGE}" in image else "pytorch"}
    if image and not re.search(rf"/({re.escape(RAY_IMAGE)}|pytorch-inference:)", image):
        options["image_uri"] = image
    if role := model.get("ExecutionRoleArn"):
        options["role"] = role
    if network := model.get("VpcConfig"):
        options |= {"subnets": network["Subnets"], "security_groups": network["SecurityGroupIds"]}
    return options
