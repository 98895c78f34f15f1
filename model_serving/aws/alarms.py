"""CloudWatch alarms that roll an update back: two of ours for each endpoint, and those that the user names."""

from __future__ import annotations

from typing import Any

from training.aws.errors import AwsError, told
from training.aws.session import Aws
from training.aws.upload import Say

from .endpoint import VARIANT
from .options import EndpointOptions

NAMESPACE = "AWS/SageMaker"

ERROR_SHARE = 0.02
"""Of a minute's requests that end in a 5XX."""

SLOW_SECONDS = 5.0
"""95 of 100 requests of a minute are answered sooner, unless the gate has measured more."""


def names(endpoint: str) -> list[str]:
    """Of our alarms."""
    return [f"whippet-{endpoint}-errors", f"whippet-{endpoint}-latency"]


def put(aws: Aws[Any], endpoint: str, tags: list[dict[str, str]], slow_ms: float = 0.0) -> list[str]:
    """Make or renew our alarms; returns their names. `slow_ms` is the latency that the gate allows."""
    errors, latency = names(endpoint)
    slowest = max(SLOW_SECONDS * 1e6, slow_ms * 1e3)
    shared: dict[str, Any] = {
        "Namespace": NAMESPACE,
        "Dimensions": [
            {"Name": "EndpointName", "Value": endpoint},
            {"Name": "VariantName", "Value": VARIANT},
        ],
        "Period": 60,
        "EvaluationPeriods": 1,
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": "notBreaching",
        "Tags": tags,
    }
    with told(f"alarms of {endpoint}"):
        client = aws.boto.client("cloudwatch")
        client.put_metric_alarm(
            AlarmName=errors,
            AlarmDescription="Share of a minute's requests that ended in a 5XX",
            MetricName="Invocation5XXErrors",
            Statistic="Average",
            Threshold=ERROR_SHARE,
            **shared,
        )
        client.put_metric_alarm(
            AlarmName=latency,
            AlarmDescription="Microseconds within which 95 of 100 requests of a minute are answered",
            MetricName="ModelLatency",
            ExtendedStatistic="p95",
            Threshold=slowest,
            **shared,
        )
    return [errors, latency]


def require_quiet(aws: Aws[Any], options: EndpointOptions) -> None:
    """AwsError where an alarm of the user's is not there or rings already: AWS would roll back at once."""
    if not options.alarms:
        return
    states = state(aws, list(options.alarms))
    if missing := [name for name in options.alarms if name not in states]:
        raise AwsError(f"alarms: there is no CloudWatch alarm {missing[0]} in {aws.region}. Check --alarms")
    if ringing := [name for name, value in states.items() if value == "ALARM"]:
        raise AwsError(f"alarms: {ringing[0]} rings already, so an update would be rolled back. Quiet it first")


def quiet(aws: Aws[Any], endpoint: str, say: Say) -> list[str]:
    """Those of ours that do not ring. They ring where what is live is broken; then AWS would roll its mend back."""
    ours = names(endpoint)
    rung = ringing(aws, ours)
    for name in rung:
        say(f"warning: {name} rings already, for what is live; it does not watch this update")
    return [name for name in ours if name not in rung]


def ringing(aws: Aws[Any], wanted: list[str]) -> list[str]:
    """Those in alarm."""
    return [name for name, value in state(aws, wanted).items() if value == "ALARM"]


def state(aws: Aws[Any], wanted: list[str]) -> dict[str, str]:
    """OK, ALARM or INSUFFICIENT_DATA by name, of those that are there."""
    if not wanted:
        return {}
    with told("the alarms"):
        found = aws.boto.client("cloudwatch").describe_alarms(
            AlarmNames=wanted, AlarmTypes=["MetricAlarm", "CompositeAlarm"]
        )
    alarms = [*found.get("MetricAlarms", []), *found.get("CompositeAlarms", [])]
    return {alarm["AlarmName"]: alarm["StateValue"] for alarm in alarms}


def delete(aws: Aws[Any], endpoint: str) -> None:
    """Remove our alarms; those that are not there are no error."""
    there = list(state(aws, names(endpoint)))
    if there:
        with told(f"alarms of {endpoint}"):
            aws.boto.client("cloudwatch").delete_alarms(AlarmNames=there)
