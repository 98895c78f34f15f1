"""Endpoints of ours, what they cost, and which of them nobody asks anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from training.aws.errors import told
from training.aws.pricelist import Price
from training.aws.session import Aws

from . import alarms, endpoint, prices
from .parts import MODEL_TAG, VERSION_TAG, Parts, of, tags_of

WINDOW_DAYS = 90
"""How far back invocations are looked for."""

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Listed:
    """An endpoint in one line. `idle_days` are full days without a request, since it was made where there was none."""

    name: str
    status: str
    model: str | None
    version: str | None
    machine: str
    age_days: int
    dollars_a_month: float | None
    last_invocation: str | None
    idle_days: int


def ours(aws: Aws[Any], *, foreign: bool = False) -> Iterator[dict[str, Any]]:
    """ListEndpoints' summaries of those with our tag, the oldest first; with `foreign` of all."""
    with told("the endpoints"):
        pages = aws.sagemaker.get_paginator("list_endpoints").paginate(SortBy="CreationTime", SortOrder="Ascending")
        for page in pages:
            for found in page["Endpoints"]:
                if foreign or VERSION_TAG in tags_of(aws, found["EndpointArn"]):
                    yield found


def listed(aws: Aws[Any], *, foreign: bool = False, now: datetime | None = None) -> list[Listed]:
    """One by one, with their cost and last request; those that vanish meanwhile are left out."""
    now = now or datetime.now(timezone.utc)
    known: dict[str, Price | None] = {}
    found = [endpoint.describe(aws, one["EndpointName"]) for one in ours(aws, foreign=foreign)]
    return [_listed(aws, of(aws, one), known, now) for one in found if one is not None]


def idle(found: list[Listed], days: int) -> list[Listed]:
    """Those without a request for so many days."""
    return [one for one in found if one.idle_days >= days]


def lines(found: list[Listed]) -> Iterator[str]:
    """A table."""
    head = ("endpoint", "status", "model", "machine", "age", "dollars a month", "last request")
    rows = [head, *(_row(one) for one in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def conclusion(found: list[Listed], days: int, region: str) -> str:
    """What idle endpoints cost together, and how to be rid of them."""
    if not found:
        return f"no endpoint has been idle for {days} days"
    known = [one.dollars_a_month for one in found if one.dollars_a_month is not None]
    more = f" and {len(found) - len(known)} of unknown price" if len(known) < len(found) else ""
    count = f"{len(found)} endpoint{'s' if len(found) > 1 else ''}"
    name = found[0].name if len(found) == 1 else "NAME"
    return (
        f"{count} idle for {days} days: {sum(known):,.2f} dollars a month{more}. "
        f"To remove: python -m model_serving delete {name} --region {region}"
    )


def _row(one: Listed) -> tuple[str, ...]:
    model = f"{one.model or '-'} {one.version or ''}".rstrip()
    dollars = "unknown" if one.dollars_a_month is None else f"{one.dollars_a_month:,.2f}"
    last = one.last_invocation or f"none in {min(one.age_days, WINDOW_DAYS)} d"
    return one.name, one.status, model, one.machine, f"{one.age_days} d", dollars, last


def _listed(aws: Aws[Any], seen: Parts, known: dict[str, Price | None], now: datetime) -> Listed:
    created = seen.found["CreationTime"]
    day = _last_day(aws, seen, now)
    # A day's sum does not say when within the day: its end counts, so that nothing in use is called idle.
    since = created if day is None else min(max(day + _DAY, created), now)
    return Listed(
        name=seen.name,
        status=seen.found["EndpointStatus"],
        model=seen.tags.get(MODEL_TAG),
        version=seen.tags.get(VERSION_TAG),
        machine=seen.machine,
        age_days=(now - created).days,
        dollars_a_month=_dollars(aws, seen, known),
        last_invocation=None if day is None else f"{day:%Y-%m-%d}",
        idle_days=(now - since).days,
    )


def _dollars(aws: Aws[Any], seen: Parts, known: dict[str, Price | None]) -> float | None:
    """Of the machines that run now; serverless ones cost nothing while nobody asks."""
    if seen.serverless_mb:
        return 0.0
    machine = seen.variant.get("InstanceType", "")
    if machine not in known:
        known[machine] = prices.hourly(aws, machine)
    price = known[machine]
    return None if price is None else price.dollars * seen.machines * prices.HOURS


def _last_day(aws: Aws[Any], seen: Parts, now: datetime) -> datetime | None:
    """Beginning of the last day with a request to any variant; None where there is none in the window."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    client = aws.boto.client("cloudwatch")
    days: list[datetime] = []
    for variant in seen.found.get("ProductionVariants") or [{"VariantName": endpoint.VARIANT}]:
        with told(f"metrics of {seen.name}"):
            answer = client.get_metric_statistics(
                Namespace=alarms.NAMESPACE,
                MetricName="Invocations",
                Dimensions=[
                    {"Name": "EndpointName", "Value": seen.name},
                    {"Name": "VariantName", "Value": variant["VariantName"]},
                ],
                StartTime=midnight - timedelta(days=WINDOW_DAYS),
                EndTime=now,
                Period=86_400,
                Statistics=["Sum"],
            )
        days += [point["Timestamp"] for point in answer["Datapoints"] if point["Sum"] > 0]
    return max(days, default=None)
