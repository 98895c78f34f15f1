"""Uploads and jobs on one machine: the real function behind the real parts, killed half-way too."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
import requests

from local_stack import resources
from local_stack.stack import Description
from tests.conftest import described, start_stack
from tests.photos import jpeg, sample
from tests.running import classify, parts

pytestmark = pytest.mark.stack

LABELS = {"chelsea.png": "tiger cat", "coffee.png": "espresso", "rocket.jpg": "missile", "camera.png": "tripod"}


def upload(stack: Description, photo: bytes) -> str:
    """The key of a photo that was uploaded."""
    headers = {"x-api-key": stack.api_key}
    ticket = requests.post(f"{stack.url}/v1/uploads", headers=headers, timeout=9).json()
    sent = requests.post(ticket["url"], data=ticket["fields"], files={"file": photo}, timeout=60)
    assert sent.status_code == 204, sent.text
    return str(ticket["upload"])


def start_job(stack: Description, **body: Any) -> str:
    """Its id."""
    answer = requests.post(f"{stack.url}/v1/jobs", json=body, headers={"x-api-key": stack.api_key}, timeout=30)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def finished(stack: Description, job: str) -> dict[str, Any]:
    """The job when it has ended, and its result lines."""
    ends = time.monotonic() + 120
    while time.monotonic() < ends:
        answer = requests.get(f"{stack.url}/v1/jobs/{job}", headers={"x-api-key": stack.api_key}, timeout=30).json()
        if answer["state"] not in ("queued", "running"):
            text = requests.get(answer["results"]["url"], timeout=30).text
            return {**answer, "lines": [json.loads(line) for line in text.splitlines()]}
        time.sleep(0.2)
    raise AssertionError(answer)


def aws(stack: Description, service: str) -> Any:
    """Boto3's client with what `up` tells of the storage."""
    session: Any = boto3.Session(stack.aws_access_key_id, stack.aws_secret_access_key, region_name="us-east-1")
    return session.client(service, endpoint_url=stack.storage_url)


def test_an_upload_is_classified(stack: Description) -> None:
    """By its key, once."""
    key = upload(stack, sample("rocket.jpg"))
    headers = {"x-api-key": stack.api_key}
    answers = [
        requests.post(f"{stack.url}/v1/classify", json={"upload": key}, headers=headers, timeout=60) for _ in range(2)
    ]
    assert answers[0].json()["predictions"][0]["label"] == "missile"
    assert (answers[1].status_code, answers[1].json()["code"]) == (404, "upload_missing")


def test_a_job_over_a_prefix(stack: Description) -> None:
    """Photos that were put into the storage's second bucket."""
    for name in LABELS:
        aws(stack, "s3").put_object(Bucket=resources.PHOTOS, Key=f"few/{name}", Body=sample(name))
    job = finished(stack, start_job(stack, prefix=f"s3://{resources.PHOTOS}/few/"))
    assert (job["state"], job["ok"], job["failed"]) == ("done", len(LABELS), 0)
    found = {line["path"].rpartition("/")[2]: line["predictions"][0]["label"] for line in job["lines"]}
    assert found == LABELS


def test_a_killed_worker_process_costs_no_photo(archive: Path, own_state: dict[str, str]) -> None:
    """Half-way through a job: every photo has its line once, all the same."""
    with start_stack(archive, env=own_state) as process:
        stack = described(process)
        queue = {"QueueUrl": resources.queue_url(stack.storage_url)}
        aws(stack, "sqs").set_queue_attributes(**queue, Attributes={"VisibilityTimeout": "3"})
        uploads = [{"id": f"{n}.jpg", "upload": upload(stack, jpeg((300 + n, 300)))} for n in range(60)]
        job = start_job(stack, uploads=uploads)
        ends = time.monotonic() + 30
        while not (workers := function_processes(parts(process)["worker"])) and time.monotonic() < ends:
            time.sleep(0.02)
        time.sleep(0.7)
        workers[0].kill()
        done = finished(stack, job)
    assert (done["state"], done["photos"], done["ok"], done["failed"]) == ("done", 60, 60, 0)
    assert sorted(line["path"] for line in done["lines"]) == sorted(each["id"] for each in uploads)


def function_processes(part: psutil.Process) -> list[psutil.Process]:
    """Those that run the function, forked from the one that imported it."""
    return [each for child in part.children() for each in child.children()]


def test_without_jobs(archive: Path, own_state: dict[str, str]) -> None:
    """`--no-jobs` starts neither storage nor worker: photos are classified, the rest is not there."""
    with start_stack(archive, "--no-jobs", env=own_state) as process:
        stack = described(process)
        assert parts(process).keys() == {"serve", "gateway"}
        assert (stack.storage_url, stack.webhook_secret, stack.aws_secret_access_key) == ("", "", "")
        assert classify(stack, sample("coffee.png")).status_code == 200
        for route in ("uploads", "jobs"):
            headers = {"x-api-key": stack.api_key}
            answer = requests.post(f"{stack.url}/v1/{route}", json={}, headers=headers, timeout=9)
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_the_webhooks_secret_is_told(archive: Path, own_state: dict[str, str]) -> None:
    """Where jobs may call one: the receiver needs it, and the function reads the same."""
    with start_stack(archive, "--webhook-origin", "https://hooks.example", env=own_state) as process:
        stack = described(process)
        kept = aws(stack, "secretsmanager").get_secret_value(SecretId=resources.SECRET)["SecretString"]
    assert kept == stack.webhook_secret
    assert len(base64.b64decode(kept.removeprefix("whsec_"))) == 24
