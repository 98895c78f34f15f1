"""Autoscaling of an endpoint by requests a machine; it is kept over an update, which takes no machine away."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
    suspended: bool = False
    """It takes no machine away, or adds none."""


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
    target = targets[0]
    suspended = any(target.get("SuspendedState", {}).values())
    return Scaling(target["MinCapacity"], target["MaxCapacity"], policies, suspended)


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


@dataclass
class Hold:
    """Whether the update goes on at AWS without us; then nothing is put back in the middle of it."""

    left: bool = False


@contextmanager
def protected(
    aws: Aws[Any],
    endpoint: str,
    before: Scaling | None,
    after: Scaling | None,
    *,
    replaced: bool,
    say: Say,
) -> Iterator[Hold]:
    """While an endpoint is updated no machine is taken away; then it scales as before, or as `after` says.

    AWS refuses to update one whose machine type changes while it is scaled: where it is `replaced`, autoscaling is
    removed and made anew. An update that failed leaves what was there before; one that is left to AWS leaves it
    suspended or removed, and the commands that settle it are told.
    """
    hold = Hold()
    try:
        if before is not None:
            _hold(aws, endpoint, replaced=replaced, say=say)
        yield hold
    except BaseException as error:
        if hold.left:
            _tell(aws, endpoint, before, after, replaced=replaced, say=say)
        elif before is not None:
            _restore(aws, endpoint, before, error)
        raise
    try:
        settle(aws, endpoint, before, after, say)
    except BaseException:
        if before is not None and not replaced:
            with suppress(AwsError):
                _suspend(aws, endpoint, inward=False)
        raise


def settle(aws: Aws[Any], endpoint: str, before: Scaling | None, after: Scaling | None, say: Say) -> None:
    """From what was to what is wanted."""
    if after is not None:
        put(aws, endpoint, after)
        say(f"{endpoint}: scales from {after.least} to {after.most} machines by itself")
    elif before is not None:
        delete(aws, endpoint)
        say(f"{endpoint}: no longer scales by itself")


def _hold(aws: Aws[Any], endpoint: str, *, replaced: bool, say: Say) -> None:
    if replaced:
        say(f"{endpoint}: autoscaling pauses, since the machines change")
        delete(aws, endpoint)
    else:
        _suspend(aws, endpoint, inward=True)


def _suspend(aws: Aws[Any], endpoint: str, *, inward: bool) -> None:
    with told(f"autoscaling of {endpoint}"):
        _client(aws).register_scalable_target(**_which(endpoint), SuspendedState=_suspended(inward))


def _restore(aws: Aws[Any], endpoint: str, before: Scaling, error: BaseException) -> None:
    try:
        put(aws, endpoint, before)
    except AwsError as other:
        raise AwsError(f"{error}; and {other}", getattr(error, "code", "")) from error


def _tell(
    aws: Aws[Any], endpoint: str, before: Scaling | None, after: Scaling | None, *, replaced: bool, say: Say
) -> None:
    """How to settle it once AWS is done."""
    if before is None and after is None:
        return
    state = "is suspended" if before is not None and not replaced else "is not set up"
    say(f"{endpoint}: autoscaling {state} while AWS changes it. Once it is in service:")
    for line in _commands(aws, endpoint, after):
        say(f"  {line}")


def _commands(aws: Aws[Any], endpoint: str, after: Scaling | None) -> Iterator[str]:
    which = (
        f"--service-namespace sagemaker --resource-id {_resource(endpoint)} --scalable-dimension {DIMENSION} "
        f"--region {aws.region}"
    )
    begin = "aws application-autoscaling"
    if after is None:
        yield f"{begin} deregister-scalable-target {which}"
        return
    state = ",".join(f"{key}=false" for key in _suspended(False))
    low_high = f"--min-capacity {after.least} --max-capacity {after.most}"
    yield f"{begin} register-scalable-target {which} {low_high} --suspended-state {state}"
    for policy in after.policies:
        yield f"{begin} put-scaling-policy {which} --cli-input-json {shlex.quote(json.dumps(policy))}"


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
