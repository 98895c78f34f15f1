"""An endpoint with what it names: its configuration, the model of that, and the tags that make it one of ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from training.aws.errors import AwsError, told
from training.aws.session import Aws

from . import endpoint

VERSION_TAG, MODEL_TAG = "whippet:version", "whippet:model"
"""Endpoints with the first are ours."""


@dataclass(frozen=True)
class Parts:
    """An endpoint as described by AWS, with what it names; {} for what is not there any more."""

    found: dict[str, Any]
    config: dict[str, Any]
    model: dict[str, Any]
    tags: dict[str, str]

    @property
    def name(self) -> str:
        """Of the endpoint."""
        return str(self.found["EndpointName"])

    @property
    def variant(self) -> dict[str, Any]:
        """Its first, as configured."""
        return endpoint.variant(self.config)

    @property
    def machines(self) -> int:
        """That run now, 0 of serverless ones."""
        return int(endpoint.variant(self.found).get("CurrentInstanceCount") or 0)

    @property
    def serverless_mb(self) -> int:
        """Memory of a serverless endpoint, else 0."""
        return int(self.variant.get("ServerlessConfig", {}).get("MemorySizeInMB", 0))

    @property
    def machine(self) -> str:
        """As people say it: `2 x ml.m5.xlarge`, `serverless 2048 MB`."""
        if self.serverless_mb:
            return f"serverless {self.serverless_mb} MB"
        return f"{self.machines} x {self.variant.get('InstanceType', 'unknown machine')}"

    @property
    def image(self) -> str:
        """Of the model's container."""
        return str(self.model.get("PrimaryContainer", {}).get("Image", ""))


def parts(aws: Aws[Any], name: str) -> Parts:
    """AwsError where there is no such endpoint."""
    found = endpoint.describe(aws, name)
    if found is None:
        raise AwsError(
            f"there is no endpoint {name} in {aws.region}. Those of ours: python -m model_serving list", "Gone"
        )
    return of(aws, found)


def of(aws: Aws[Any], found: dict[str, Any]) -> Parts:
    """The parts of a described endpoint."""
    with told(f"looking at {found['EndpointName']}"):
        config = _or_none(aws.sagemaker.describe_endpoint_config, EndpointConfigName=found.get("EndpointConfigName"))
        model = _or_none(aws.sagemaker.describe_model, ModelName=endpoint.variant(config).get("ModelName"))
        tags = tags_of(aws, found["EndpointArn"])
        if model:  # an update leaves the endpoint's own tags as they were
            tags |= tags_of(aws, model["ModelArn"])
    return Parts(found, config, model, tags)


def tags_of(aws: Aws[Any], arn: str) -> dict[str, str]:
    """By key; botocore's errors as they are."""
    pages = aws.sagemaker.get_paginator("list_tags").paginate(ResourceArn=arn)
    return {tag["Key"]: tag["Value"] for page in pages for tag in page["Tags"]}


def _or_none(look: Any, **request: str | None) -> dict[str, Any]:
    from botocore.exceptions import ClientError

    if not all(request.values()):
        return {}
    try:
        found: dict[str, Any] = look(**request)
    except ClientError as error:
        if not endpoint.is_gone(error):
            raise
        return {}
    return found
