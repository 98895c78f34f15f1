"""Photos that are uploaded first: a permission to put one into the bucket, then its bytes, then its end.

An upload is known by a random key that its sender alone was told. Uploads that nobody asks for expire in a day.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from . import body
from .current import not_here
from .errors import ApiError, EndpointError
from .schema import IDENTIFIER, MEDIA_TYPES, UPLOAD_SECONDS, UploadTicket
from .settings import settings

log = logging.getLogger(__name__)

FOLDER = "uploads/"
_MISSING = frozenset({"NoSuchKey", "404", "AccessDenied", "403"})
"""Without the right to list the bucket, S3 says AccessDenied of an object that is not there."""


class Uploads:
    """Those of one bucket; `largest` is in bytes."""

    def __init__(self, bucket: str, largest: int, client: Any) -> None:
        self._bucket, self._largest, self._client = bucket, largest, client

    def ticket(self, content_type: str, request_id: str) -> UploadTicket:
        """Permission for one photo of that media type; ApiError for a type that is not taken."""
        if content_type not in MEDIA_TYPES:
            detail = f"{content_type[:80]!r} is no media type of a photo that is read here."
            raise ApiError("unsupported_media_type", detail, f"Say one of {', '.join(MEDIA_TYPES)}.")
        key = secrets.token_urlsafe(16)
        form = self._client.generate_presigned_post(
            self._bucket,
            FOLDER + key,
            Fields={"Content-Type": content_type},
            Conditions=[{"Content-Type": content_type}, ["content-length-range", 1, self._largest]],
            ExpiresIn=UPLOAD_SECONDS,
        )
        return UploadTicket(key, form["url"], form["fields"], self._largest, UPLOAD_SECONDS, request_id)

    @contextmanager
    def taken(self, key: Any) -> Iterator[bytes]:
        """An upload's bytes, which is gone afterwards unless the endpoint was at fault. Errors as `read`."""
        key = require_key(key)
        try:
            yield self.read(self._bucket, FOLDER + key)
        except EndpointError:
            raise
        except ApiError:
            self.drop(key)
            raise
        self.drop(key)

    def read(self, bucket: str, key: str) -> bytes:
        """A photo: what `fetch` has and `check` lets pass."""
        return self.check(self.fetch(bucket, key))

    def check(self, data: bytes) -> bytes:
        """The same bytes; ApiError where they are no photo."""
        return body.check(data, self._largest)

    def fetch(self, bucket: str, key: str) -> bytes:
        """Any object that may be read, photo or not; ApiError where there is none, or it is too large."""
        try:
            answer = self._client.get_object(Bucket=bucket, Key=key)
            if answer["ContentLength"] > self._largest:
                answer["Body"].close()
                detail = f"The photo has {answer['ContentLength']:,} bytes; {self._largest:,} are taken."
                raise ApiError("too_large", detail, "Scale it down; python -m client does so by itself.")
            data: bytes = answer["Body"].read()
        except ClientError as error:
            raise _of_aws(error) from None
        except BotoCoreError as error:
            log.warning("GetObject failed: %s", type(error).__name__)
            raise _unreachable() from None
        return data

    def drop(self, *keys: str) -> None:
        """Remove uploads. Where that fails it is logged: the bucket removes them in a day."""
        if not keys:
            return
        objects = [{"Key": FOLDER + key} for key in keys]
        try:
            answer = self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": objects, "Quiet": True})
        except (ClientError, BotoCoreError) as error:
            log.warning("DeleteObjects failed: %s", type(error).__name__)
        else:
            for left in answer.get("Errors", []):
                log.warning("DeleteObjects failed: %s", left.get("Code"))


def require_key(key: Any) -> str:
    """The same key; ApiError for what can be none."""
    if not isinstance(key, str) or not re.fullmatch(IDENTIFIER, key):
        raise ApiError("bad_request", "The upload's key is none.", "Send `upload` as POST /v1/uploads answered it.")
    return key


def _of_aws(error: ClientError) -> ApiError:
    code = error.response.get("Error", {}).get("Code", "")
    if code in _MISSING:
        detail = "There is no such photo, or it may not be read."
        return ApiError("upload_missing", detail, "Upload it again: an upload is gone once it was classified.")
    log.warning("GetObject failed: %s", code)
    return _unreachable()


def _unreachable() -> EndpointError:
    return EndpointError("endpoint_unavailable", "The photo cannot be fetched now.", "Try again in a few seconds.")


@cache
def uploads() -> Uploads:
    """This process's uploads; ApiError where the deployment has no bucket."""
    if not settings().bucket:
        raise not_here("uploads")
    return Uploads(settings().bucket, settings().upload_bytes, s3())


@cache
def s3() -> Any:
    """Addresses are the region's own, which botocore takes for this style alone: S3's global one redirects forms, which
    lose their body, and knows no bucket of newer regions.
    """
    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": "virtual"},
        connect_timeout=2,
        read_timeout=5,
        retries={"total_max_attempts": 3},
    )
    return boto3.client("s3", config=config)
