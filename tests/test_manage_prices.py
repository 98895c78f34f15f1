"""What an endpoint costs: AWS's price list or the table, the break-even, and what is said of both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from typer.testing import CliRunner

from model_serving.aws import prices
from model_serving.aws.manage_cli import app
from model_serving.aws.options import EndpointOptions
from model_serving.aws.prices import Comparison, CostOptions
from tests.aws_world import configure
from training.aws.pricelist import Price
from training.aws.session import Aws, connect
from training.errors import ConfigError

PRICE = Price(0.23, "somewhere")


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Made-up credentials, and nobody who answers."""
    configure(monkeypatch, tmp_path)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    return monkeypatch


def product(usage: str, dollars: str) -> str:
    """One line of AWS's price list."""
    return json.dumps(
        {
            "product": {"attributes": {"instanceName": "ml.g5.xlarge", "usagetype": usage, "regionCode": "eu-west-1"}},
            "terms": {"OnDemand": {"a": {"priceDimensions": {"b": {"pricePerUnit": {"USD": dollars}}}}}},
        }
    )


def priced(account: pytest.MonkeyPatch, *answers: tuple[dict[str, str], list[str]]) -> Aws[EndpointOptions]:
    """A connection whose price list answers that to those filters, held against the service's model."""
    aws = connect(EndpointOptions(region="eu-west-1"))
    client = boto3.client("pricing", region_name="us-east-1")
    stub = Stubber(client)
    for wanted, found in answers:
        filters = [{"Type": "TERM_MATCH", "Field": k, "Value": v} for k, v in wanted.items()]
        asked = {"ServiceCode": "AmazonSageMaker", "Filters": filters}
        stub.add_response("get_products", {"PriceList": found}, asked)
    stub.activate()
    account.setattr(aws.boto, "client", lambda *_, **__: client)
    return aws


LIST = [
    product("EUW1-Host:ml.g5.xlarge", "1.57"),
    product("EUW1-Tsform:ml.g5.xlarge", "1.6"),
    product("EUW1-Train:ml.g5.xlarge", "9"),
    product("EUW1-AsyncInf:ml.g5.xlarge", "9"),
    product("EUW1-Host:ml.g5.xlarge-Reserved", "9"),
]


def test_prices_are_those_of_the_use(account: pytest.MonkeyPatch) -> None:
    """Hosting is not training, nor Batch Transform; serverless is a second of so many gigabytes."""
    machine = {"instanceName": "ml.g5.xlarge", "regionCode": "eu-west-1"}
    serverless = {"productFamily": "ML Serverless", "regionCode": "eu-west-1"}
    seconds = [product("EUW1-ServerlessInf:Mem-2GB", "0.000045"), product("EUW1-ServerlessInf:Mem-4GB", "0.00009")]
    aws = priced(account, (machine, LIST), (machine, LIST), (serverless, seconds))
    assert prices.hourly(aws, "ml.g5.xlarge") == Price(1.57, "AWS's price list, eu-west-1")
    assert prices.hourly(aws, "ml.g5.xlarge", prices.TRANSFORM) == Price(1.6, "AWS's price list, eu-west-1")
    assert prices.serverless_second(aws, 4096) == Price(0.00009, "AWS's price list, eu-west-1")


def test_without_the_price_list_a_dated_table_answers(account: pytest.MonkeyPatch) -> None:
    """And says that it is one; a machine that it lacks has no price, not a wrong one."""
    aws = connect(EndpointOptions(region="eu-west-1"), attempts=1)
    price = prices.hourly(aws, "ml.g4dn.xlarge")
    assert price is not None
    assert price.dollars == 0.736
    assert "AWS's price list was not to be had" in price.source
    assert prices.hourly(aws, "ml.p9.48xlarge") is None
    assert prices.serverless_second(aws, 3072).dollars == pytest.approx(0.00006)


def test_break_even_is_where_both_cost_the_same() -> None:
    """At that many photos a month serverless costs what the machines do."""
    options = CostOptions(instance_count=2, serverless_mb=4096, seconds_per_photo=0.05, photos_per_month=1_000_000)
    found = Comparison(options, PRICE, PRICE, Price(0.00008, "there"))
    assert found.machines == pytest.approx(2 * 0.23 * 730)
    assert found.serverless == pytest.approx(4 * 0.05 * 0.00002)
    assert found.break_even is not None
    assert found.break_even * found.serverless == pytest.approx(found.machines)
    assert found.batch == pytest.approx(0.05 / 3600 * 0.23)
    lines = list(found.lines())
    assert lines[0] == "instance    335.80 dollars a month for 2 x ml.m5.xlarge, used or not"
    assert "serverless  0.0040 dollars per 1,000 photos, nothing while idle" in lines
    assert "batch       0.0032 dollars per 1,000 photos by Batch Transform" in lines
    assert "break-even  83,950,000 photos a month: below it serverless is cheaper" in lines
    ways = [line for line in lines if line.startswith("1,000,000 photos a month")]
    assert ways == [
        "1,000,000 photos a month: 3.19 dollars by batch",
        "1,000,000 photos a month: 4.00 dollars by serverless",
        "1,000,000 photos a month: 335.80 dollars by instance",
    ]
    assert any("measure yours" in line for line in lines)


def test_a_break_even_beyond_what_machines_can_do_is_said() -> None:
    """A number of photos that they never reach would mislead."""
    few = Comparison(CostOptions(seconds_per_photo=0.05), PRICE, PRICE, Price(0.00002, "there"))
    assert few.break_even is not None
    assert few.break_even > few.capacity == pytest.approx(730 * 3600 / 0.05)
    assert any("more than these machines can do" in line for line in few.lines())


def test_unknown_prices_are_said_to_be_unknown() -> None:
    """No number instead of one that lies."""
    found = Comparison(CostOptions(instance_type="ml.p9.48xlarge"), None, None, Price(0.00004, "there"))
    lines = list(found.lines())
    assert lines[0].startswith("instance    unknown, since the price of ml.p9.48xlarge is")
    assert not any("break-even" in line or "batch" in line for line in lines)


@pytest.mark.parametrize(
    ("options", "first"),
    [
        ({}, "cost: 167.90 dollars a month for 1 x ml.m5.xlarge, used or not"),
        ({"autoscale": "1:4"}, "cost: 167.90 to 671.60 dollars a month for 1 to 4 x ml.m5.xlarge, used or not"),
        ({"instance_count": 3}, "cost: 503.70 dollars a month for 3 x ml.m5.xlarge, used or not"),
        ({"serverless_mb": 2048}, "cost: 0.0040 dollars per 1,000 photos of 0.1 s each; nothing while idle"),
        ({"instance_type": "ml.p9.48xlarge"}, "cost: unknown, since the price of ml.p9.48xlarge is"),
    ],
)
def test_what_a_deployment_costs(account: pytest.MonkeyPatch, options: dict[str, Any], first: str) -> None:
    """The amount first: a month, a range with autoscaling, a photo without machines."""
    wanted = EndpointOptions(region="us-east-1", **options)
    assert prices.monthly(connect(wanted, attempts=1), wanted)[0].startswith(first)


def test_cost_on_the_command_line(account: pytest.MonkeyPatch) -> None:
    """Flags come from the fields; wrong ones are one line."""
    result = CliRunner().invoke(app, ["cost", "--instance-count", "2", "--photos-per-month", "1000"])
    assert result.exit_code == 0
    assert "335.80 dollars a month for 2 x ml.m5.xlarge" in result.stdout
    assert "1,000 photos a month: 335.80 dollars by instance" in result.stdout
    wrong = CliRunner().invoke(app, ["cost", "--serverless-mb", "1500"])
    assert isinstance(wrong.exception, ConfigError)
    assert "in steps of 1024" in str(wrong.exception)
