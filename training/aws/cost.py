"""What jobs cost at most, before they are started."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .options import JobOptions
from .pricelist import NOT_ASKED, Price, asked
from .session import Aws

BUILT_IN = {
    "ml.c5.xlarge": 0.204,
    "ml.g4dn.xlarge": 0.736,
    "ml.g4dn.2xlarge": 0.94,
    "ml.g5.xlarge": 1.408,
    "ml.g5.2xlarge": 1.515,
    "ml.g6.xlarge": 1.127,
    "ml.m5.xlarge": 0.23,
}
"""Dollars an hour of training in the cheaper US regions, where AWS's price list cannot be asked."""

BUILT_IN_DATE = "2026-11"


@dataclass(frozen=True)
class Estimate:
    """An upper bound: every job runs until AWS ends it."""

    jobs: int
    options: JobOptions
    price: Price | None

    @property
    def dollars(self) -> float | None:
        """At most; None where the price is unknown."""
        return None if self.price is None else self.hours * self.price.dollars

    @property
    def hours(self) -> float:
        """Of machines, at most; what is kept warm is billed as if it worked."""
        options = self.options
        return self.jobs * (options.max_hours + options.keep_alive_minutes / 60) * options.instance_count

    def lines(self) -> Iterator[str]:
        """For people: the amount first, then what it assumes."""
        options = self.options
        machines = f"{options.instance_count} x {options.instance_type}"
        warm = f" and {options.keep_alive_minutes:g} minutes kept warm" if options.keep_alive_minutes else ""
        jobs = f"{self.jobs} job{'s' if self.jobs > 1 else ''} x {options.max_hours:g} h{warm} x {machines}"
        if self.price is None or self.dollars is None:
            yield f"cost: unknown, since the price of {options.instance_type} is; {self.hours:g} hours of it at most"
            yield f"      {jobs}; see https://aws.amazon.com/sagemaker/pricing/"
        else:
            yield f"cost: at most {self.dollars:.2f} dollars"
            yield f"      {jobs} x {self.price.dollars:g} dollars an hour ({self.price.source})"
        yield "      jobs that end sooner cost less; disks, storage in S3 and taxes are not counted"
        if options.spot:
            yield "      spot is usually cheaper; not counted"


def estimate(aws: Aws[JobOptions], jobs: int) -> Estimate:
    """For so many jobs of the connection's options. Never an error: a price that cannot be asked is looked up here."""
    machine = aws.options.instance_type
    return Estimate(jobs, aws.options, asked(aws, {"instanceName": machine}, _is_training) or _looked_up(machine))


def _looked_up(instance_type: str) -> Price | None:
    dollars = BUILT_IN.get(instance_type)
    return None if dollars is None else Price(dollars, f"{BUILT_IN_DATE}, {NOT_ASKED}")


def _is_training(attributes: Mapping[str, str]) -> bool:
    kind = f"{attributes.get('component', '')} {attributes.get('usagetype', '')}".lower()
    return "train" in kind and "spot" not in kind and "cluster" not in kind
