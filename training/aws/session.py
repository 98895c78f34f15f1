"""One connection to AWS: clients that retry, an SDK session that tells nobody, requests that are looked at."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

from .account import Account
from .errors import AwsError, require_sdk, told
from .options import JobOptions

Options = TypeVar("Options", bound=Account)

ATTEMPTS = 10
"""Tries of a request, the first included; SageMaker's control plane throttles early."""

_QUIET = {
    "sagemaker": logging.CRITICAL,  # what it logs as an error it raises as well
    "sagemaker.config": logging.ERROR,  # it reports what it looks for and does not find
    "botocore": logging.WARNING,  # the SDK's import lets everybody's INFO out
}

_STARTS = ("CreateTrainingJob", "CreateHyperParameterTuningJob")


@dataclass(frozen=True)
class Aws(Generic[Options]):
    """What the rest of the package talks to; made by `connect`."""

    boto: Any
    """boto3.Session"""
    sdk: Any
    """sagemaker.Session"""
    options: Options

    @property
    def region(self) -> str:
        """As `us-east-1`."""
        return str(self.boto.region_name)

    @property
    def sagemaker(self) -> Any:
        """The client that the SDK uses too."""
        return self.sdk.sagemaker_client

    @cached_property
    def s3(self) -> Any:
        """A client of S3."""
        return self.boto.client("s3")

    @cached_property
    def bucket(self) -> str:
        """The one of the options, or SageMaker's own of the account, which is made if it is not there."""
        if self.options.bucket:
            return self.options.bucket.removeprefix("s3://").strip("/")
        with told("SageMaker's default bucket"):
            return str(self.sdk.default_bucket())

    def key(self, *parts: str) -> str:
        """A key below the prefix of the options."""
        return "/".join(part.strip("/") for part in (self.options.prefix, *parts) if part.strip("/"))

    def uri(self, *parts: str) -> str:
        """`s3://BUCKET/PREFIX/…`."""
        return f"s3://{self.bucket}/{self.key(*parts)}"


def connect(
    options: Options, *, attempts: int = ATTEMPTS, before_call: Callable[..., Any] | None = None
) -> Aws[Options]:
    """Clients by AWS's usual configuration and the options; AwsError without SDK, region or such a profile.

    Nothing is sent yet. Requests are retried adaptively, `attempts` times. `before_call` is botocore's handler of that
    name, for every request of every client: it may answer in AWS's place.
    """
    os.environ.setdefault("SAGEMAKER_SUPPRESS_V2_WARNING", "1")
    for name, level in _QUIET.items():
        logging.getLogger(name).setLevel(level)
    require_sdk()
    import boto3
    import botocore.config
    import botocore.session

    with told("AWS's configuration"):
        core = botocore.session.Session()
        retrying = botocore.config.Config(retries={"mode": "adaptive", "total_max_attempts": attempts})
        core.set_default_client_config(retrying)
        if before_call is not None:
            core.register("before-call", before_call)
        boto = boto3.Session(botocore_session=core, region_name=options.region or None)
        if boto.region_name is None:
            raise AwsError("no AWS region is set. Give --region, or set AWS_DEFAULT_REGION")
        aws = Aws(boto, _sdk_session(boto), options)
    if isinstance(options, JobOptions) and options.spot:
        _watch_spot(aws, options)
    return aws


def _sdk_session(boto: Any) -> Any:
    """With the user's own defaults for the SDK, and without its telemetry."""
    import sagemaker
    from sagemaker.config import load_sagemaker_config

    logging.getLogger("sagemaker.config").setLevel(logging.ERROR)  # its import had set it
    config = load_sagemaker_config()
    config.setdefault("SchemaVersion", "1.0")
    sdk = config.setdefault("SageMaker", {}).setdefault("PythonSDK", {})
    sdk.setdefault("Modules", {})["TelemetryOptOut"] = True
    return sagemaker.Session(boto_session=boto, sagemaker_config=config)


def _watch_spot(aws: Aws[Any], options: JobOptions) -> None:
    """Refuse to send a job that would be billed at the full price although spot was asked for."""

    def check(params: dict[str, Any], **_: Any) -> None:
        job = params.get("TrainingJobDefinition", params)
        waits = job.get("StoppingCondition", {}).get("MaxWaitTimeInSeconds")
        if job.get("EnableManagedSpotTraining") is not True or waits != options.max_wait_seconds:
            raise AwsError("spot was asked for and is not in the request; nothing was started. Is the SDK 2.257?")
        if "CheckpointConfig" not in job:
            raise AwsError("a spot job without a checkpoint would begin anew; nothing was started. Is the SDK 2.257?")

    for operation in _STARTS:
        aws.sagemaker.meta.events.register(f"before-parameter-build.sagemaker.{operation}", check)
