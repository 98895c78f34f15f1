"""Routes of jobs: start one, look at it, cancel it."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from http import HTTPStatus

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.router import APIGatewayRouter

from .current import caller, document, not_here, request_id
from .errors import ApiError
from .jobs import ending, finish, request
from .jobs.queue import Message, queue
from .jobs.store import JobRecord, jobs, now
from .schema import IDENTIFIER, Job
from .settings import settings

router = APIGatewayRouter()  # type: ignore[no-untyped-call]  # powertools leaves it untyped
LONGEST_SECONDS = 26 * 3600
"""A job that is older is not worked on any more: messages live a day."""

POLL_SECONDS = 5
"""What Retry-After says of a job that goes on."""


@router.post("/v1/jobs", summary="Classify many photos later", operation_id="createJob")
def create_job() -> Response[Job]:
    """Photos that were uploaded, or all below an S3 prefix. The same token and request give the same job."""
    _require_jobs()
    asked = request.parse(document(request.HINT), settings())
    created = JobRecord(
        id=_identifier(asked.token),
        owner=caller(),
        digest=asked.digest(),
        top_k=asked.top_k,
        created=now(),
        webhook=asked.webhook,
        webhook_state="waiting" if asked.webhook else None,
    )
    job = jobs().create(created, asked)
    if job.digest != created.digest:
        detail = "The token was used for another request."
        raise ApiError("conflict", detail, "Take a new token for each job; the same one to repeat a request.")
    if job.state == "queued":
        queue().send(Message(job.id, "list"))  # again, where the first request broke off before it
    return _answer(job, HTTPStatus.ACCEPTED)


@router.get("/v1/jobs/<id>", summary="How far a job is", operation_id="describeJob")
def describe_job(id: str) -> Response[Job]:  # noqa: A002  # the contract calls it so
    """State, counts, and the address of the results once they are there."""
    return _answer(_own(id), HTTPStatus.OK)


@router.delete("/v1/jobs/<id>", summary="Cancel a job", operation_id="cancelJob")
def cancel_job(id: str) -> Response[Job]:  # noqa: A002
    """Photos under way may still be classified; the results say of the others that they were not."""
    job = _own(id)
    jobs().end(job.id, "cancelled")
    ending.see_to_the_end(job.id)
    return _answer(_own(id), HTTPStatus.OK)


def _require_jobs() -> None:
    if not settings().jobs_table:
        raise not_here("jobs")


def _own(identifier: str) -> JobRecord:
    """The caller's job; another's is as good as none."""
    _require_jobs()
    job = jobs().job(identifier) if re.fullmatch(IDENTIFIER, identifier) else None
    if job is None or job.owner != caller():
        raise ApiError("not_found", "There is no such job.", "Jobs are known for two days, to those who began them.")
    return _in_time(job)


def _in_time(job: JobRecord) -> JobRecord:
    """The job, ended where its messages and photos must have expired: nobody is to wait for it."""
    if not job.active or job.age < LONGEST_SECONDS:
        return job
    detail = "The job was not done within a day, after which its messages and uploads are gone."
    ending.fail(job.id, ApiError("internal", detail, "Begin it again; the worker's log says what held it up."))
    return jobs().job(job.id) or job


def _identifier(token: str) -> str:
    """Random, or the same for the same caller's same token."""
    if not token:
        return secrets.token_urlsafe(16)
    digest = hashlib.sha256(f"{caller()}\n{token}".encode()).digest()
    return base64.urlsafe_b64encode(digest[:16]).decode().rstrip("=")


def _answer(job: JobRecord, status: HTTPStatus) -> Response[Job]:
    headers = {"Location": f"jobs/{job.id}"} if status == HTTPStatus.ACCEPTED else {}
    if job.active:
        headers["Retry-After"] = str(POLL_SECONDS)
    return Response(status, "application/json", finish.view(job, request_id()), headers)
