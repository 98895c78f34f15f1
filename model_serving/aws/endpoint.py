"""Model, configuration and endpoint on SageMaker: the requests that make them, and what AWS says of them."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any

from training.aws.errors import AwsError, one_line, told
from training.aws.session import Aws
from training.aws.upload import Say
from training.errors import ConfigError

from .options import OFF, EndpointOptions
from .package import RAY_GPU_AMI, Hosted, tags

VARIANT = "AllTraffic"
"""Name of the one variant of an endpoint, as the SDK calls it."""

MAX_NAME = 63

CHANGING = ("Creating", "Updating", "SystemUpdating", "RollingBack")
"""States in which AWS removes no endpoint."""

REMOVAL_SECONDS = 1800.0
"""For an endpoint to come to rest and go."""

_STARTUP_SECONDS = 900
"""For a container to load the model, and for the machine to fetch it; AWS's own limits are 8 minutes and 1."""

LOCAL_DISK = re.compile(r"ml\.(?:[a-z]+\d[a-z]*d[a-z]*|g[4-9][a-z]*|p[3-9][a-z]+|p5)\.")
"""Families whose disks are in the machine: they encrypt them themselves, and AWS refuses a key."""


@dataclass(frozen=True)
class Names:
    """Of one deployment: the endpoint keeps its name, configuration and model are new each time."""

    endpoint: str
    config: str
    model: str


def require_name(endpoint: str) -> None:
    """ConfigError for a name that AWS refuses."""
    if not re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9])*", endpoint) or len(endpoint) > MAX_NAME:
        raise ConfigError(
            f"endpoint: letters, digits and single dashes, at most {MAX_NAME}, found {endpoint!r}. Give another name"
        )


def names(endpoint: str, version: str) -> Names:
    """`NAME-<version>-<date>-<four digits>` for configuration and model; ConfigError as `require_name`."""
    require_name(endpoint)
    unique = unique_name(endpoint, version)
    return Names(endpoint, unique, unique)


def unique_name(base: str, more: str) -> str:
    """`BASE-MORE-241124-1731-3fa9`, the base cut to what AWS allows."""
    end = f"{more}-{datetime.now(timezone.utc):%y%m%d-%H%M}-{secrets.token_hex(2)}"
    return f"{base[: MAX_NAME - len(end) - 1].rstrip('-')}-{end}"


def model_request(aws: Aws[Any], hosted: Hosted, options: EndpointOptions, name: str, *, send: bool) -> dict[str, Any]:
    """CreateModel as the SDK's model makes it; a role's name becomes its ARN where something may be sent."""
    with told("the model's role"):
        role = hosted.model.role
        if not role:
            raise AwsError("an endpoint needs a role. Give --role with the ARN of a role that SageMaker may assume")
        arn = aws.sdk.expand_role(role) if send else role
        container = hosted.model.prepare_container_def(options.instance_type)
    network = {"VpcConfig": hosted.model.vpc_config} if hosted.model.vpc_config else {}
    return {
        "ModelName": name,
        "PrimaryContainer": container,
        "ExecutionRoleArn": arn,
        "Tags": tags(options, hosted.spec),
        **network,
    }


def config_request(hosted: Hosted, options: EndpointOptions, names: Names, count: int = 0) -> dict[str, Any]:
    """CreateEndpointConfig; a `count` of machines is that of a candidate, whose requests are not captured."""
    variant = {"VariantName": VARIANT, "ModelName": names.model, "InitialVariantWeight": 1.0, **_machine(options)}
    if count and "InitialInstanceCount" in variant:
        variant["InitialInstanceCount"] = count
    found: dict[str, Any] = {
        "EndpointConfigName": names.config,
        "ProductionVariants": [variant],
        "Tags": tags(options, hosted.spec),
    }
    if options.kms_key and not LOCAL_DISK.match(options.instance_type):
        found["KmsKeyId"] = options.kms_key
    if options.data_capture not in ("", OFF) and not count:
        found["DataCaptureConfig"] = _capture(options)
    return found


def _machine(options: EndpointOptions) -> dict[str, Any]:
    if options.serverless_mb:
        serverless = {"MemorySizeInMB": options.serverless_mb, "MaxConcurrency": options.max_concurrency}
        return {"ServerlessConfig": serverless}
    found: dict[str, Any] = {
        "InstanceType": options.instance_type,
        "InitialInstanceCount": options.initial_count,
        "ModelDataDownloadTimeoutInSeconds": _STARTUP_SECONDS,
        "ContainerStartupHealthCheckTimeoutInSeconds": _STARTUP_SECONDS,
        "RoutingConfig": {"RoutingStrategy": "LEAST_OUTSTANDING_REQUESTS"},
    }
    if options.runtime == "ray" and options.has_gpu:
        found["InferenceAmiVersion"] = RAY_GPU_AMI
    return found


def _capture(options: EndpointOptions) -> dict[str, Any]:
    key = {"KmsKeyId": options.kms_key} if options.kms_key else {}
    return {
        "EnableCapture": True,
        "InitialSamplingPercentage": options.capture_percent,
        "DestinationS3Uri": options.data_capture,
        "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        "CaptureContentTypeHeader": {"JsonContentTypes": ["application/json"]},
        **key,
    }


def create_request(hosted: Hosted, options: EndpointOptions, names: Names) -> dict[str, Any]:
    """CreateEndpoint."""
    return {
        "EndpointName": names.endpoint,
        "EndpointConfigName": names.config,
        "Tags": tags(options, hosted.spec),
    }


def update_request(
    options: EndpointOptions, names: Names, running: int, alarms: list[str], *, scaled: bool
) -> dict[str, Any]:
    """UpdateEndpoint of one with so many machines running; `scaled` keeps their number, which autoscaling has set."""
    found: dict[str, Any] = {"EndpointName": names.endpoint, "EndpointConfigName": names.config}
    if options.serverless_mb:  # which has no guardrails
        return found
    if scaled:
        found["RetainAllVariantProperties"] = True
        found["ExcludeRetainedVariantProperties"] = [{"VariantPropertyType": "DataCaptureConfig"}]
    rollback = {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": name} for name in alarms]}} if alarms else {}
    return {**found, "DeploymentConfig": {"BlueGreenUpdatePolicy": _blue_green(options, running), **rollback}}


def _blue_green(options: EndpointOptions, running: int) -> dict[str, Any]:
    """A canary of one machine needs two: AWS lets it be half of them at most. One alone shifts at once, and bakes."""
    bake = round(options.bake_minutes * 60)
    routing: dict[str, Any] = {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": bake}
    if options.canary and running > 1:
        whole = running * options.canary // 100
        size = (
            {"Type": "CAPACITY_PERCENT", "Value": options.canary} if whole else {"Type": "INSTANCE_COUNT", "Value": 1}
        )
        routing = {"Type": "CANARY", "WaitIntervalInSeconds": bake, "CanarySize": size}
    return {
        "TrafficRoutingConfiguration": routing,
        "TerminationWaitInSeconds": bake,
        "MaximumExecutionTimeoutInSeconds": int(min(28_800, max(600, options.max_wait_minutes * 60) + 2 * bake)),
    }


def describe(aws: Aws[Any], name: str) -> dict[str, Any] | None:
    """DescribeEndpoint; None where there is no such endpoint."""
    with told(f"looking at {name}"):
        return or_none(aws.sagemaker.describe_endpoint, EndpointName=name)


def configuration(aws: Aws[Any], name: str) -> dict[str, Any] | None:
    """DescribeEndpointConfig; None where there is no such configuration."""
    with told(f"looking at {name}"):
        return or_none(aws.sagemaker.describe_endpoint_config, EndpointConfigName=name)


def variant(found: dict[str, Any]) -> dict[str, Any]:
    """The one variant of a described endpoint or configuration."""
    variants: list[dict[str, Any]] = found.get("ProductionVariants") or [{}]
    return variants[0]


def or_none(look: Callable[..., Any], **request: str) -> dict[str, Any] | None:
    """What a call of boto3 that describes something answers; None where AWS says that there is no such thing."""
    from botocore.exceptions import ClientError

    try:
        answer: dict[str, Any] = look(**request)
    except ClientError as error:
        if is_gone(error):
            return None
        raise
    return answer


def is_gone(error: Any) -> bool:
    """Whether AWS says that there is nothing of the name, for which it has a code that stands for much else."""
    code, text = error.response["Error"].get("Code", ""), str(error).lower()
    return code in ("ResourceNotFound", "ValidationException", "ObjectNotFoundException") and any(
        said in text for said in ("could not find", "not found", "does not exist", "no scalable target")
    )


def delete(
    aws: Aws[Any],
    name: str,
    say: Say,
    *,
    patience: float = REMOVAL_SECONDS,
    seconds: float = 10.0,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Remove an endpoint once AWS lets it go, and wait until it is gone: before that its models are in use.

    AwsError where the deletion fails, or the endpoint is still there after so many seconds.
    """
    begun, seen, asked = time.monotonic(), "", False
    while (found := describe(aws, name)) is not None:
        status = found["EndpointStatus"]
        if status != seen and status in (*CHANGING, "Deleting"):
            say(f"{name} is {status}")
        if seen == "Deleting" and status == "Failed":
            why = one_line(str(found.get("FailureReason") or "AWS gives no reason"))
            raise AwsError(f"{name} could not be removed: {why}. Try again: {by_hand(aws, name)}", "DeletionFailed")
        seen = status
        if status not in CHANGING and not asked:
            asked = True
            if status != "Deleting":
                with told(f"removing endpoint {name}"):
                    or_none(aws.sagemaker.delete_endpoint, EndpointName=name)
            continue
        if time.monotonic() - begun >= patience:
            mend = f"Try again later: {by_hand(aws, name)}"
            raise AwsError(f"{name} is still {status} after {patience / 60:g} minutes. {mend}", "Stuck")
        sleep(seconds)


def by_hand(aws: Aws[Any], name: str) -> str:
    """The command that removes an endpoint with what belongs to it."""
    return f"python -m model_serving delete {name} --region {aws.region}"


@dataclass(frozen=True)
class Made:
    """Something that may have been made: `remove` answers None where it is not there.

    `hand` is the command that removes it together with what was made before it, which it uses as long as it is there.
    """

    what: str
    remove: Callable[[], Any]
    hand: str = ""


@dataclass
class Cleanup:
    """What has been made so far, and is removed again, the latest first, unless it is kept."""

    say: Say
    seconds: float = 10.0
    patience: float = REMOVAL_SECONDS
    made: list[Made] = field(default_factory=list)

    def add(self, what: str, remove: Callable[[], Any], hand: str = "") -> None:
        """Something that is about to be made: an answer that is lost does not tell whether it was."""
        self.made.append(Made(what, remove, hand))

    def taken(self) -> Cleanup:
        """All of it, for somebody else to remove; here there is nothing left."""
        made, self.made = self.made, []
        return replace(self, made=made)

    def keep(self, what: str) -> None:
        """One thing is not removed: something that stays uses it."""
        self.made = [one for one in self.made if one.what != what]

    def run(self) -> None:
        """Remove all, and say so; what cannot be removed is named, and the rest goes on unless that needs it."""
        while self.made:
            one = self.made[-1]
            try:
                with told(f"removing {one.what}"):
                    there = one.remove()
                if there is not None:
                    self.say(f"removed: {one.what}")
            except AwsError as error:
                if one.hand:
                    self.say(f"warning: {error}. {one.what} may be billed. To end it: {one.hand}")
                    return
                self.say(f"warning: {error}. Remove {one.what} yourself, else it may be billed")
            except BaseException:  # Ctrl-C
                if one.hand:
                    self.say(f"warning: {one.what} may still be there, and is billed then. To end it: {one.hand}")
                raise
            self.made.pop()


def make(aws: Aws[Any], model: dict[str, Any], config: dict[str, Any], cleanup: Cleanup) -> None:
    """Model and configuration; both are noted for the cleanup."""
    name = model["ModelName"]
    cleanup.add(f"model {name}", lambda: or_none(aws.sagemaker.delete_model, ModelName=name))
    with told(f"creating the model {name}"):
        aws.sagemaker.create_model(**model)
    configure(aws, config, cleanup)


def configure(aws: Aws[Any], config: dict[str, Any], cleanup: Cleanup) -> None:
    """One more configuration."""
    name = config["EndpointConfigName"]
    remove = aws.sagemaker.delete_endpoint_config
    cleanup.add(f"configuration {name}", lambda: or_none(remove, EndpointConfigName=name))
    with told(f"creating the configuration {name}"):
        aws.sagemaker.create_endpoint_config(**config)


def create(aws: Aws[Any], request: dict[str, Any], cleanup: Cleanup) -> None:
    """The endpoint; from here on it is billed."""
    name = request["EndpointName"]

    def remove() -> bool | None:
        found = describe(aws, name)
        if found is None or found["EndpointConfigName"] != request["EndpointConfigName"]:  # somebody else was faster
            return None
        delete(aws, name, cleanup.say, patience=cleanup.patience, seconds=cleanup.seconds)
        return True

    cleanup.add(f"endpoint {name}", remove, by_hand(aws, name))
    with told(f"creating the endpoint {name}"):
        aws.sagemaker.create_endpoint(**request)
