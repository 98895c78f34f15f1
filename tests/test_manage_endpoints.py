"""`describe` and `list` of endpoints, against a local AWS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from model_serving.aws import idle
from model_serving.aws.describe import describe
from model_serving.aws.manage_cli import app
from model_serving.aws.options import EndpointOptions
from tests.aws_world import BUCKET, World, world
from tests.managed import (
    RAY,
    VERSION,
    asked,
    count_percentiles,
    days,
    fail,
    later,
    make_endpoint,
    make_model,
)
from training.aws.errors import AwsError
from training.aws.session import Aws


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A local AWS whose CloudWatch knows percentiles and whose price list cannot be asked."""
    count_percentiles(monkeypatch)
    with world(tmp_path) as found:
        monkeypatch.setenv("AWS_ENDPOINT_URL_PRICING", "http://127.0.0.1:9")
        yield found


def run(*args: str) -> Result:
    """`python -m model_serving …`."""
    return CliRunner().invoke(app, list(args))


def test_describe_says_what_runs_and_how_well(here: World, aws: Aws[EndpointOptions]) -> None:
    """Model and version by its tags, machines, scaling, capture, alarms, requests of a day, dollars."""
    unique = make_endpoint(aws, "dogs", machines=2, protected=True, capture=f"s3://{BUCKET}/captured")
    asked(here, "dogs", later(-0.5), values=[1.0] * 100)
    asked(here, "dogs", later(-0.5), "ModelLatency", [1000.0 * n for n in range(100)])
    asked(here, "dogs", later(-0.5), "Invocation4XXErrors", [1.0, 0.0, 1.0])
    asked(here, "dogs", later(-2), values=[1.0] * 7)
    found = describe(aws, "dogs").as_dict()
    assert (found["status"], found["model"], found["version"]) == ("InService", "dogs", VERSION)
    assert found["machine"] == "2 x ml.m5.xlarge"
    assert [(v["model"], v["current"], v["desired"]) for v in found["variants"]] == [(unique, 2, 2)]
    assert (found["autoscaling"]["least"], found["autoscaling"]["most"]) == (1, 4)
    assert found["data_capture"] == {"uri": f"s3://{BUCKET}/captured", "percent": 50, "on": True}
    assert set(found["alarms"]) == {"whippet-dogs-errors", "whippet-dogs-latency"}
    assert found["last_24_hours"] == {
        "invocations": 100.0, "errors_4xx": 2.0, "errors_5xx": 0.0, "p50_ms": 50.0, "p99_ms": 99.0,
    }  # fmt: skip
    assert found["cost"]["hour"] == pytest.approx(0.46)
    assert found["failure"] is None
    assert any("no patches since 2026-06-30" in warning for warning in found["warnings"])


def test_describe_counts_the_month_so_far(aws: Aws[EndpointOptions]) -> None:
    """Hours since it was made, or since the first of the month, whichever is later."""
    make_endpoint(aws, "dogs")
    begun = aws.sagemaker.describe_endpoint(EndpointName="dogs")["CreationTime"]
    cost = describe(aws, "dogs", begun + days(0.5)).cost
    assert cost is not None
    same_month = (begun + days(0.5)).month == begun.month
    assert cost.month_so_far == pytest.approx(12 * 0.23) if same_month else cost.month_so_far < 12 * 0.23
    far = (begun + days(70)).replace(day=11, hour=0, minute=0, second=0, microsecond=0)
    cost = describe(aws, "dogs", far).cost
    assert cost is not None
    assert cost.month_so_far == pytest.approx(10 * 24 * 0.23)


def test_describe_a_serverless_one(here: World, aws: Aws[EndpointOptions]) -> None:
    """No price an hour; the month is the seconds that the model worked."""
    make_endpoint(aws, "dogs", serverless=2048)
    asked(here, "dogs", later(0.01), "ModelLatency", [2e6, 3e6])
    found = describe(aws, "dogs", later(0.1))
    assert found.machine == "serverless 2048 MB"
    assert found.cost is not None
    assert found.cost.hour is None
    assert found.cost.month_so_far == pytest.approx(5 * 2 * 0.00002)
    text = "\n".join(found.lines())
    assert "nothing while idle" in text
    assert "5 requests at once" in text


def test_describe_says_why_it_failed_and_the_mend(aws: Aws[EndpointOptions]) -> None:
    """AWS's reason in one line, with what to do and where the log is; no warning of PyTorch's image for Ray's."""
    from moto.sagemaker.models import sagemaker_backends

    make_endpoint(aws, "dogs", image=RAY)
    backend: Any = sagemaker_backends["123456789012"]["us-east-1"]
    endpoint = backend.endpoints["dogs"]
    endpoint.endpoint_status = "Failed"
    endpoint.failure_reason = (
        "The primary container for production variant AllTraffic did not pass the\nping health check."
    )
    found = describe(aws, "dogs")
    assert found.failure is not None
    assert "its log says why" in found.failure
    assert "/aws/sagemaker/Endpoints/dogs" in found.failure
    assert "\n" not in found.failure
    assert found.warnings == []
    assert found.runtime == "ray"
    assert any(line.startswith("failure") for line in found.lines())


def test_describe_without_permission_for_all(aws: Aws[EndpointOptions]) -> None:
    """What may not be looked at is said to be unknown; the rest is there."""
    make_endpoint(aws, "dogs", protected=True)
    with pytest.MonkeyPatch.context() as patch:
        fail(patch, "DescribeScalableTargets")
        found = describe(aws, "dogs")
    assert any("autoscaling of dogs: lost" in warning for warning in found.warnings)
    assert found.version == VERSION
    with pytest.MonkeyPatch.context() as patch:
        fail(patch, "GetMetricData")
        assert any(line.endswith(" unknown") for line in describe(aws, "dogs").lines())


@pytest.mark.usefixtures("here")
def test_describe_what_is_not_there() -> None:
    """One line with the region and how to see those there are."""
    result = run("describe", "cats")
    assert isinstance(result.exception, AwsError)
    assert str(result.exception) == (
        "there is no endpoint cats in us-east-1. Those of ours: python -m model_serving list"
    )


def test_describe_on_the_command_line(aws: Aws[EndpointOptions]) -> None:
    """Lines for people, or JSON."""
    make_endpoint(aws, "dogs")
    assert run("describe", "dogs").stdout.startswith("endpoint     dogs: InService\n")
    assert json.loads(run("describe", "dogs", "--json").stdout)["version"] == VERSION


def test_list_shows_ours_over_all_pages(aws: Aws[EndpointOptions], monkeypatch: pytest.MonkeyPatch) -> None:
    """By the tag; others with --all."""
    for number in range(12):
        make_endpoint(aws, f"dogs-{number}")
    make_model(aws, "other")
    aws.sagemaker.create_endpoint_config(
        EndpointConfigName="other",
        ProductionVariants=[
            {
                "VariantName": "AllTraffic",
                "ModelName": "other",
                "InstanceType": "ml.t2.medium",
                "InitialInstanceCount": 1,
            }
        ],
    )
    aws.sagemaker.create_endpoint(EndpointName="other", EndpointConfigName="other")
    found = json.loads(run("list", "--json").stdout)
    assert [one["name"] for one in found] == [f"dogs-{number}" for number in range(12)]
    assert found[0]["dollars_a_month"] == pytest.approx(0.23 * 730)
    assert found[0]["version"] == VERSION
    table = run("list", "--all").stdout
    assert "\nother " in table
    assert "40.88" in table  # 0.056 x 730


def test_idle_endpoints_are_those_nobody_asked(here: World, aws: Aws[EndpointOptions]) -> None:
    """By invocations, serverless ones too; what is younger than the days is not idle; a request of today counts."""
    for name, machines, serverless in (("used", 1, 0), ("forgotten", 2, 0), ("never", 1, 0), ("seldom", 1, 1024)):
        make_endpoint(aws, name, machines=machines, serverless=serverless)
    asked(here, "used", later(19.5))
    asked(here, "forgotten", later(10))
    asked(here, "seldom", later(2))
    now = later(20)
    found = idle.listed(aws, now=now)
    assert {one.name: one.last_invocation for one in found} == {
        "used": f"{later(19.5):%Y-%m-%d}",
        "forgotten": f"{later(10):%Y-%m-%d}",
        "never": None,
        "seldom": f"{later(2):%Y-%m-%d}",
    }
    chosen = idle.idle(found, 7)
    assert [one.name for one in chosen] == ["forgotten", "never", "seldom"]
    assert idle.conclusion(chosen, 7, "us-east-1") == (
        "3 endpoints idle for 7 days: 503.70 dollars a month. To remove: "
        "python -m model_serving delete NAME --region us-east-1"
    )
    assert "forgotten" not in {one.name for one in idle.idle(found, 10)}  # the day of a request counts as used
    assert idle.idle(idle.listed(aws, now=later(1)), 7) == []
    assert "delete never" in idle.conclusion(idle.idle(found, 19), 19, "us-east-1")


def test_idle_on_the_command_line(aws: Aws[EndpointOptions]) -> None:
    """Exit 0 with nothing to say, and with something."""
    make_endpoint(aws, "dogs")
    result = run("list", "--idle", "7")
    assert (result.exit_code, result.stdout) == (0, "no endpoint has been idle for 7 days\n")
