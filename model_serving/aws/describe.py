"""One endpoint as AWS has it: what it serves, on what, how much of it, how well, and for how many dollars."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from training.aws.errors import AwsError, told
from training.aws.session import Aws

from . import alarms, endpoint, prices, scaling, waiting
from .package import PATCHES_ENDED, RAY_IMAGE
from .parts import MODEL_TAG, VERSION_TAG, Parts, parts

_PYTORCH = "pytorch-inference"
_STATISTICS = {
    "invocations": ("Invocations", "Sum", 1.0),
    "errors_4xx": ("Invocation4XXErrors", "Sum", 1.0),
    "errors_5xx": ("Invocation5XXErrors", "Sum", 1.0),
    "p50_ms": ("ModelLatency", "p50", 1000.0),
    "p99_ms": ("ModelLatency", "p99", 1000.0),
}
"""Metric, statistic, and what its numbers are divided by: latencies come in microseconds."""


@dataclass(frozen=True)
class Cost:
    """Dollars an hour of the machines that run now, and so far this month if it was as many all the time.

    Serverless has no price an hour; its month is the seconds that the model worked.
    """

    hour: float | None
    month_so_far: float
    source: str


@dataclass(frozen=True)
class Description:
    """What `describe` says; `as_dict` of it is its JSON."""

    name: str
    status: str
    failure: str | None
    model: str | None
    version: str | None
    machine: str
    variants: list[dict[str, Any]]
    configuration: str | None
    archive: str | None
    image: str
    runtime: str
    autoscaling: dict[str, Any] | None
    data_capture: dict[str, Any] | None
    alarms: dict[str, str]
    created: str
    modified: str
    last_24_hours: dict[str, float | None]
    cost: Cost | None
    warnings: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    def lines(self) -> Iterator[str]:
        """For people."""
        rows: list[tuple[str, str]] = [("endpoint", f"{self.name}: {self.status}")]
        rows += [("failure", self.failure)] if self.failure else []
        rows += [
            ("model", f"{self.model or 'unknown'} {self.version or ''}".rstrip()),
            ("machine", self.machine),
            *(("variant", _variant_line(one)) for one in self.variants),
            ("runtime", f"{self.runtime}, {self.image}" if self.image else "unknown, since the model is gone"),
            ("archive", self.archive or "unknown"),
            ("autoscaling", _scaling_line(self.autoscaling)),
            ("capture", _capture_line(self.data_capture)),
            ("alarms", ", ".join(f"{name} {state}" for name, state in self.alarms.items()) or "none"),
            ("created", self.created),
            ("modified", self.modified),
            ("24 hours", _metrics_line(self.last_24_hours)),
            ("cost", self._cost_line()),
        ]
        yield from (f"{title:<12} {value}" for title, value in rows)
        yield from self.warnings

    def _cost_line(self) -> str:
        if self.cost is None:
            return f"unknown for {self.machine}; see {prices.PAGE}"
        hour = f"{self.cost.hour:g} dollars an hour, " if self.cost.hour is not None else "nothing while idle, "
        return f"{hour}about {self.cost.month_so_far:,.2f} so far this month ({self.cost.source})"


def describe(aws: Aws[Any], name: str, now: datetime | None = None) -> Description:
    """All of it; what AWS does not let us look at is a warning. AwsError where there is no such endpoint."""
    now = now or datetime.now(timezone.utc)
    seen = parts(aws, name)
    found, warnings = seen.found, [PATCHES_ENDED] if _PYTORCH in seen.image else []

    def unless_refused(look: Callable[[], Any], instead: Any) -> Any:
        try:
            return look()
        except AwsError as error:
            warnings.append(f"warning: not known, {error}")
            return instead

    scale = unless_refused(lambda: scaling.current(aws, name), None)
    failed = found.get("FailureReason") or found["EndpointStatus"] in ("Failed", "UpdateRollbackFailed")
    return Description(
        name=name,
        status=found["EndpointStatus"],
        failure=f"{waiting.reason(found)}. {waiting.log(name)}" if failed else None,
        model=seen.tags.get(MODEL_TAG),
        version=seen.tags.get(VERSION_TAG),
        machine=seen.machine,
        variants=list(_variants(seen)),
        configuration=found.get("EndpointConfigName"),
        archive=seen.model.get("PrimaryContainer", {}).get("ModelDataUrl"),
        image=seen.image,
        runtime=_runtime(seen.image),
        autoscaling=None if scale is None else asdict(scale),
        data_capture=_capture(seen),
        alarms=unless_refused(lambda: _alarms(aws, name, found), {}),
        created=found["CreationTime"].isoformat(timespec="seconds"),
        modified=found["LastModifiedTime"].isoformat(timespec="seconds"),
        last_24_hours=unless_refused(lambda: statistics(aws, seen, now - timedelta(days=1), now), {}),
        cost=unless_refused(lambda: cost(aws, seen, now), None),
        warnings=warnings,
    )


def statistics(aws: Aws[Any], seen: Parts, begin: datetime, end: datetime) -> dict[str, float | None]:
    """Of all requests in between by CloudWatch; None for a latency where nothing was asked."""
    name, variant = seen.name, endpoint.variant(seen.found).get("VariantName", endpoint.VARIANT)
    seconds = max(60, int((end - begin).total_seconds()) // 60 * 60)
    queries = [
        _query(key, metric, statistic, name, variant, seconds) for key, (metric, statistic, _) in _STATISTICS.items()
    ]
    with told(f"metrics of {name}"):
        pages = aws.boto.client("cloudwatch").get_paginator("get_metric_data")
        values: dict[str, list[float]] = {key: [] for key in _STATISTICS}
        for page in pages.paginate(MetricDataQueries=queries, StartTime=begin, EndTime=end):
            for result in page["MetricDataResults"]:
                values[result["Id"]] += result["Values"]
    return {key: _one(key, values[key], by) for key, (_, _, by) in _STATISTICS.items()}


def _query(key: str, metric: str, statistic: str, name: str, variant: str, seconds: int) -> dict[str, Any]:
    dimensions = [{"Name": "EndpointName", "Value": name}, {"Name": "VariantName", "Value": variant}]
    asked = {"Namespace": alarms.NAMESPACE, "MetricName": metric, "Dimensions": dimensions}
    return {"Id": key, "MetricStat": {"Metric": asked, "Period": seconds, "Stat": statistic}}


def _one(key: str, values: list[float], by: float) -> float | None:
    """A window may touch two of CloudWatch's: counts add up, of latencies the worse one is taken."""
    if key.startswith("p"):
        return round(max(values) / by, 1) if values else None
    return sum(values) / by


def cost(aws: Aws[Any], seen: Parts, now: datetime) -> Cost | None:
    """None where the price of the machine is unknown."""
    begin = max(seen.found["CreationTime"], now.replace(day=1, hour=0, minute=0, second=0, microsecond=0))
    if seen.serverless_mb:
        second = prices.serverless_second(aws, seen.serverless_mb)
        return Cost(None, _worked(aws, seen, begin, now) * second.dollars, second.source)
    price = prices.hourly(aws, seen.variant.get("InstanceType", ""))
    if price is None:
        return None
    hour = price.dollars * seen.machines
    return Cost(hour, hour * max(0.0, (now - begin).total_seconds()) / 3600, price.source)


def _worked(aws: Aws[Any], seen: Parts, begin: datetime, now: datetime) -> float:
    """Seconds that the model has worked."""
    variant = endpoint.variant(seen.found).get("VariantName", endpoint.VARIANT)
    with told(f"metrics of {seen.name}"):
        found = aws.boto.client("cloudwatch").get_metric_statistics(
            Namespace=alarms.NAMESPACE,
            MetricName="ModelLatency",
            Dimensions=[{"Name": "EndpointName", "Value": seen.name}, {"Name": "VariantName", "Value": variant}],
            StartTime=begin,
            EndTime=now,
            Period=86_400,
            Statistics=["Sum"],
        )
    return float(sum(point["Sum"] for point in found["Datapoints"])) / 1e6


def _variants(seen: Parts) -> Iterator[dict[str, Any]]:
    configured = {one["VariantName"]: one for one in seen.config.get("ProductionVariants", [])}
    for one in seen.found.get("ProductionVariants", []):
        own = configured.get(one["VariantName"], {})
        yield {
            "name": one["VariantName"],
            "model": own.get("ModelName"),
            "instance_type": own.get("InstanceType"),
            "serverless": own.get("ServerlessConfig"),
            "current": one.get("CurrentInstanceCount"),
            "desired": one.get("DesiredInstanceCount"),
            "weight": one.get("CurrentWeight"),
        }


def _runtime(image: str) -> str:
    if not image:
        return "unknown"
    return "ray" if f"/{RAY_IMAGE}" in image else "pytorch" if _PYTORCH in image else "image of your own"


def _capture(seen: Parts) -> dict[str, Any] | None:
    capture = seen.found.get("DataCaptureConfig")
    if not capture:
        return None
    configured = seen.config.get("DataCaptureConfig", {})
    percent = capture.get("CurrentSamplingPercentage", configured.get("InitialSamplingPercentage"))
    return {
        "uri": capture.get("DestinationS3Uri"),
        "percent": percent,
        "on": capture.get("CaptureStatus", "Started") == "Started" and capture.get("EnableCapture", True),
    }


def _alarms(aws: Aws[Any], name: str, found: dict[str, Any]) -> dict[str, str]:
    """Ours, and those that the last update was watched by."""
    rollback = found.get("LastDeploymentConfig", {}).get("AutoRollbackConfiguration", {})
    others = [alarm["AlarmName"] for alarm in rollback.get("Alarms", [])]
    return alarms.state(aws, list(dict.fromkeys([*alarms.names(name), *others])))


def _variant_line(one: dict[str, Any]) -> str:
    if one["serverless"]:
        return f"{one['name']}: model {one['model']}, {one['serverless'].get('MaxConcurrency')} requests at once"
    return f"{one['name']}: model {one['model']}, {one['current']} of {one['desired']} machines run"


def _scaling_line(scale: dict[str, Any] | None) -> str:
    if not scale:
        return "none"
    return f"{scale['least']} to {scale['most']} machines" + (", suspended" if scale["suspended"] else "")


def _capture_line(capture: dict[str, Any] | None) -> str:
    return f"{capture['percent']} % to {capture['uri']}{'' if capture['on'] else ', stopped'}" if capture else "none"


def _metrics_line(values: dict[str, float | None]) -> str:
    if not values:
        return "unknown"
    counts = f"{values['invocations'] or 0:,.0f} requests"
    errors = f"{values['errors_4xx'] or 0:,.0f} refused (4XX), {values['errors_5xx'] or 0:,.0f} failed (5XX)"
    if values["p50_ms"] is None:
        return f"{counts}, {errors}"
    return f"{counts}, {errors}, half within {values['p50_ms']:g} ms, 99 of 100 within {values['p99_ms']:g} ms"
