"""An endpoint as it comes up or changes: its stages, why it failed, and how long we wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from training.aws.errors import AwsError, one_line
from training.aws.session import Aws
from training.aws.upload import Say

from .endpoint import describe, variant

LOG_GROUP = "/aws/sagemaker/Endpoints"
"""CloudWatch keeps what a container prints in the group of its endpoint below this."""

POLL_SECONDS = 10.0

_ENDED = ("InService", "Failed", "OutOfService", "UpdateRollbackFailed")

_MENDS = {
    ("InsufficientInstanceCapacity", "capacity"): (
        "AWS has no such machine free. Try later, or take another --instance-type or --region"
    ),
    ("ping health check", "health check"): "The container did not come up; its log says why",
    ("Access denied", "AccessDenied", "s3:GetObject", "not authorized"): (
        "Let the role of --role read the bucket and pull images from ECR"
    ),
    (
        "quota",
        "limit",
        "ResourceLimitExceeded",
    ): "Ask for more in AWS's Service Quotas, or take another --instance-type",
    ("image", "ECR"): "Check --image-uri, --runtime and --region",
}


@dataclass(frozen=True)
class Update:
    """An update to `config` of an endpoint that looked like `live`: the first looks may still show that."""

    config: str
    live: dict[str, Any]

    def ended(self, found: dict[str, Any]) -> bool:
        """Whether an endpoint in service shows the new configuration, or a reason that was not there before."""
        fresh = found.get("FailureReason") not in (None, "", self.live.get("FailureReason"))
        return found["EndpointConfigName"] == self.config or fresh


def wait(
    aws: Aws[Any],
    name: str,
    say: Say,
    *,
    minutes: float,
    seconds: float = POLL_SECONDS,
    sleep: Callable[[float], None] = time.sleep,
    update: Update | None = None,
) -> dict[str, Any]:
    """Say what becomes of an endpoint until it is in service; returns its description.

    AwsError where it fails, or is not ready after so many minutes; it is left as it is.
    """
    stages, begun, changed = _Stages(), time.monotonic(), update is None
    while True:
        found = describe(aws, name)
        if found is None:
            raise AwsError(f"{name} was removed while it was waited for. Deploy it again", "Gone")
        minute = (time.monotonic() - begun) / 60
        for line in stages.new(found, int(minute)):
            say(f"{name}: {line}")
        changed = changed or found["EndpointStatus"] != "InService" or (update is not None and update.ended(found))
        if changed and found["EndpointStatus"] in _ENDED:
            require_in_service(found)
            return found
        if minute >= minutes:
            raise AwsError(stuck(name, found["EndpointStatus"], minutes), "Stuck")
        sleep(seconds)


def require_in_service(found: dict[str, Any]) -> None:
    """AwsError with the reason in one line unless the endpoint takes requests."""
    name, status = found["EndpointName"], found["EndpointStatus"]
    if status == "InService":
        return
    if status == "UpdateRollbackFailed":
        raise AwsError(
            f"{name} could be neither updated nor rolled back: {reason(found)}. {log(name)}", "RollbackFailed"
        )
    raise AwsError(f"{name} is {status}: {reason(found)}. {log(name)}", "EndpointFailed")


def stuck(name: str, status: str, minutes: float) -> str:
    """The one line for an endpoint that does not come up."""
    return (
        f"{name} is still {status} after {minutes:g} minutes. Look why: {log(name)}, "
        "and give it more --max-wait-minutes if it only loads"
    )


def log(name: str) -> str:
    """Where the container's log is."""
    return f"Its log: CloudWatch, group {LOG_GROUP}/{name}"


def reason(found: dict[str, Any]) -> str:
    """AWS's reason with the mend."""
    said = one_line(str(found.get("FailureReason") or "AWS gives no reason"))
    for words, mend in _MENDS.items():
        if any(word.lower() in said.lower() for word in words):
            return f"{said}. {mend}"
    return said


class _Stages:
    """Lines for what is new: the status, the stage of an update, or that another minute has passed."""

    def __init__(self) -> None:
        self._seen: tuple[str, ...] = ()
        self._minute = 0

    def new(self, found: dict[str, Any], minute: int) -> Iterator[str]:
        pending = variant(found.get("PendingDeploymentSummary", {})).get("VariantStatus", [])
        stages = [one_line(f"{one['Status']} {one.get('StatusMessage', '')}") for one in pending]
        now = (found["EndpointStatus"], *stages)
        if now == self._seen and minute == self._minute:
            return
        yield ", ".join(now) + (f", {minute} min" if minute else "")
        self._seen, self._minute = now, minute
