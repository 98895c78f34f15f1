"""What a job is asked to do, read from the body of `POST /v1/jobs` and checked before anything is promised."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

from ..body import MAX_ID
from ..errors import ApiError
from ..schema import DEFAULT_TOP_K, MAX_JOB_TOP_K, MAX_JOB_UPLOADS
from ..settings import Settings
from ..uploads import require_key

HINT = 'Send {"uploads": [{"id": "…", "upload": "<key>"}]} or {"prefix": "s3://bucket/prefix/"}.'
MAX_TOKEN = 256
MAX_PREFIX_BYTES, MAX_WEBHOOK = 1024, 2048
"""S3's limit of a name; characters of an address."""


@dataclass(frozen=True)
class JobRequest:
    """`uploads` are pairs of the caller's id and the upload's key; either they or the prefix is there."""

    uploads: tuple[tuple[str, str], ...]
    prefix: str
    top_k: int
    webhook: str
    token: str

    def digest(self) -> str:
        """The same for the same request, whatever order its JSON had."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def parse(document: dict[str, Any], settings: Settings) -> JobRequest:
    """ApiError for what cannot be done: bad_request by its shape, bad_parameter by its value."""
    uploads, prefix = document.get("uploads"), document.get("prefix")
    if (uploads is None) == (prefix is None):
        raise ApiError("bad_request", "The job needs either uploads or a prefix.", HINT)
    return JobRequest(
        uploads=() if uploads is None else _uploads(uploads),
        prefix="" if prefix is None else _prefix(prefix, settings.photo_sources),
        top_k=_top_k(document.get("top_k", DEFAULT_TOP_K)),
        webhook=_webhook(document.get("webhook"), settings.webhook_origins),
        token=_token(document.get("token")),
    )


def _uploads(items: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
        raise ApiError("bad_request", "uploads is no list of objects.", HINT)
    if len(items) > MAX_JOB_UPLOADS:
        detail = f"The job has {len(items):,} uploads."
        raise ApiError("too_large", detail, f"Start a job for each {MAX_JOB_UPLOADS:,}, or give an S3 prefix.")
    pairs = []
    for item in items:
        key = require_key(item.get("upload"))
        name = item.get("id", key)
        pairs.append((_cut(str(name)) if isinstance(name, (str, int)) else key, key))
    if len({key for _, key in pairs}) < len(pairs):
        raise ApiError("bad_request", "An upload is in the list twice.", "An upload is gone once it was classified.")
    return tuple(pairs)


def _cut(name: str) -> str:
    """In bytes, since a thousand of them are one item of the table, which has 400 kB."""
    return name.encode("utf-8", "replace")[:MAX_ID].decode("utf-8", "ignore")


def _prefix(prefix: Any, sources: tuple[str, ...]) -> str:
    if not isinstance(prefix, str) or not prefix.startswith("s3://") or not _is_text(prefix):
        raise ApiError("bad_request", "The prefix is no s3:// address.", HINT)
    if len(prefix.encode()) > MAX_PREFIX_BYTES:
        raise ApiError("bad_request", f"The prefix has more than {MAX_PREFIX_BYTES:,} bytes.", HINT)
    if not any(prefix.startswith(source) for source in sources):
        hint = "Give one below those that this API was deployed with (parameters PhotoBucket and PhotoPrefix)."
        raise ApiError("bad_parameter", "Photos of that prefix may not be read.", hint)
    return prefix


def _top_k(top_k: Any) -> int:
    if isinstance(top_k, bool) or not isinstance(top_k, int) or not 1 <= top_k <= MAX_JOB_TOP_K:
        raise ApiError("bad_parameter", "top_k is out of range.", f"A whole number from 1 to {MAX_JOB_TOP_K}.")
    return top_k


def _webhook(url: Any, origins: tuple[str, ...]) -> str:
    """Only to origins that the operator has listed: else the API could be made to call what stands beside it."""
    if url is None:
        return ""
    try:
        parts = urlsplit(url if isinstance(url, str) and _is_text(url) else "")
    except ValueError:
        parts = urlsplit("")
    if f"{parts.scheme}://{parts.netloc}" not in origins or len(str(url)) > MAX_WEBHOOK:
        hint = "Give an address of an origin that this API was deployed with (parameter WebhookOrigins)."
        raise ApiError("bad_parameter", "That webhook may not be called.", hint)
    return str(url)


def _token(token: Any) -> str:
    if token is None:
        return ""
    if not isinstance(token, str) or not 1 <= len(token) <= MAX_TOKEN or not _is_text(token):
        raise ApiError("bad_parameter", "The token is no text of 1 to 256 characters.", "A UUID will do.")
    return token


def _is_text(value: str) -> bool:
    """JSON may hold halves of characters, which nothing behind us takes."""
    return all(not "\ud800" <= letter <= "\udfff" for letter in value)
