"""The function's settings: read from the environment once, in this one place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from .schema import MAX_UPLOAD_BYTES


@dataclass(frozen=True)
class Settings:
    """What `template.yaml` sets.

    `connect_timeout` and `read_timeout` are seconds; their sum stays below the function's 28, of which S3 takes some
    for an upload. Without a bucket there are no uploads, without a table no jobs. `photo_sources` are `s3://bucket/prefix`
    that jobs may read, `webhook_origins` those that they may call, `queue_receives` how often a message comes before it
    is given up.
    """

    endpoint_name: str
    allowed_origins: tuple[str, ...] = ()
    connect_timeout: float = 2.0
    read_timeout: float = 25.0
    bucket: str = ""
    upload_bytes: int = MAX_UPLOAD_BYTES
    jobs_table: str = ""
    queue_url: str = ""
    queue_receives: int = 10
    photo_sources: tuple[str, ...] = ()
    webhook_origins: tuple[str, ...] = ()
    webhook_secret_id: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """KeyError where ENDPOINT_NAME is missing: a deployment mistake, seen in the first log line."""
        return cls(
            endpoint_name=environment["ENDPOINT_NAME"],
            allowed_origins=_listed(environment.get("ALLOWED_ORIGINS", "")),
            bucket=environment.get("BUCKET", ""),
            upload_bytes=int(environment.get("UPLOAD_BYTES", MAX_UPLOAD_BYTES)),
            jobs_table=environment.get("JOBS_TABLE", ""),
            queue_url=environment.get("QUEUE_URL", ""),
            queue_receives=int(environment.get("QUEUE_RECEIVES", 10)),
            photo_sources=_listed(environment.get("PHOTO_SOURCES", "")),
            webhook_origins=_listed(environment.get("WEBHOOK_ORIGINS", "")),
            webhook_secret_id=environment.get("WEBHOOK_SECRET_ID", ""),
        )


def _listed(text: str) -> tuple[str, ...]:
    """The parts between commas."""
    parts = (part.strip() for part in text.split(","))
    return tuple(part for part in parts if part)


@cache
def settings() -> Settings:
    """This process's settings."""
    return Settings.from_environment(os.environ)
