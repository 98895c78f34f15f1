"""Autoscaling of an endpoint by requests a machine; it is kept over an update, which takes no machine away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from training.aws.errors import AwsError, told
from training.aws.session import Aws
from training.aws.upload import Say

from .endpoint import VARIANT
from .options import EndpointOptions

POLICY = "whippet-requests"
DIMENSION = "sagemaker:variant:DesiredInstanceCount"
METRIC = "SageMakerVariantInvocationsPerInstance"

TARGET = {"cpu": 300, "gpu": 3000}
"""Requests a machine and minute where none are given: about half of what one answers with ResNet50."""

OUT_SECONDS, IN_SECONDS = 60, 600
"""Scaling in waits ten times as long as scaling out: a pause between two batches takes no machine away."""


@dataclass(frozen=True)
class Scaling:
    """Least and most machines, and the policies as AWS keeps them."""

    least: int
    most: int
    policies: tuple[dict[str, Any], ...]


def wanted(options: EndpointOptions) -> Scaling | None:
    """What the options ask for; None where they ask for none."""
    if options.scale is None:
        return None
    target = options.autoscale_target or TARGET["gpu" if options.has_gpu else "cpu"]
    tracking = {
        "TargetValue": float(target),
        "PredefinedMetricSpecification": {"PredefinedMetricType": METRIC},
        "ScaleOutCooldown": OUT_SECONDS,
        "ScaleInCooldown": IN_SECONDS,
    }
    policy = {
        "PolicyName": POLICY,
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": tracking,
    }
    return Scaling(*options.scale, (policy,))


def current(aws: Aws[Any], endpoint: str) -> Scaling | None:
    """What AWS scales the endpoint by now."""
    with told(f"autoscaling of {endpoint}"):
        client = _client(aws)
        which = {"ServiceNamespace": "sagemaker", "ScalableDimension": DIMENSION}
        targets = client.describe_scalable_targets(ResourceIds=[_resource(endpoint)], **which)["ScalableTargets"]
        if not targets:
            return None
        found = client.describe_scaling_policies(ResourceId=_resource(endpoint), **which)["ScalingPolicies"]
    keys = ("PolicyName", "PolicyType", "TargetTrackingScalingPolicyConfiguration", "StepScalingPolicyConfiguration")
    policies = tuple({key: one[key] for key in keys if key in one} for one in found)
    return Scaling(targets[0]["MinCapacity"], targets[0]["MaxCapacity"], policies)


def put(aws: Aws[Any], endpoint: str, scaling: Scaling) -> None:
    """Make or renew it, with nothing suspended."""
    with told(f"autoscaling of {endpoint}"):
        client = _client(aws)
        client.register_scalable_target(
            **_which(endpoint),
            MinCapacity=scaling.least,
            MaxCapacity=scaling.most,
            SuspendedState=_suspended(False),
        )
        for policy in scaling.policies:
            client.put_scaling_policy(**_which(endpoint), **policy)


def delete(aws: Aws[Any], endpoint: str) -> None:
    """Remove it with its policies; where there is none it is no error."""
    if current(aws, endpoint) is not None:
        with told(f"autoscaling of {endpoint}"):
            _client(aws).deregister_scalable_target(**_which(endpoint))


@contextmanager
def protected(
    aws: Aws[Any],
    endpoint: str,
    before: Scaling | None,
    after: Scaling | None,
    *,
    replaced: bool,
    say: Say,
) -> Iterator[None]:
    """While an endpoint is updated no machine is taken away; then it scales as before, or as `after` says.

    AWS refuses to update one whose machine type changes while it is scaled: where it is `replaced`, autoscaling is
    removed and made anew. An update that failed or was interrupted leaves what was there before.
    """
    if before is None:
        yield
    elif replaced:
        say(f"{endpoint}: autoscaling pauses, since the machines change")
        delete(aws, endpoint)
        with _restored(aws, endpoint, before):
            yield
    else:
        with told(f"autoscaling of {endpoint}"):
            _client(aws).register_scalable_target(**_which(endpoint), SuspendedState=_suspended(True))
        with _restored(aws, endpoint, before):
            yield
    settle(aws, endpoint, before, after, say)


def settle(aws: Aws[Any], endpoint: str, before: Scaling | None, after: Scaling | None, say: Say) -> None:
    """From what was to what is wanted."""
    if after is not None:
        put(aws, endpoint, after)
        say(f"{endpoint}: scales from {after.least} to {after.most} machines by itself")
    elif before is not None:
        delete(aws, endpoint)
        say(f"{endpoint}: no longer scales by itself")


@contextmanager
def _restored(aws: Aws[Any], endpoint: str, before: Scaling) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        try:
            put(aws, endpoint, before)
        except AwsError as other:
            raise AwsError(f"{error}; and {other}", getattr(error, "code", "")) from error
        raise


def _suspended(inward: bool) -> dict[str, bool]:
    return {
        "DynamicScalingInSuspended": inward,
        "DynamicScalingOutSuspended": False,
        "ScheduledScalingSuspended": False,
    }


def _which(endpoint: str) -> dict[str, str]:
    return {"ServiceNamespace": "sagemaker", "ResourceId": _resource(endpoint), "ScalableDimension": DIMENSION}


def _resource(endpoint: str) -> str:
    return f"endpoint/{endpoint}/variant/{VARIANT}"


def _client(aws: Aws[Any]) -> Any:
    return aws.boto.client("application-autoscaling")
