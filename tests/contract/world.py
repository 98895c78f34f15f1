"""An API under test, wherever it runs, and what must be true of each of its answers."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import boto3
import requests

from lambda_api.schema import ERRORS
from tests.conftest import ROOT

STRANGER = "https://stranger.example"
JOB_SECONDS = 60

_DOCUMENT = json.loads((ROOT / "docs" / "openapi.json").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Photos:
    """A folder of a bucket whose photos jobs may read, and the client to put them there."""

    bucket: str
    folder: str
    s3: Any

    @property
    def prefix(self) -> str:
        """Its address."""
        return f"s3://{self.bucket}/{self.folder}"

    def put(self, name: str, data: bytes) -> None:
        """A photo in it."""
        self.s3.put_object(Bucket=self.bucket, Key=self.folder + name, Body=data)


@dataclass(frozen=True)
class Api:
    """Where it is, its key, and what differs from place to place.

    `origin` is that of a page that may call, "" where that is not known; `no_route` the status of routes that do not
    exist; `verify` what `requests` trusts; `photos` is None where no bucket is at hand.
    """

    url: str
    key: str
    origin: str = ""
    no_route: int = 403
    verify: str | bool = True
    photos: Photos | None = None

    def send(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, key: str | None = None, **options: Any
    ) -> requests.Response:
        """One request with the API's key, or another; its answer, which keeps the contract in any case."""
        named = {"x-api-key": self.key if key is None else key, **(headers or {})}
        answer = requests.request(
            method, self.url + path, headers=named, verify=self.verify, timeout=60, allow_redirects=False, **options
        )
        check(method, path, answer)
        return answer

    def document(self, method: str, path: str, status: int, **options: Any) -> dict[str, Any]:
        """The JSON of an answer that must have that status."""
        answer = self.send(method, path, **options)
        assert answer.status_code == status, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def error(self, method: str, path: str, code: str, **options: Any) -> dict[str, Any]:
        """The problem document of an answer that must be that error."""
        found = self.document(method, path, ERRORS[code][0], **options)
        assert found["code"] == code
        return found

    def ticket(self, content_type: str = "image/jpeg") -> dict[str, Any]:
        """A permission to upload."""
        return self.document("POST", "/v1/uploads", 201, json={"content_type": content_type})

    def post(self, ticket: Mapping[str, Any], data: bytes, **changed: str) -> requests.Response:
        """What S3 says to the form of a ticket, some of its fields changed."""
        fields = {**ticket["fields"], **{name.replace("_", "-"): value for name, value in changed.items()}}
        return requests.post(ticket["url"], fields, files={"file": data}, verify=self.verify, timeout=60)

    def upload(self, data: bytes, content_type: str = "image/jpeg") -> str:
        """The key of a photo that was uploaded."""
        ticket = self.ticket(content_type)
        answer = self.post(ticket, data)
        assert answer.status_code == 204, answer.text
        return str(ticket["upload"])

    def ended(self, job: str, results: bool = True) -> dict[str, Any]:
        """A job when it has ended, and by default its results are there."""
        until = time.monotonic() + JOB_SECONDS
        while True:
            found = self.document("GET", f"/v1/jobs/{job}", 200)
            if found["state"] not in ("queued", "running") and (found["results"] or not results):
                return found
            assert time.monotonic() < until, found
            time.sleep(0.1)

    def lines(self, job: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The lines of an ended job's results."""
        answer = requests.get(job["results"]["url"], verify=self.verify, timeout=60)
        assert answer.status_code == 200, answer.text
        return [json.loads(line) for line in answer.content.decode().split("\n") if line]


def check(method: str, path: str, answer: requests.Response) -> None:
    """What is true of every answer: its request's id, errors as problem documents, nothing that is not documented."""
    identifier = answer.headers["X-Request-Id"]
    assert identifier
    kind = answer.headers.get("Content-Type", "")
    if answer.status_code >= 400:
        assert kind == "application/problem+json", answer.text
        found = answer.json()
        status, title = ERRORS[found["code"]]
        assert (found["status"], found["title"]) == (status, title) and answer.status_code == status
        assert found["type"] == f"urn:whippet:error:{found['code']}"
        assert found["detail"] and found["hint"]
        assert found["request_id"] == identifier
        assert ("Retry-After" in answer.headers) == (status in (429, 503))
    elif answer.content and kind == "application/json" and "request_id" in answer.json():
        assert answer.json()["request_id"] == identifier
    described = _operation(method, path)
    assert described is None or str(answer.status_code) in described["responses"], f"{answer.status_code} is unknown"


def _operation(method: str, path: str) -> dict[str, Any] | None:
    for template, operations in _DOCUMENT["paths"].items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path.partition("?")[0]):
            found: dict[str, Any] | None = operations.get(method.lower())
            return found
    return None


def client(url: str, key_id: str, secret: str, verify: str | bool = True) -> Any:
    """S3 at an address."""
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        verify=verify,
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
    )
