"""`delete` of endpoints, against a local AWS: what goes, what stays, what costs money still."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner, Result

from model_serving.aws import remove
from model_serving.aws.manage_cli import app
from model_serving.aws.options import EndpointOptions
from tests.aws_world import BUCKET, World, sent
from tests.managed import (
    VERSION,
    fail,
    left,
    make_config,
    make_endpoint,
    make_model,
    tags,
)
from training.aws.errors import AwsError
from training.aws.session import Aws


def run(*args: str) -> Result:
    """`python -m model_serving …`."""
    return CliRunner().invoke(app, list(args))


def test_delete_removes_all_that_was_made_for_it(here: World, aws: Aws[EndpointOptions]) -> None:
    """Endpoint, configuration, model, autoscaling, alarms; it is listed before, and asked."""
    unique = make_endpoint(aws, "dogs", protected=True)
    make_endpoint(aws, "cats")
    refused = CliRunner().invoke(app, ["delete", "dogs"], input="n\n")
    assert refused.exit_code == 1
    assert "dogs" in left(aws)
    result = run("delete", "dogs", "--yes")
    assert result.exit_code == 0
    for line in (
        "endpoint dogs (InService)",
        f"model {unique}",
        f"configuration {unique}",
        "alarm whippet-dogs-errors",
    ):
        assert line in result.stdout
        assert f"removed: {line}".removesuffix(" (InService)") in result.stdout or line.startswith("alarm")
    assert left(aws) == {"cats", f"cats-{VERSION}-261125-0900-abcd"}
    assert here.client("cloudwatch").describe_alarms()["MetricAlarms"] == []
    scaled = here.client("application-autoscaling").describe_scalable_targets(ServiceNamespace="sagemaker")
    assert scaled["ScalableTargets"] == []


def test_delete_says_what_still_costs_money(here: World, aws: Aws[EndpointOptions]) -> None:
    """Archive, captured data, log, registry, other endpoints of ours."""
    unique = make_endpoint(aws, "dogs", capture=f"s3://{BUCKET}/captured")
    make_endpoint(aws, "dogs-candidate")
    here.client("logs").create_log_group(logGroupName="/aws/sagemaker/Endpoints/dogs")
    here.client("logs").create_log_group(logGroupName="/aws/sagemaker/Endpoints/dogs-candidate")
    aws.sagemaker.create_model_package_group(ModelPackageGroupName="kennel", Tags=tags())
    aws.sagemaker.create_model_package_group(ModelPackageGroupName="strangers")
    lines = run("delete", "dogs", "--yes").stdout.splitlines()
    assert [line.removeprefix("still costs money: ") for line in lines if line.startswith("still")] == [
        f"archive in S3: s3://{BUCKET}/whippet/models/{unique}/model.tar.gz",
        "log in CloudWatch: /aws/sagemaker/Endpoints/dogs",
        "archives of registry group kennel",
        "endpoint dogs-candidate of ours",
        f"captured requests and answers: s3://{BUCKET}/captured",
    ]


def test_delete_takes_former_configurations_too(aws: Aws[EndpointOptions]) -> None:
    """The chain that updates leave, and what one that broke left; what only has a similar name stays."""
    old, stray = "before-that", f"dogs-{'b' * 12}-261101-0900-abcd"
    for name in ("dogs-mine", old, stray, f"dogs-two-{'c' * 12}-261101-0900-abcd"):
        make_model(aws, name)
        make_config(aws, name, name)
    live = make_endpoint(aws, "dogs", former=old)
    wanted = remove.plan(aws, "dogs")
    assert set(wanted.configs) == set(wanted.models) == {live, old, stray}
    remove.delete(aws, wanted, print)
    assert left(aws) == {"dogs-mine", f"dogs-two-{'c' * 12}-261101-0900-abcd"}


def test_delete_keeps_what_others_use(aws: Aws[EndpointOptions]) -> None:
    """A model that another configuration names, a configuration that another endpoint runs: kept, and said."""
    live = make_endpoint(aws, "dogs")
    make_config(aws, "borrows", live)
    result = run("delete", "dogs", "--yes")
    assert f"kept: model {live}, which configuration borrows uses" in result.stdout
    assert left(aws) == {"borrows", live}
    second = make_endpoint(aws, "cats")
    aws.sagemaker.create_endpoint(EndpointName="lions", EndpointConfigName=second, Tags=tags())
    result = run("delete", "cats", "--yes")
    assert f"kept: configuration {second}, which endpoint lions uses" in result.stdout
    assert left(aws) == {"borrows", live, "lions", second}


def test_an_endpoint_of_somebody_else_is_not_removed_by_mistake(aws: Aws[EndpointOptions]) -> None:
    """Without our tag it has to be said."""
    make_model(aws, "their-model")
    make_config(aws, "theirs", "their-model")
    aws.sagemaker.create_endpoint(EndpointName="theirs", EndpointConfigName="theirs")
    with pytest.raises(AwsError, match=r"theirs was not made by deploy\. To remove it all the same: add --foreign"):
        remove.plan(aws, "theirs")
    refused = run("delete", "theirs", "--yes")
    assert isinstance(refused.exception, AwsError)
    assert "theirs" in left(aws)
    assert run("delete", "theirs", "--foreign", "--yes").exit_code == 0
    assert left(aws) == set()


def test_delete_an_endpoint_of_inference_components(aws: Aws[EndpointOptions]) -> None:
    """Its variants name no model: those of the components are not looked for."""
    live = make_endpoint(aws, "dogs")

    def nameless(parsed: dict[str, Any], **_: Any) -> None:
        for variant in parsed["ProductionVariants"]:
            variant.pop("ModelName", None)

    aws.sagemaker.meta.events.register("after-call.sagemaker.DescribeEndpointConfig", nameless)
    wanted = remove.plan(aws, "dogs")
    assert (wanted.configs, wanted.models) == ([live], [])
    remove.delete(aws, wanted, print)
    assert left(aws) == {live}


def test_delete_looks_at_configurations_that_may_name_its_models(aws: Aws[EndpointOptions]) -> None:
    """None that is older than they are, unless their names are somebody's own, which may have been taken before."""
    make_endpoint(aws, "dogs")
    lists = sent(aws, "ListEndpointConfigs")
    remove.plan(aws, "dogs")
    made = aws.sagemaker.describe_model(ModelName=f"dogs-{VERSION}-261125-0900-abcd")["CreationTime"].timestamp()
    assert [made - 61 <= one["CreationTimeAfter"] <= made for one in lists if "NameContains" not in one] == [True]
    make_model(aws, "their-model")
    make_config(aws, "theirs", "their-model")
    aws.sagemaker.create_endpoint(EndpointName="theirs", EndpointConfigName="theirs")
    remove.plan(aws, "theirs", foreign=True)
    assert lists[-1] == {}


def test_delete_can_keep_the_model(aws: Aws[EndpointOptions]) -> None:
    """--keep-model."""
    unique = make_endpoint(aws, "dogs")
    assert f"kept: model {unique}, by --keep-model" in run("delete", "dogs", "--keep-model", "--yes").stdout
    assert left(aws) == {unique}
    assert aws.sagemaker.list_endpoint_configs()["EndpointConfigs"] == []


@pytest.mark.parametrize("broken", ["DeleteEndpoint", "DeleteModel", "DeleteEndpointConfig"])
def test_delete_goes_on_where_it_was_interrupted(aws: Aws[EndpointOptions], broken: str) -> None:
    """Whatever broke: the second time takes the rest, and a third finds nothing."""
    make_endpoint(aws, "dogs", protected=True)
    with pytest.MonkeyPatch.context() as patch:
        fail(patch, broken)
        assert isinstance(run("delete", "dogs", "--yes").exception, AwsError)
    result = run("delete", "dogs", "--yes")
    assert result.exit_code == 0
    assert left(aws) == set()
    third = run("delete", "dogs", "--yes")
    assert "nor anything left of it" in str(third.exception)


def test_delete_with_parts_missing(aws: Aws[EndpointOptions]) -> None:
    """An endpoint whose model or configuration somebody has removed goes, too."""
    unique = make_endpoint(aws, "dogs")
    aws.sagemaker.delete_model(ModelName=unique)
    assert run("delete", "dogs", "--yes").exit_code == 0
    assert left(aws) == set()
    make_endpoint(aws, "dogs")
    aws.sagemaker.delete_endpoint_config(EndpointConfigName=unique)
    assert run("delete", "dogs", "--yes").exit_code == 0
    assert left(aws) == {unique}  # which no configuration names any more


def test_delete_waits_until_aws_lets_it(aws: Aws[EndpointOptions], monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint that is being updated cannot be deleted; one that is being deleted is waited for."""
    from moto.sagemaker.models import sagemaker_backends

    make_endpoint(aws, "dogs")
    backend: Any = sagemaker_backends["123456789012"]["us-east-1"]
    kept = backend.endpoints["dogs"]
    kept.endpoint_status = "Updating"
    events: list[str] = []

    def delete_endpoint(endpoint_name: str) -> None:
        events.append(f"deleted while {kept.endpoint_status}")
        kept.endpoint_status = "Deleting"

    def sleep(_: float) -> None:
        events.append(kept.endpoint_status)
        if kept.endpoint_status == "Updating":
            kept.endpoint_status = "InService"
        else:
            del backend.endpoints["dogs"]

    monkeypatch.setattr(backend, "delete_endpoint", delete_endpoint)
    remove.delete(aws, remove.plan(aws, "dogs"), events.append, sleep=sleep)
    assert events[:6] == [
        "dogs is Updating", "Updating", "deleted while InService", "dogs is Deleting", "Deleting",
        "removed: endpoint dogs",
    ]  # fmt: skip
    assert left(aws) == set()


def test_delete_gives_up_where_aws_fails_to_delete(aws: Aws[EndpointOptions], monkeypatch: pytest.MonkeyPatch) -> None:
    """It says why instead of looking for ever, and leaves what the endpoint needs."""
    from moto.sagemaker.models import sagemaker_backends

    unique = make_endpoint(aws, "dogs")
    backend: Any = sagemaker_backends["123456789012"]["us-east-1"]
    there = backend.endpoints["dogs"]
    monkeypatch.setattr(backend, "delete_endpoint", lambda endpoint_name: setattr(there, "endpoint_status", "Deleting"))

    def sleep(_: float) -> None:
        there.endpoint_status, there.failure_reason = "Failed", "a network interface is in use."

    with pytest.raises(AwsError, match=r"dogs could not be removed: a network interface is in use\. Try again: "):
        remove.delete(aws, remove.plan(aws, "dogs"), print, sleep=sleep)
    assert left(aws) == {"dogs", unique}


def test_delete_goes_on_where_it_may_not_look(aws: Aws[EndpointOptions]) -> None:
    """Without the permission to see logs or the registry it says so, and removes."""
    make_endpoint(aws, "dogs")
    with pytest.MonkeyPatch.context() as patch:
        fail(patch, "ListModelPackageGroups")
        result = run("delete", "dogs", "--yes")
    assert "still costs money: unknown, since the model registry: lost" in result.stdout
    assert left(aws) == set()
