"""The one-machine storage as `up` starts it: a process of its own, with credentials that only the tests know."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import requests
from botocore.config import Config

from local_stack import resources
from local_stack.stack import Part

ORIGIN = "https://app.example"
LARGEST = 20_000_000
KEY_ID, SECRET = "AKIATESTTESTTESTTEST", "not a secret"


@dataclass(frozen=True)
class Storage:
    """A running one."""

    url: str
    part: Part

    def client(self, service: str, key_id: str = KEY_ID, secret: str = SECRET) -> Any:
        """Boto3's, as the function has it."""
        config = Config(signature_version="s3v4" if service == "s3" else None, retries={"total_max_attempts": 1})
        session: Any = boto3.Session(key_id, secret, region_name=resources.REGION)
        return session.client(service, endpoint_url=self.url, config=config)


@contextmanager
def storage(folder: Path, **environment: str) -> Iterator[Storage]:
    """It ends with the block."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    env |= {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET, **environment}
    part = Part("storage", ["local_stack", "storage", "--allow-origin", ORIGIN], env, folder / "storage.log")
    try:
        yield Storage(part.address(), part)
    finally:
        part.stop()


def permission(store: Storage, key: str = "uploads/a", seconds: int = 300, **fields: str) -> dict[str, Any]:
    """A form as POST /v1/uploads gives it."""
    found: dict[str, Any] = store.client("s3").generate_presigned_post(
        resources.BUCKET,
        key,
        Fields={"Content-Type": "image/jpeg", **fields},
        Conditions=[{"Content-Type": "image/jpeg"}, ["content-length-range", 1, LARGEST]],
        ExpiresIn=seconds,
    )
    return found


def send(form: dict[str, Any], body: bytes = b"a photo", **headers: str) -> requests.Response:
    """A browser's upload."""
    return requests.post(form["url"], data=form["fields"], files={"file": body}, headers=headers, timeout=60)


def stored(store: Storage, key: str) -> tuple[bytes, str]:
    """Bytes and media type of an object."""
    answer = store.client("s3").get_object(Bucket=resources.BUCKET, Key=key)
    return answer["Body"].read(), answer["ContentType"]


def exists(store: Storage, key: str) -> bool:
    """Whether there is such an object."""
    return bool(store.client("s3").list_objects_v2(Bucket=resources.BUCKET, Prefix=key)["KeyCount"])


def changed(form: dict[str, Any], **fields: str | None) -> dict[str, Any]:
    """The form with other fields; None leaves one out."""
    merged = {**form["fields"], **{name.replace("_", "-"): value for name, value in fields.items()}}
    return {**form, "fields": {name: value for name, value in merged.items() if value is not None}}
