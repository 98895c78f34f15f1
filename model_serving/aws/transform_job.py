"""A Batch Transform job as it goes: how far it is, why it failed, and its model removed after it."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from training.aws.errors import AwsError, one_line, told
from training.aws.session import Aws
from training.aws.upload import Say

from . import endpoint
from .photos import count

LOG_GROUP = "/aws/sagemaker/TransformJobs"
"""Where CloudWatch keeps what the containers print, one stream a machine."""

ENDED = ("Completed", "Failed", "Stopped")
POLL_SECONDS = 15.0
COUNT_SECONDS = 60.0
"""Least time between two counts of the results; a count of a million takes a thousand requests."""

_OURS = re.compile(r"-[0-9a-f]{12}-\d{6}-\d{4}-[0-9a-f]{4}$")
"""End of the names of our jobs: `endpoint.unique_name`."""


@dataclass(frozen=True)
class Job:
    """One that runs, or has ended. Its model has its name."""

    name: str
    photos: int
    output: str

    @property
    def results(self) -> str:
        """The command that makes lines of what it leaves."""
        return f"python -m client results {shlex.quote(self.output)}"


def attached(aws: Aws[Any], name: str) -> Job:
    """A job that was started before; AwsError for a name that is none."""
    found = describe(aws, name)
    uri = found["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"]
    return Job(name, count(aws, uri), found["TransformOutput"]["S3OutputPath"])


def describe(aws: Aws[Any], name: str) -> dict[str, Any]:
    """DescribeTransformJob."""
    with told(f"looking at {name}"):
        found: dict[str, Any] = aws.sagemaker.describe_transform_job(TransformJobName=name)
    return found


def follow(
    aws: Aws[Any], job: Job, say: Say, *, seconds: float = POLL_SECONDS, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Say how far it is until it has ended. AwsError where it failed or was stopped.

    Ctrl-C leaves it running: KeyboardInterrupt goes on after lines that say how to come back.
    """
    progress = _Progress(aws, job)
    try:
        while (status := (found := describe(aws, job.name))["TransformJobStatus"]) not in ENDED:
            for line in progress.new(status):
                say(line)
            sleep(seconds)
    except KeyboardInterrupt:
        for line in later(job, aws.region):
            say(line)
        raise
    say(f"{job.name}: {status}, {count(aws, job.output, '.out'):,} of {job.photos:,} photos have a result")
    require_success(job, found)


def ended(aws: Aws[Any], job: Job) -> bool:
    """Whether it no longer needs its model."""
    return describe(aws, job.name)["TransformJobStatus"] in ENDED


def later(job: Job, region: str) -> Iterator[str]:
    """How to come back to a job that goes on, and how to end it."""
    again = f"python -m model_serving transform --attach {job.name} --region {region}"
    yield f"{job.name} goes on without us, and is billed. Later: {again}"
    yield f"To end it: aws sagemaker stop-transform-job --transform-job-name {job.name} --region {region}"


def require_success(job: Job, found: dict[str, Any]) -> None:
    """AwsError with the reason in one line unless the job has completed."""
    status = found["TransformJobStatus"]
    if status == "Completed":
        return
    where = f"Its log: CloudWatch, group {LOG_GROUP}, streams {job.name}/. What it has done: {job.results}"
    if status == "Stopped":
        raise AwsError(f"{job.name} was stopped. {where}", "JobStopped")
    raise AwsError(f"{job.name} failed: {_reason(found.get('FailureReason', ''))}. {where}", "JobFailed")


def remove_model(aws: Aws[Any], job: Job, say: Say) -> None:
    """A transform's model is of no use after it; one that is gone already is no error."""
    if not _OURS.search(job.name):  # somebody else's, whose model may be in use
        return
    with told(f"removing the model {job.name}"):
        there = endpoint.or_none(aws.sagemaker.delete_model, ModelName=job.name)
    if there is not None:
        say(f"removed: model {job.name}")


_MENDS = {
    "payload": "A photo is larger than --max-payload-mb",
    "health check": "The container did not come up; its log says why",
    "capacity": "AWS has no such machine free. Try later, or take another --instance-type",
    "access denied": "Let the role of --role read the photos and write the results",
    "limit": "Ask for more in AWS's Service Quotas, or take another --instance-type",
}


def _reason(text: str) -> str:
    said = one_line(text) or "AWS gives no reason"
    return next((f"{said}. {mend}" for word, mend in _MENDS.items() if word in said.lower()), said)


class _Progress:
    """Lines for what is new: the status, and now and then the number of results."""

    def __init__(self, aws: Aws[Any], job: Job, clock: Callable[[], float] = time.monotonic) -> None:
        self._aws, self._job, self._clock = aws, job, clock
        self._status, self._done, self._next = "", -1, 0.0

    def new(self, status: str) -> Iterator[str]:
        if status != self._status:
            self._status = status
            yield f"{self._job.name}: {status}"
        begun = self._clock()
        if begun < self._next:
            return
        done = count(self._aws, self._job.output, ".out")
        taken = self._clock() - begun
        self._next = self._clock() + max(COUNT_SECONDS, 20 * taken)
        if done != self._done:
            self._done = done
            yield f"{self._job.name}: {done:,} of {self._job.photos:,} photos"
