"""What an endpoint costs a month, what serverless costs a photo, and where one becomes cheaper than the other.

Prices are asked of AWS's price list, else looked up in a small dated table; lines say which.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from training.aws.pricelist import NOT_ASKED, Price, asked
from training.errors import ConfigError
from training.settings import Range, Settings, setting

if TYPE_CHECKING:
    from training.aws.session import Aws

    from .options import EndpointOptions

HOURS = 730
"""Of a month, as AWS counts them: 8,760 a year / 12."""

BUILT_IN = {
    "ml.c5.large": 0.102,
    "ml.c5.xlarge": 0.204,
    "ml.c5.2xlarge": 0.408,
    "ml.g4dn.xlarge": 0.736,
    "ml.g4dn.2xlarge": 0.94,
    "ml.g5.xlarge": 1.408,
    "ml.g5.2xlarge": 1.515,
    "ml.g6.xlarge": 1.127,
    "ml.m5.large": 0.115,
    "ml.m5.xlarge": 0.23,
    "ml.m5.2xlarge": 0.461,
    "ml.t2.medium": 0.056,
}
"""Dollars an hour of hosting and of Batch Transform, which AWS prices alike, in the cheaper US regions."""

SERVERLESS_GB_SECOND = 0.00002
"""Dollars a gigabyte of memory and second of work (https://aws.amazon.com/sagemaker/pricing/, US regions)."""

_TABLE = f"2026-11, {NOT_ASKED}"
PAGE = "https://aws.amazon.com/sagemaker/pricing/"

SECONDS_A_PHOTO = 0.1
"""Assumed where nobody measured: a phone's photo decoded in 40 ms, and a ResNet50 on two CPUs in 60."""

START_MINUTES = 5
"""Of a Batch Transform machine before its first photo, paid for: assumed."""

NOT_COUNTED = "      data in and out, S3, logs and taxes are not counted"

HOSTING, TRANSFORM = "Host", "Tsform"
"""AWS's words for what a machine is used for, in usage types such as `USE1-Host:ml.m5.xlarge`."""


@dataclass(frozen=True)
class CostOptions(Settings):
    """What is compared."""

    NOUN: ClassVar[str] = "option of costs"

    region: str = setting("", "AWS region; by default that of the AWS configuration.")
    instance_type: str = setting("ml.m5.xlarge", "Machine of the endpoint.")
    instance_count: int = setting(1, "Machines.", allowed=Range(1, 100))
    serverless_mb: int = setting(2048, "Memory of a serverless endpoint, in steps of 1024.", allowed=Range(1024, 6144))
    seconds_per_photo: float = setting(
        SECONDS_A_PHOTO, "Seconds of work a photo; measure yours.", allowed=Range(0.0001, 60)
    )
    photos_per_month: int = setting(0, "Photos a month, to say what each way costs.", allowed=Range(0, 10**12))

    def __post_init__(self) -> None:
        """ConfigError too for what is no machine."""
        super().__post_init__()
        if not re.fullmatch(r"ml\.[a-z0-9-]+\.[a-z0-9]+", self.instance_type):
            raise ConfigError(f"instance_type: {self.instance_type!r} is none; take one like ml.m5.xlarge")
        if self.serverless_mb % 1024:
            raise ConfigError(f"serverless_mb: 1024 to 6144 in steps of 1024, found {self.serverless_mb}")


@dataclass(frozen=True)
class Comparison:
    """Three ways to classify photos. An endpoint's machine is paid for by the hour, the others by the photo."""

    options: CostOptions
    hosting: Price | None
    transform: Price | None
    second: Price
    """Of the serverless memory."""

    @property
    def machines(self) -> float | None:
        """Dollars a month of machines that are always on: price x machines x 730 hours."""
        return None if self.hosting is None else self.hosting.dollars * self.options.instance_count * HOURS

    @property
    def serverless(self) -> float:
        """Dollars a photo: seconds x price of a second with so much memory."""
        return self.options.seconds_per_photo * self.second.dollars

    @property
    def batch(self) -> float | None:
        """Dollars a photo of Batch Transform: seconds / 3,600 x price of an hour; machines share the photos."""
        return None if self.transform is None else self.options.seconds_per_photo / 3600 * self.transform.dollars

    @property
    def break_even(self) -> float | None:
        """Photos a month from which machines that are always on are cheaper than serverless: machines / serverless."""
        return None if self.machines is None else self.machines / self.serverless

    @property
    def capacity(self) -> float:
        """Photos a month that the machines can do, one after another: machines x 730 x 3,600 / seconds."""
        return self.options.instance_count * HOURS * 3600 / self.options.seconds_per_photo

    def lines(self) -> Iterator[str]:
        """For people."""
        options = self.options
        machines = f"{options.instance_count} x {options.instance_type}"
        if self.hosting is None or self.machines is None:
            yield f"instance    unknown, since the price of {options.instance_type} is; see {PAGE}"
        else:
            yield f"instance    {self.machines:,.2f} dollars a month for {machines}, used or not"
            yield f"            {self.hosting.dollars:g} dollars an hour x {HOURS} hours ({self.hosting.source})"
        yield f"serverless  {self.serverless * 1000:.4f} dollars per 1,000 photos, nothing while idle"
        second = f"{self.second.dollars:.5f} dollars a second with {options.serverless_mb} MB"
        yield f"            {second} ({self.second.source})"
        if self.batch is not None:
            yield f"batch       {self.batch * 1000:.4f} dollars per 1,000 photos by Batch Transform"
            yield f"            on {options.instance_type}, and about {START_MINUTES} minutes of it to start a job"
        yield from self._break_even()
        yield from self._monthly()
        yield f"assumed: {options.seconds_per_photo:g} s a photo everywhere; measure yours and give --seconds-per-photo"
        yield NOT_COUNTED.strip()

    def _break_even(self) -> Iterator[str]:
        if self.break_even is None:
            return
        yield f"break-even  {self.break_even:,.0f} photos a month: below it serverless is cheaper"
        if self.break_even > self.capacity:
            yield f"            which is more than these machines can do ({self.capacity:,.0f}): serverless is cheaper"

    def _monthly(self) -> Iterator[str]:
        photos = self.options.photos_per_month
        if not photos:
            return
        ways = {"instance": self.machines, "serverless": self.serverless * photos}
        ways["batch"] = None if self.batch is None else self.batch * photos
        for name, dollars in sorted(((n, d) for n, d in ways.items() if d is not None), key=lambda way: way[1]):
            yield f"{photos:,} photos a month: {dollars:,.2f} dollars by {name}"
        if photos > self.capacity:
            yield f"{self.options.instance_count} x {self.options.instance_type} can do {self.capacity:,.0f} of them"


def compare(aws: Aws[Any], options: CostOptions) -> Comparison:
    """The three ways by today's prices. Never an error: a price that cannot be asked is looked up here."""
    machine = options.instance_type
    second = serverless_second(aws, options.serverless_mb)
    return Comparison(options, hourly(aws, machine), hourly(aws, machine, TRANSFORM), second)


def monthly(aws: Aws[Any], options: EndpointOptions) -> list[str]:
    """What an endpoint of these options costs, the amount first: a range with autoscaling, none while serverless idles.

    Never an error, as `compare`.
    """
    if options.serverless_mb:
        second = serverless_second(aws, options.serverless_mb)
        dollars = second.dollars * SECONDS_A_PHOTO * 1000
        return [
            f"cost: {dollars:.4f} dollars per 1,000 photos of {SECONDS_A_PHOTO:g} s each; nothing while idle",
            f"      {second.dollars:.5f} dollars a second with {options.serverless_mb} MB ({second.source})",
            NOT_COUNTED,
        ]
    low, high = options.scale or (options.initial_count, options.initial_count)
    machines = f"{low} to {high} x {options.instance_type}" if high > low else f"{low} x {options.instance_type}"
    price = hourly(aws, options.instance_type)
    if price is None:
        return [f"cost: unknown, since the price of {options.instance_type} is; {machines}, see {PAGE}"]
    each = price.dollars * HOURS
    amount = f"{low * each:,.2f} to {high * each:,.2f}" if high > low else f"{low * each:,.2f}"
    return [
        f"cost: {amount} dollars a month for {machines}, used or not",
        f"      {price.dollars:g} dollars an hour x {HOURS} hours ({price.source})",
        NOT_COUNTED,
    ]


def hourly(aws: Aws[Any], instance_type: str, use: str = HOSTING) -> Price | None:
    """Of one machine that hosts, or that runs a Batch Transform job; None where neither list has it."""
    price = asked(aws, {"instanceName": instance_type}, _used_as(rf"\b{use}:{re.escape(instance_type)}$"))
    found = BUILT_IN.get(instance_type)
    return price or (None if found is None else Price(found, _TABLE))


def serverless_second(aws: Aws[Any], megabytes: int) -> Price:
    """Dollars of a second of work with so much memory: by AWS's list, else gigabytes x price of a gigabyte-second."""
    size = megabytes // 1024
    price = asked(aws, {"productFamily": "ML Serverless"}, _used_as(rf"\bServerlessInf:Mem-{size}GB$"))
    return price or Price(size * SERVERLESS_GB_SECOND, _TABLE)


def _used_as(pattern: str) -> Callable[[Mapping[str, str]], bool]:
    """Whether a product's usage type has the pattern in it."""
    return lambda attributes: re.search(pattern, attributes.get("usagetype", "")) is not None
