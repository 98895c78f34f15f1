"""Archives as versions in a group of SageMaker's Model Registry: with metrics, to be approved, to be deployed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.aws.download import ARCHIVE, fetch
from training.aws.errors import AwsError, told
from training.aws.session import Aws
from training.aws.upload import Say, encryption
from training.errors import ConfigError

from . import endpoint, package
from .model_options import ModelOptions, account_of
from .options import EndpointOptions

if TYPE_CHECKING:
    from model_serving.classifier import ModelSpec

APPROVED, PENDING = "Approved", "PendingManualApproval"

CONTENT_TYPES = ["image/jpeg", "image/png", "application/json"]

MACHINES = {
    "cpu": ("ml.c5.xlarge", "ml.c5.2xlarge", "ml.m5.large", "ml.m5.xlarge", "ml.m5.2xlarge"),
    "gpu": ("ml.g4dn.xlarge", "ml.g4dn.2xlarge", "ml.g5.xlarge", "ml.g5.2xlarge", "ml.g6.xlarge"),
}
"""That a version says it runs on, beside the one of the options: images for CPUs and for GPUs differ."""

MAX_METADATA = 50
_UNFIT = re.compile(r"[^\w .:/=+@-]+", re.ASCII)


def register(aws: Aws[Any], archive: Path, group: str, *, approve: bool = False, say: Say) -> str:
    """ARN of the archive's version in the group, which is made if it is not there.

    The same model is in a group once: registered again it is said, and approved if that is asked. The archive goes to
    S3 with this checkout's code; ArchiveError for what is none, ConfigError for a name that AWS refuses, AwsError for
    what AWS says.
    """
    if not re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", group):
        raise ConfigError(f"group: letters, digits and single dashes, at most 63, found {group!r}. Give another name")
    options = _options(aws)
    hosted = package.hosted(aws, archive, group, options)
    _require_group(aws, group, options, hosted.spec, say)
    if there := _version(aws, group, _description(hosted)):
        return _again(aws, group, there, approve, say)
    request = _request(aws, group, hosted, options, APPROVED if approve else PENDING)
    with told(f"registering in {group}"):
        arn = str(aws.sagemaker.create_model_package(**request)["ModelPackageArn"])
    say(
        f"{group}: {hosted.spec.name} {hosted.spec.version} is version {_number(arn)}, {request['ModelApprovalStatus']}"
    )
    if not approve:
        say(f"to approve it: {approval(arn)}")
    return arn


def newest_approved(aws: Aws[Any], group: str, folder: Path) -> Path:
    """The archive of the group's newest approved version, as `model.tar.gz` in the folder.

    AwsError where the group or an approved version is missing, with the command that approves the newest.
    """
    for found in _versions(aws, group, APPROVED):
        if found["ModelPackageStatus"] == "Completed":
            with told(f"looking at {found['ModelPackageArn']}"):
                version = aws.sagemaker.describe_model_package(ModelPackageName=found["ModelPackageArn"])
            path = folder / ARCHIVE
            containers = version.get("InferenceSpecification", {}).get("Containers") or [{}]
            if "ModelDataUrl" not in containers[0]:
                raise AwsError(
                    f"version {_number(found['ModelPackageArn'])} of {group} has no archive, so it is none of ours. "
                    "Approve one that was registered here"
                )
            fetch(aws, containers[0]["ModelDataUrl"], path)
            return path
    waiting = next(_versions(aws, group, PENDING), None)
    if waiting is None:
        raise AwsError(
            f"group {group} has no approved model, nor one to approve. Register one: "
            f"python -m model_serving register model.tar.gz --group {group} --approve"
        )
    raise AwsError(
        f"group {group} has no approved model. To approve its newest: {approval(waiting['ModelPackageArn'])}"
    )


def approval(arn: str) -> str:
    """The command that approves a version."""
    region = arn.split(":")[3]
    command = f"aws sagemaker update-model-package --region {region} --model-package-arn {arn}"
    return f"{command} --model-approval-status {APPROVED}"


def _options(aws: Aws[Any]) -> EndpointOptions:
    """Those of the connection; of a job's only what is about the account."""
    if isinstance(aws.options, EndpointOptions):
        return aws.options
    if isinstance(aws.options, ModelOptions):
        return aws.options.endpoint()
    return ModelOptions(**account_of(aws.options)).endpoint()


def _require_group(aws: Aws[Any], group: str, options: EndpointOptions, spec: ModelSpec, say: Say) -> None:
    """Tags belong to the group: AWS refuses them on its versions."""
    with told(f"registry group {group}"):
        if endpoint.or_none(aws.sagemaker.describe_model_package_group, ModelPackageGroupName=group) is None:
            aws.sagemaker.create_model_package_group(
                ModelPackageGroupName=group,
                ModelPackageGroupDescription=f"Versions of {_fit(spec.name)}",
                Tags=[tag for tag in package.tags(options, spec) if tag["Key"] != "whippet:version"],
            )
            say(f"{group}: a new group of the registry")


def _versions(aws: Aws[Any], group: str, status: str = "") -> Iterator[dict[str, Any]]:
    """Summaries, the newest first; AwsError where there is no such group."""
    which = {"ModelApprovalStatus": status} if status else {}
    order = {"SortBy": "CreationTime", "SortOrder": "Descending"}
    with told(f"registry group {group}"):
        pages = aws.sagemaker.get_paginator("list_model_packages")
        for page in pages.paginate(ModelPackageGroupName=group, **order, **which):
            yield from page["ModelPackageSummaryList"]


def _version(aws: Aws[Any], group: str, description: str) -> dict[str, Any] | None:
    """The summary of this model on this image in the group: the description says which one it is."""
    found = (one for one in _versions(aws, group) if one.get("ModelPackageDescription") == description)
    return next((one for one in found if one["ModelPackageStatus"] != "Failed"), None)


def _again(aws: Aws[Any], group: str, there: dict[str, Any], approve: bool, say: Say) -> str:
    arn, status = str(there["ModelPackageArn"]), there["ModelApprovalStatus"]
    say(f"{group} has this model already, as version {_number(arn)}, {status}")
    if approve and status != APPROVED:
        with told(f"approving {arn}"):
            aws.sagemaker.update_model_package(ModelPackageArn=arn, ModelApprovalStatus=APPROVED)
        say(f"{group}: version {_number(arn)} is {APPROVED}")
    return arn


def _request(
    aws: Aws[Any], group: str, hosted: package.Hosted, options: EndpointOptions, status: str
) -> dict[str, Any]:
    container = {"Image": hosted.image, "ModelDataUrl": hosted.uri, "Environment": hosted.environment}
    kind = "gpu" if options.has_gpu else "cpu"
    machines = list(dict.fromkeys((*MACHINES[kind], *([] if options.serverless_mb else [options.instance_type]))))
    request: dict[str, Any] = {
        "ModelPackageGroupName": group,
        "ModelPackageDescription": _description(hosted),
        "InferenceSpecification": {
            "Containers": [container],
            "SupportedContentTypes": CONTENT_TYPES,
            "SupportedResponseMIMETypes": ["application/json"],
            "SupportedRealtimeInferenceInstanceTypes": machines,
            "SupportedTransformInstanceTypes": machines,
        },
        "ModelApprovalStatus": status,
        "CustomerMetadataProperties": _metadata(hosted.spec),
    }
    if hosted.spec.metrics:
        statistics = {"ContentType": "application/json", "S3Uri": _metrics(aws, group, hosted.spec)}
        request["ModelMetrics"] = {"ModelQuality": {"Statistics": statistics}}
    if options.kms_key:
        request["SecurityConfig"] = {"KmsKeyId": options.kms_key}
    return request


def _metrics(aws: Aws[Any], group: str, spec: ModelSpec) -> str:
    """URI of the metrics as JSON in S3, which is how the registry takes them."""
    key = aws.key("registry", group, f"{spec.version}.json")
    body = json.dumps(spec.metrics, indent=1).encode()
    with told(f"metrics to s3://{aws.bucket}"):
        aws.s3.put_object(Bucket=aws.bucket, Key=key, Body=body, ContentType="application/json", **encryption(aws))
    return f"s3://{aws.bucket}/{key}"


def _metadata(spec: ModelSpec) -> dict[str, str]:
    """What people look for in the console: the model, and the numbers of its metrics under their names."""
    found = {
        "model": spec.name,
        "version": spec.version,
        "backbone": spec.backbone,
        "classes": str(len(spec.classes)),
        "created": spec.created,
        "data": str(spec.data.get("fingerprint", "")),
        **dict(_numbers(spec.metrics)),
    }
    fitting = {_fit(key)[:128]: _fit(value)[:256] for key, value in found.items() if value}
    return dict(list(fitting.items())[:MAX_METADATA])


def _numbers(metrics: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """`test.top1` and the like, down to single numbers; lists (a confusion matrix) stay in the JSON."""
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{name}.")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield f"{prefix}{name}", f"{value:g}"


def _description(hosted: package.Hosted) -> str:
    return f"{_fit(hosted.spec.name)[:200]} {hosted.spec.version} for {_fit(hosted.image)}"


def _fit(text: str) -> str:
    """In the letters that the registry takes."""
    return _UNFIT.sub("-", text)[:256]


def _number(arn: str) -> str:
    return arn.rpartition("/")[2]
