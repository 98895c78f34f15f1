"""What AWS refuses of a deployment, as one line, with nothing left behind; and the command itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse
from typer.testing import CliRunner

from model_serving.aws import deploy_cli
from model_serving.aws.endpoint import describe, unique_name
from model_serving.aws.kept import resolved
from tests.aws_world import BUCKET, ROLE
from tests.endpoint_world import Endpoints, attempt, deployed, tiny
from training.aws.errors import AwsError
from training.errors import ConfigError

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

NOTHING: dict[str, list[str]] = {"endpoints": [], "configs": [], "models": []}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model."""
    path = tmp_path_factory.mktemp("archive") / "model.tar.gz"
    tiny(path)
    return path


def refusing(patch: pytest.MonkeyPatch, operation: str, code: str, message: str) -> None:
    """moto says no to an operation."""
    from moto.core.exceptions import JsonRESTError
    from moto.sagemaker.models import SageMakerModelBackend

    def refuse(*_: Any, **__: Any) -> Any:
        raise JsonRESTError(code, message)

    patch.setattr(SageMakerModelBackend, operation, refuse)


def test_an_exhausted_quota_says_what_to_do(world: Endpoints, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model and configuration that were made before are gone again."""
    said = "The account-level service limit 'ml.m5.xlarge for endpoint usage' is 0 Instances"
    refusing(monkeypatch, "create_endpoint", "ResourceLimitExceeded", said)
    failed = attempt(archive)
    with pytest.raises(AwsError, match=r"creating the endpoint dogs: a quota is exhausted .*for endpoint usage") as it:
        failed.go()
    assert "\n" not in str(it.value)
    assert world.names() == NOTHING
    assert "removed: model" in failed.said


def test_throttling_is_one_line(world: Endpoints, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the tries of the connection."""
    refusing(monkeypatch, "create_endpoint_config", "ThrottlingException", "Rate exceeded")
    with pytest.raises(AwsError, match="AWS throttles this account's requests"):
        attempt(archive).go()
    assert world.names() == NOTHING


def test_a_role_that_is_not_there(world: Endpoints, archive: Path) -> None:
    """By name it is looked up before anything is made."""
    with pytest.raises(AwsError, match=r"the role does not exist. Give --role"):
        attempt(archive, role="nobody").go()
    assert world.names() == NOTHING


def test_no_role_at_all(world: Endpoints, archive: Path) -> None:
    """Nor in the SDK's configuration."""
    with pytest.raises(AwsError, match=r"an endpoint needs a role. Give --role"):
        attempt(archive, role="").go()


def test_a_bucket_that_is_not_there(world: Endpoints, archive: Path) -> None:
    """Told at the upload."""
    with pytest.raises(AwsError, match=r"the bucket does not exist. Check --bucket"):
        attempt(archive, bucket="not-there")


def test_alarms_that_are_not_there_or_ring(world: Endpoints, archive: Path) -> None:
    """AWS would roll back at once; a first deployment has none."""
    deployed(archive, gate=False)
    with pytest.raises(AwsError, match="there is no CloudWatch alarm mine"):
        attempt(archive, gate=False, alarms="mine").go()
    client = world.world.client("cloudwatch")
    client.put_metric_alarm(
        AlarmName="mine", MetricName="m", Namespace="n", EvaluationPeriods=1, ComparisonOperator="GreaterThanThreshold",
        Period=60, Statistic="Sum", Threshold=1,
    )  # fmt: skip
    client.set_alarm_state(AlarmName="mine", StateValue="ALARM", StateReason="test")
    with pytest.raises(AwsError, match="mine rings already"):
        attempt(archive, gate=False, alarms="mine").go()


@pytest.mark.parametrize(
    ("status", "said"), [("Updating", "somebody changes it right now"), ("Failed", "Remove it first")]
)
def test_an_endpoint_in_another_state_is_left_alone(world: Endpoints, archive: Path, status: str, said: str) -> None:
    """One that changes already, or has failed."""
    deployed(archive, gate=False)
    world.scripts["dogs"] = iter([{"EndpointStatus": status}])
    with pytest.raises(AwsError, match=said):
        attempt(archive)


def test_an_endpoint_of_somebody_else_is_left_alone(world: Endpoints, archive: Path) -> None:
    """Ours have one variant of the SDK's name."""
    deployed(archive, gate=False)
    world.scripts["dogs"] = iter([{"ProductionVariants": [{"VariantName": "blue"}, {"VariantName": "green"}]}])
    with pytest.raises(AwsError, match="dogs has the variants blue, green, so it is none of ours"):
        attempt(archive)


def test_an_endpoint_without_our_tag_is_taken_over_only_if_asked(world: Endpoints, archive: Path) -> None:
    """Whatever its variant is called."""
    first = deployed(archive, gate=False)
    arn = world.world.client("sagemaker").describe_endpoint(EndpointName="dogs")["EndpointArn"]
    world.world.client("sagemaker").delete_tags(ResourceArn=arn, TagKeys=["whippet:version"])
    with pytest.raises(AwsError, match=r"dogs was not made by this command.*--adopt"):
        attempt(archive)
    assert resolved(first.made.aws, {}, describe(first.made.aws, "dogs"), adopt=True)[1] is not None


def test_the_key_of_captured_data_is_kept(world: Endpoints, archive: Path) -> None:
    """Machines with disks of their own have it nowhere else."""
    deployed(archive, gate=False, instance_type="ml.g4dn.xlarge", kms_key="alias/k", data_capture="s3://b/c")
    assert attempt(archive, gate=False).made.options.kms_key == "alias/k"


def test_an_alarm_of_ours_that_rings_does_not_roll_the_mend_back(world: Endpoints, archive: Path) -> None:
    """It rings for what is live, which the update replaces."""
    deployed(archive, gate=False)
    deployed(archive, gate=False)
    client = world.world.client("cloudwatch")
    client.set_alarm_state(AlarmName="whippet-dogs-errors", StateValue="ALARM", StateReason="test")
    done = deployed(archive, gate=False)
    (update,) = done.sent["UpdateEndpoint"]
    alarms = update["DeploymentConfig"]["AutoRollbackConfiguration"]["Alarms"]
    assert alarms == [{"AlarmName": "whippet-dogs-latency"}]
    assert "whippet-dogs-errors rings already" in done.said


def test_whoever_may_not_list_endpoints_deploys(
    world: Endpoints, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Candidates that others left are then not known."""
    deployed(archive, gate=False)
    refusing(monkeypatch, "list_endpoints", "AccessDeniedException", "no")
    deployed(archive, gate_slower="1000")


def test_candidates_of_long_names_are_told(world: Endpoints, archive: Path) -> None:
    """Their names are cut."""
    name = "d" * 50
    deployed(archive, name, gate=False)
    update = attempt(archive, name, gate_slower="1000")
    left = unique_name(name, "candidate")
    config = world.backend.endpoints[name].endpoint_config_name
    world.world.client("sagemaker").create_endpoint(EndpointName=left, EndpointConfigName=config)
    update.go()
    assert f"warning: {left} is there already" in update.said


def test_a_tidying_that_fails_is_a_warning(world: Endpoints, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new model serves."""
    deployed(archive, gate=False)
    update = attempt(archive, gate=False)

    def refuse(*_: Any) -> None:
        raise AwsError("these credentials may not sagemaker:ListTags")

    monkeypatch.setattr("model_serving.aws.deploy._retire", refuse)
    update.go()
    assert "may still be there: these credentials may not sagemaker:ListTags" in update.said


def test_tidying_leaves_what_another_endpoint_uses(world: Endpoints, archive: Path) -> None:
    """The configuration before the former one goes, unless it serves elsewhere, too."""
    first = deployed(archive, gate=False)
    config = first.made.names.config
    world.world.client("sagemaker").create_endpoint(EndpointName="cats", EndpointConfigName=config)
    deployed(archive, gate=False)
    third = deployed(archive, gate=False)
    assert config in world.names()["configs"]
    assert first.made.names.model in world.names()["models"]
    assert f"removed: configuration {config}" not in third.said
    world.world.client("sagemaker").delete_endpoint(EndpointName="cats")


def test_a_report_stays_until_there_is_another(world: Endpoints, archive: Path, tmp_path: Path) -> None:
    """Preparing empties none."""
    path = tmp_path / "gate.json"
    path.write_text("{}")
    attempt(archive, report=path)
    assert path.read_text() == "{}"


def test_no_permission_to_ask_is_not_waited_for(world: Endpoints, archive: Path) -> None:
    """Nothing that the container does would mend it."""
    denied = {"message": "User is not authorized to perform: sagemaker:InvokeEndpoint on resource: dogs"}
    world.answer = lambda _: JSONResponse(denied, 403, {"x-amzn-ErrorType": "AccessDeniedException"})
    with pytest.raises(AwsError, match=r"dogs is in service .*may not sagemaker:InvokeEndpoint"):
        attempt(archive).go()
    assert len(world.asked) == 1


def test_what_cannot_be_removed_is_named(world: Endpoints, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may go on costing money."""
    refusing(monkeypatch, "create_endpoint", "ResourceLimitExceeded", "none")
    refusing(monkeypatch, "delete_model", "ValidationException", "in use")
    failed = attempt(archive)
    with pytest.raises(AwsError, match="quota"):
        failed.go()
    assert "warning: removing model" in failed.said
    assert world.names()["configs"] == []


def command(*arguments: str, answer: str = "") -> Any:
    """The command in this process, with the world's bucket and role."""
    common = ["--bucket", BUCKET, "--role", ROLE, "--bake-minutes", "0"]
    return CliRunner().invoke(deploy_cli.app, [*arguments, *common], input=answer, catch_exceptions=True)


def test_a_dry_run_prints_the_requests_and_sends_nothing(world: Endpoints, archive: Path) -> None:
    """JSON on standard output; not even the archive is uploaded."""
    done = command(str(archive), "--endpoint", "dogs", "--dry-run", "--autoscale", "1:3")
    assert done.exit_code == 0, done.output
    shown = json.loads(done.stdout)
    assert set(shown) >= {"CreateModel", "CreateEndpointConfig", "CreateEndpoint", "PutScalingPolicy"}
    assert shown["CreateModel"]["PrimaryContainer"]["ModelDataUrl"].startswith(f"s3://{BUCKET}/")
    assert world.names() == NOTHING
    assert world.world.keys() == []


def test_a_dry_run_of_an_update(world: Endpoints, archive: Path) -> None:
    """With what it keeps, and what would watch it."""
    deployed(archive, gate=False, autoscale="2:4")
    before = world.names()
    done = command(str(archive), "--endpoint", "dogs", "--dry-run")
    shown = json.loads(done.stdout)
    assert shown["UpdateEndpoint"]["RetainAllVariantProperties"] is True
    assert len(shown["UpdateEndpoint"]["DeploymentConfig"]["AutoRollbackConfiguration"]["Alarms"]) == 2
    assert shown["RegisterScalableTarget"] == {"MinCapacity": 2, "MaxCapacity": 4}
    assert world.names() == before


def test_a_dry_run_needs_no_account(world: Endpoints, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor a bucket; it is shown as a first deployment then."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    done = CliRunner().invoke(
        deploy_cli.app, [str(archive), "--endpoint", "dogs", "--dry-run", "--role", "arn:aws:iam::123456789012:role/r"]
    )
    assert done.exit_code == 0, done.output
    assert "CreateEndpoint" in json.loads(done.stdout)


def test_the_command_asks_before_it_costs_money(world: Endpoints, archive: Path) -> None:
    """With the price; no is no."""
    done = command(str(archive), "--endpoint", "dogs", answer="n\n")
    assert done.exit_code == 1
    assert "dollars" in done.output
    assert "no patches since 2026-06-30" in done.output.replace("\n", " ")
    assert world.names() == NOTHING


def test_the_command_deploys(world: Endpoints, archive: Path, tmp_path: Path) -> None:
    """From flags to an endpoint that answers, and the report; a second run says what it keeps."""
    done = command(
        str(archive), "--endpoint", "dogs", "--yes", "--report", str(tmp_path / "gate.json"), "--instance-count", "2"
    )
    assert done.exit_code == 0, (done.output, done.exception)
    assert json.loads((tmp_path / "gate.json").read_text())["ok"] is True
    again = command(str(archive), "--endpoint", "dogs", answer="n\n")
    assert "kept from what is live: --instance-count 2" in " ".join(again.output.split())


def test_a_registered_model_is_deployed_once_it_is_approved(world: Endpoints, archive: Path) -> None:
    """From one endpoint into the registry, and from there to another."""
    done = command(str(archive), "--endpoint", "dogs", "--yes", "--no-gate", "--register", "pets")
    assert done.exit_code == 0, (done.output, done.exception)
    client = world.world.client("sagemaker")
    (version,) = client.list_model_packages(ModelPackageGroupName="pets")["ModelPackageSummaryList"]
    assert command("--approved", "pets", "--endpoint", "cats", "--yes", "--no-gate").exit_code == 1
    client.update_model_package(ModelPackageArn=version["ModelPackageArn"], ModelApprovalStatus="Approved")
    done = command("--approved", "pets", "--endpoint", "cats", "--yes", "--no-gate")
    assert done.exit_code == 0, (done.output, done.exception)
    assert world.names()["endpoints"] == ["cats", "dogs"]


@pytest.mark.parametrize("arguments", [["--endpoint", "dogs"], ["FILE", "--endpoint", "dogs", "--approved", "group"]])
def test_either_a_file_or_a_group(arguments: list[str]) -> None:
    """Neither and both are refused."""
    done = command(*arguments)
    assert isinstance(done.exception, ConfigError)
    assert "--approved GROUP" in str(done.exception)


@pytest.mark.parametrize("name", ["dogs_1", "-dogs", "d" * 64])
def test_a_name_that_aws_refuses(world: Endpoints, archive: Path, name: str) -> None:
    """Before anything is sent."""
    done = command(str(archive), "--endpoint", name, "--yes") if not name.startswith("-") else command(
        str(archive), f"--endpoint={name}", "--yes"
    )  # fmt: skip
    assert "letters, digits and single dashes" in str(done.exception)
