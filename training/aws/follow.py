"""A job as it goes: its stages, what it prints, and why it failed."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

from .errors import LOG_GROUP, AwsError, one_line, told
from .jobs import describe
from .session import Aws
from .upload import Say

ENDED = ("Completed", "Failed", "Stopped")
POLL_SECONDS = 10.0

NO_CAPACITY = "AWS has no such machine to spare. Try later, or another --instance-type or --region"
_STOPS = {
    "MaxRuntime": "Give it more --max-hours",
    "MaxWait": "Spot capacity did not come, or not for long enough. Give it more --max-wait-hours, or leave out --spot",
}
"""What to do by how a job was stopped."""


def follow(
    aws: Aws[Any],
    name: str,
    say: Say,
    *,
    seconds: float = POLL_SECONDS,
    sleep: Callable[[float], None] = time.sleep,
    again: str = "",
) -> dict[str, Any]:
    """Say what the job says until it has ended; returns its description. AwsError where it failed or was stopped.

    Ctrl-C leaves it running: KeyboardInterrupt goes on after a line that says how to come back, which is `again`.
    """
    log, stages = _Log(aws, name), _Stages()
    try:
        while True:
            found = describe(aws, name)
            ended = found["TrainingJobStatus"] in ENDED  # asked before the log is read, so that its end is read too
            for line in (*stages.new(found), *log.new()):
                say(line)
            if ended:
                break
            sleep(seconds)
    except KeyboardInterrupt:
        later = again or f"python -m training attach {name}"
        say(f"{name} goes on without us, and is billed. Its results later: {later}")
        say(f"To end it: aws sagemaker stop-training-job --training-job-name {name}{_region(aws)}")
        raise
    require_success(name, found)
    return found


def _region(aws: Aws[Any]) -> str:
    return f" --region {aws.options.region}" if aws.options.region else ""


def require_success(name: str, found: dict[str, Any]) -> None:
    """AwsError with the reason in one line unless the job has completed."""
    status = found["TrainingJobStatus"]
    if status == "Completed":
        return
    where = f"Its log: CloudWatch, group {LOG_GROUP}, streams {name}/"
    if status == "Failed":
        said = reason(found.get("FailureReason", ""))
        mend = f" {NO_CAPACITY}." if said.startswith("CapacityError") else ""
        raise AwsError(f"{name} failed: {said}.{mend} {where}", "JobFailed")
    ended = found.get("SecondaryStatus", status)
    mend = next((f" {mend}." for start, mend in _STOPS.items() if ended.startswith(start)), "")
    raise AwsError(f"{name} was stopped ({ended}).{mend} {where}", "JobStopped")


def reason(text: str) -> str:
    """What a job that failed says for itself: our own message where there is one, without AWS's wrapping.

    The toolkit writes `ErrorMessage "ConfigError, an Exception: epochs: …"` and the command below it.
    """
    if "InstallRequirementsError" in text:  # which says nothing else
        return "the image lacks packages and pip could not get them. In a VPC, give the subnets a way to PyPI"
    own = re.search(r"(?:\w+, an Exception: )(.*?)\"?\s*(?:\bCommand\b|$)", text, re.S)
    message = re.search(r"ErrorMessage \"(.*?)\"\s*(?:\bCommand\b|$)", text, re.S)
    found = own or message
    said = found.group(1) if found else text
    return one_line(said.replace("\\n", " ")) or "AWS gives no reason"


class _Stages:
    """Lines for the stages that SageMaker takes a job through."""

    def __init__(self) -> None:
        self._seen = 0

    def new(self, found: dict[str, Any]) -> Iterator[str]:
        stages = found.get("SecondaryStatusTransitions", [])
        for stage in stages[self._seen :]:
            yield f"{stage['Status']}: {stage.get('StatusMessage', '')}".rstrip(": ")
        self._seen = len(stages)


class _Log:
    """What has been printed since it was last asked, of all machines of a job."""

    def __init__(self, aws: Aws[Any], name: str) -> None:
        self._aws, self._name = aws, name
        self._client = aws.boto.client("logs")
        self._tokens: dict[str, str] = {}

    def new(self) -> Iterator[str]:
        """In the order of each stream."""
        for stream in self._streams():
            yield from self._lines(stream)

    def _streams(self) -> list[str]:
        from botocore.exceptions import ClientError

        try:
            with told("the job's log"):
                pages = self._client.get_paginator("describe_log_streams").paginate(
                    logGroupName=LOG_GROUP, logStreamNamePrefix=f"{self._name}/"
                )
                return [stream["logStreamName"] for page in pages for stream in page["logStreams"]]
        except AwsError as error:
            if isinstance(error.__cause__, ClientError) and error.code == "ResourceNotFoundException":
                return []  # nothing has been printed in this account yet
            raise

    def _lines(self, stream: str) -> Iterator[str]:
        token = self._tokens.get(stream)
        while True:
            asked = {"nextToken": token} if token else {}
            with told("the job's log"):
                page = self._client.get_log_events(
                    logGroupName=LOG_GROUP, logStreamName=stream, startFromHead=True, **asked
                )
            for event in page["events"]:
                yield event["message"].rstrip("\n")
            if page["nextForwardToken"] == token:
                return
            token = page["nextForwardToken"]
            self._tokens[stream] = token
