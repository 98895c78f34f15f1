"""Steps `finish` and `notify`: the file of results, the end of the job, the call of the webhook."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import tempfile
import time
from dataclasses import asdict
from functools import cache, lru_cache
from typing import Any

import boto3
import urllib3

from ..schema import RESULT_SECONDS, Job, JobResults
from ..settings import settings
from ..uploads import s3
from .lines import unfinished
from .queue import Message, Received, queue
from .store import JobRecord, jobs

log = logging.getLogger(__name__)

FOLDER = "results/"
WEBHOOK_SECONDS = 5.0
"""For the connection and for the answer, each."""

SECRET_SECONDS = 300
"""A secret that was changed counts everywhere after so many seconds."""


def run(job: JobRecord) -> None:
    """Write the results of a job that is done or cancelled; then its webhook's turn comes, and that of a failed one."""
    if not job.results and job.state != "failed":
        _write(job.id)
        jobs().finish(job.id)
    if job.webhook_state == "waiting":
        queue().send(Message(job.id, "notify"))


def _write(identifier: str) -> None:
    """The file, in the order of the photos: one that is written again is the same."""
    with tempfile.TemporaryFile() as file:
        for photo in jobs().all_photos(identifier):
            line = photo.line or unfinished(photo).text
            file.write(line.encode("utf-8", "surrogatepass") + b"\n")
        file.seek(0)
        extra = {"ContentType": "application/x-ndjson"}
        s3().upload_fileobj(file, settings().bucket, _key(identifier), ExtraArgs=extra)


def _key(identifier: str) -> str:
    return f"{FOLDER}{identifier}.jsonl"


def view(job: JobRecord, request_id: str) -> Job:
    """What the API says of a job; the address of its results holds for a quarter of an hour."""
    results = None
    if job.results:
        name = f'attachment; filename="{job.id}.jsonl"'
        where = {"Bucket": settings().bucket, "Key": _key(job.id), "ResponseContentDisposition": name}
        url = s3().generate_presigned_url("get_object", where, ExpiresIn=RESULT_SECONDS)
        results = JobResults(url, RESULT_SECONDS)
    return Job(
        job.id,
        job.state,
        job.listed,
        job.photos,
        job.ok,
        job.failed,
        job.created,
        job.finished,
        results,
        job.error,
        job.webhook_state,
        request_id,
    )


def notify(job: JobRecord, received: Received) -> bool:
    """Tell the webhook, signed as Standard Webhooks say. False where it must be tried again."""
    if job.webhook_state != "waiting":
        return True
    body = json.dumps(asdict(view(job, received.id))).encode()
    if _delivered(job, body):
        jobs().told(job.id, "delivered")
        return True
    if received.tries >= settings().queue_receives - 1:
        log.warning("a webhook was given up after %d tries", received.tries)
        jobs().told(job.id, "failed")
        return True
    queue().later(received)
    return False


def _delivered(job: JobRecord, body: bytes) -> bool:
    headers = {"Content-Type": "application/json", "User-Agent": "whippet-jobs", **_signed(job.id, body)}
    try:
        answer = _http().request("POST", job.webhook, body=body, headers=headers, redirect=False)
    except urllib3.exceptions.HTTPError as error:
        log.warning("a webhook cannot be reached: %s", type(error).__name__)
        return False
    if not 200 <= answer.status < 300:
        log.warning("a webhook answered %d", answer.status)
        return False
    return True


def _signed(identifier: str, body: bytes) -> dict[str, str]:
    """The headers of Standard Webhooks 1.0: HMAC-SHA256 over id, time and body, so that an old call is known."""
    stamp = str(int(time.time()))
    signed = b".".join((identifier.encode(), stamp.encode(), body))
    signature = hmac.new(_secret(int(time.time() // SECRET_SECONDS)), signed, hashlib.sha256)
    text = base64.b64encode(signature.digest()).decode()
    return {"webhook-id": identifier, "webhook-timestamp": stamp, "webhook-signature": f"v1,{text}"}


@lru_cache(maxsize=1)
def _secret(period: int) -> bytes:
    """The key, which receivers know as `whsec_` and base64; asked for once in each period."""
    client: Any = boto3.client("secretsmanager")
    text = client.get_secret_value(SecretId=settings().webhook_secret_id)["SecretString"]
    return base64.b64decode(text.removeprefix("whsec_"))


@cache
def _http() -> urllib3.PoolManager:
    return urllib3.PoolManager(timeout=WEBHOOK_SECONDS, retries=False)
