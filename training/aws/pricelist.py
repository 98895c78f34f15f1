"""AWS's price list: what it says of one product of SageMaker, for jobs and endpoints alike."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .session import Aws

REGION = "us-east-1"
"""The price list of all regions is asked there."""

NOT_ASKED = "US regions; AWS's price list was not to be had"


@dataclass(frozen=True)
class Price:
    """Dollars of an hour, or of a second of serverless work, and who says so."""

    dollars: float
    source: str


def asked(aws: Aws[Any], wanted: Mapping[str, str], fits: Callable[[Mapping[str, str]], bool]) -> Price | None:
    """The highest on-demand price of SageMaker's products with these attributes in the connection's region.

    `fits` looks at a product's attributes. None where AWS has none, or cannot be asked, which is no reason to stop.
    """
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    quick = Config(connect_timeout=3, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 2})
    conditions = {**wanted, "regionCode": aws.region}
    filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in conditions.items()]
    try:
        client = aws.boto.client("pricing", region_name=REGION, config=quick)
        pages = client.get_paginator("get_products").paginate(ServiceCode="AmazonSageMaker", Filters=filters)
        found = [json.loads(product) for page in pages for product in page["PriceList"]]
    except (BotoCoreError, ClientError, ValueError):
        return None
    dollars = [
        amount for one in found if fits(one.get("product", {}).get("attributes", {})) for amount in _amounts(one)
    ]
    return Price(max(dollars), f"AWS's price list, {aws.region}") if dollars else None


def _amounts(product: Mapping[str, Any]) -> Iterator[float]:
    for term in product.get("terms", {}).get("OnDemand", {}).values():
        for dimension in term.get("priceDimensions", {}).values():
            if amount := float(dimension.get("pricePerUnit", {}).get("USD", 0)):
                yield amount
