"""The one-machine storage as `up` starts it: a process of its own, with credentials that only the tests know."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from local_stack import resources
from local_stack.stack import Part

ORIGIN = "https://app.example"
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
