"""Archives in SageMaker's Model Registry: registered once, approved, found again; requests as they are sent."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from model_serving import archive as archives
from model_serving import defaults
from model_serving.aws import registry
from model_serving.aws.manage_cli import app
from model_serving.aws.options import EndpointOptions
from model_serving.classifier import pretrained
from model_serving.errors import ArchiveError
from tests.aws_world import BUCKET, World, connected, sent
from tests.managed import connection
from training.aws.errors import AwsError
from training.aws.session import Aws
from training.errors import ConfigError

METRICS = {"test": {"top1": 0.925, "photos": 836, "confusion": [[1, 2], [3, 4]]}, "epochs": [{"loss": 1.0}]}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default model with metrics of a training."""
    path = tmp_path_factory.mktemp("measured") / "model.tar.gz"
    spec = dataclasses.replace(defaults.default_spec(), metrics=METRICS, data={"fingerprint": "abc"})
    archives.pack(spec, pretrained.weights("efficientnet_lite0"), path)
    return path


def other(folder: Path, name: str) -> Path:
    """A model of another name, and so of another version."""
    spec = dataclasses.replace(defaults.default_spec(), name=name)
    archives.pack(spec, pretrained.weights("efficientnet_lite0"), folder / f"{name}.tar.gz")
    return folder / f"{name}.tar.gz"


def version_of(path: Path) -> str:
    """What an archive says of itself."""
    with archives.unpacked(path) as folder:
        return str(json.loads((folder / "model.json").read_text())["version"])


def test_a_registered_model_has_metrics_and_waits_for_approval(
    here: World, aws: Aws[EndpointOptions], measured: Path
) -> None:
    """Image, archive, what it takes, where it runs, metrics as JSON in S3, numbers to be seen in the console."""
    requests, groups = sent(aws, "CreateModelPackage"), sent(aws, "CreateModelPackageGroup")
    said: list[str] = []
    arn = registry.register(aws, measured, "dogs", say=said.append)
    (request,), (group,) = requests, groups
    assert group["ModelPackageGroupName"] == "dogs"
    assert {tag["Key"] for tag in group["Tags"]} == {"whippet:model"}
    assert "Tags" not in request  # AWS refuses them on a version of a group
    assert request["ModelApprovalStatus"] == "PendingManualApproval"
    offered = request["InferenceSpecification"]
    (container,) = offered["Containers"]
    assert "pytorch-inference:2.6.0-cpu-py312" in container["Image"]
    assert container["Environment"]["SAGEMAKER_PROGRAM"] == "inference.py"
    assert len(container["Environment"]) <= 16
    assert offered["SupportedContentTypes"] == ["image/jpeg", "image/png", "application/json"]
    assert "ml.m5.xlarge" in offered["SupportedRealtimeInferenceInstanceTypes"]
    assert "ml.g5.xlarge" not in offered["SupportedTransformInstanceTypes"]
    key = request["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"].removeprefix(f"s3://{BUCKET}/")
    assert json.loads(here.client("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read()) == METRICS
    metadata = request["CustomerMetadataProperties"]
    assert (metadata["test.top1"], metadata["data"]) == ("0.925", "abc")
    assert metadata["version"] in request["ModelPackageDescription"]
    archive_key = container["ModelDataUrl"].removeprefix(f"s3://{BUCKET}/")
    assert here.keys(archive_key) == [archive_key]
    assert said[-1] == f"to approve it: {registry.approval(arn)}"


def test_the_same_model_is_registered_once(aws: Aws[EndpointOptions], measured: Path, tmp_path: Path) -> None:
    """Said, not repeated; approved if that is asked then; another model is the next version."""
    requests = sent(aws, "CreateModelPackage")
    said: list[str] = []
    first = registry.register(aws, measured, "dogs", say=said.append)
    assert registry.register(aws, measured, "dogs", say=said.append) == first
    assert said[-1] == "dogs has this model already, as version 1, PendingManualApproval"
    assert registry.register(aws, measured, "dogs", approve=True, say=said.append) == first
    assert said[-1] == "dogs: version 1 is Approved"
    assert len(requests) == 1
    second = registry.register(aws, other(tmp_path, "cats"), "dogs", approve=True, say=said.append)
    assert second.endswith("/2")
    assert len(requests) == 2
    assert "ModelMetrics" not in requests[1]


def test_the_same_model_on_another_image_is_another_version(aws: Aws[EndpointOptions], measured: Path) -> None:
    """By the whole image: of two accounts the same name may be two images."""
    first = registry.register(aws, measured, "dogs", say=print)
    images = [f"{account}.dkr.ecr.us-east-1.amazonaws.com/mine:1" for account in ("111122223333", "444455556666")]
    for number, image in enumerate(images, 2):
        assert registry.register(connection(image_uri=image), measured, "dogs", say=print).endswith(f"/{number}")
    assert registry.register(aws, measured, "dogs", say=print) == first


def test_the_archive_is_sent_again_under_another_key(here: World, aws: Aws[EndpointOptions], measured: Path) -> None:
    """What lies in S3 without the key does not do, though it is the same archive."""
    registry.register(aws, measured, "dogs", say=print)
    registry.register(connection(kms_key="key-1"), measured, "dogs", say=print)
    (archive,) = here.keys("whippet/models/")
    assert here.client("s3").head_object(Bucket=BUCKET, Key=archive).get("SSEKMSKeyId") == "key-1"


def test_an_approved_version_without_an_archive_is_none_of_ours(aws: Aws[EndpointOptions], tmp_path: Path) -> None:
    """Its model lies in S3 unpacked, or in no single place; one line says so."""
    aws.sagemaker.create_model_package_group(ModelPackageGroupName="dogs")
    container = {"Image": "1.dkr.ecr.us-east-1.amazonaws.com/x"}
    aws.sagemaker.create_model_package(
        ModelPackageGroupName="dogs",
        ModelApprovalStatus="Approved",
        InferenceSpecification={"Containers": [container], "SupportedContentTypes": ["image/jpeg"]},
    )
    with pytest.raises(AwsError, match=r"^version 1 of dogs has no archive, so it is none of ours\. Approve one that"):
        registry.newest_approved(aws, "dogs", tmp_path)


def test_the_newest_approved_model_comes_home(aws: Aws[EndpointOptions], measured: Path, tmp_path: Path) -> None:
    """Of several versions the newest of those approved, whatever was registered after it."""
    registry.register(aws, other(tmp_path, "old"), "dogs", approve=True, say=print)
    registry.register(aws, measured, "dogs", approve=True, say=print)
    registry.register(aws, other(tmp_path, "new"), "dogs", say=print)
    found = registry.newest_approved(aws, "dogs", tmp_path / "home")
    assert version_of(found) == version_of(measured)


def test_versions_are_found_over_all_pages(aws: Aws[EndpointOptions], tmp_path: Path) -> None:
    """More than one page of others does not hide an approved one, nor that a model is there."""
    client = aws.sagemaker
    client.create_model_package_group(ModelPackageGroupName="dogs")
    for number in range(230):
        uri = f"s3://{BUCKET}/archives/{number}/model.tar.gz"
        container = {"Image": "1.dkr.ecr.us-east-1.amazonaws.com/x", "ModelDataUrl": uri}
        client.create_model_package(
            ModelPackageGroupName="dogs",
            ModelPackageDescription=f"dogs {number}",
            ModelApprovalStatus="Approved" if number == 3 else "Rejected",
            InferenceSpecification={"Containers": [container], "SupportedContentTypes": ["image/jpeg"]},
        )
    aws.s3.put_object(Bucket=BUCKET, Key="archives/3/model.tar.gz", Body=b"the third")
    assert registry.newest_approved(aws, "dogs", tmp_path / "home").read_bytes() == b"the third"
    summaries = list(registry._versions(aws, "dogs"))
    assert len(summaries) == 230
    assert summaries[0]["ModelPackageVersion"] == 230


def test_nothing_approved_says_how_to_approve(aws: Aws[EndpointOptions], measured: Path, tmp_path: Path) -> None:
    """With the command for the newest version, or the one that registers."""
    aws.sagemaker.create_model_package_group(ModelPackageGroupName="dogs")
    with pytest.raises(AwsError, match=r"nor one to approve\. Register one: python -m model_serving register"):
        registry.newest_approved(aws, "dogs", tmp_path)
    arn = registry.register(aws, measured, "dogs", say=print)
    with pytest.raises(AwsError) as caught:
        registry.newest_approved(aws, "dogs", tmp_path)
    assert str(caught.value) == (
        "group dogs has no approved model. To approve its newest: aws sagemaker update-model-package "
        f"--region us-east-1 --model-package-arn {arn} --model-approval-status Approved"
    )


def test_a_job_registers_with_what_it_knows_of_the_account(here: World, measured: Path) -> None:
    """Options of a training job have bucket, tags and key, and no endpoint's machine."""
    aws: Aws[Any] = connected(tags=("team=vets",), kms_key="key-1", instance_type="ml.p3.2xlarge")
    requests, groups = sent(aws, "CreateModelPackage"), sent(aws, "CreateModelPackageGroup")
    registry.register(aws, measured, "dogs", say=print)
    assert {"Key": "team", "Value": "vets"} in groups[0]["Tags"]
    assert requests[0]["SecurityConfig"] == {"KmsKeyId": "key-1"}
    machines = requests[0]["InferenceSpecification"]["SupportedRealtimeInferenceInstanceTypes"]
    assert "ml.p3.2xlarge" not in machines
    keys = here.keys("whippet/")
    assert keys
    assert {here.client("s3").head_object(Bucket=BUCKET, Key=key).get("SSEKMSKeyId") for key in keys} == {"key-1"}


def test_names_and_files_are_checked_before_anything_is_sent(aws: Aws[EndpointOptions], tmp_path: Path) -> None:
    """Neither a group that AWS refuses nor a file that is no archive leaves something behind."""
    (tmp_path / "no.tar.gz").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match="letters, digits and single dashes"):
        registry.register(aws, tmp_path / "no.tar.gz", "my dogs", say=print)
    with pytest.raises(ArchiveError):
        registry.register(aws, tmp_path / "no.tar.gz", "dogs", say=print)
    assert aws.sagemaker.list_model_package_groups()["ModelPackageGroupSummaryList"] == []


@pytest.mark.usefixtures("here")
def test_register_on_the_command_line(measured: Path) -> None:
    """The ARN on stdout, the rest beside it."""
    command = ["register", str(measured), "--group", "dogs", "--approve", "--bucket", BUCKET, "--role", "trainer"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.exception
    assert result.stdout == "arn:aws:sagemaker:us-east-1:123456789012:model-package/dogs/1\n"
    assert "is version 1, Approved" in result.stderr
    missing = CliRunner().invoke(app, ["register", "none.tar.gz", "--group", "dogs"])
    assert isinstance(missing.exception, ArchiveError)
