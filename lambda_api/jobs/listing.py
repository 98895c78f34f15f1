"""Step `list`: write a job's photos down and send a message for each, a page at a time."""

from __future__ import annotations

import hashlib
from typing import Any

from botocore.exceptions import ClientError

from ..errors import ApiError
from ..schema import MAX_JOB_PHOTOS
from ..settings import settings
from ..uploads import FOLDER, s3
from . import ending
from .queue import Message, queue
from .store import PHOTO, JobRecord, PhotoRecord, jobs

_NAME_BYTES = 700
"""So much of a photo's name is in its sort key, which DynamoDB limits to 1,024 bytes; the rest is a hash."""

_PAGE = 1000
"""Objects in one answer of S3 (AWS)."""

_REFUSED = frozenset({"AccessDenied", "NoSuchBucket", "403", "404"})


def run(job: JobRecord, message: Message) -> None:
    """One page: S3's thousand, or all uploads. A page that was done before is left alone."""
    if not job.active or message.page < job.pages:
        ending.see_to_the_end(job.id)  # whoever did this page may have died before it was asked for
        return
    try:
        photos, after = _page(job.id, message.after)
        _check(job, photos, message.page, last=not after)
    except ApiError as error:
        ending.fail(job.id, error)
        return
    jobs().add(job.id, photos)
    unfinished = [photo for photo in _as_written(job.id, photos) if not photo.line]
    queue().send(*(Message(job.id, "photo", photo=photo.sort_key) for photo in unfinished))
    if after:
        queue().send(Message(job.id, "list", page=message.page + 1, after=after))
    jobs().page_done(job.id, message.page, last=not after)
    ending.see_to_the_end(job.id)


def _check(job: JobRecord, photos: list[PhotoRecord], page: int, last: bool) -> None:
    # By pages, since the job may have counted this one at an earlier try.
    if page * _PAGE + len(photos) > MAX_JOB_PHOTOS:
        detail = f"There are more than {MAX_JOB_PHOTOS:,} photos below the prefix."
        raise ApiError("too_large", detail, "Give a longer prefix, or use Batch Transform (docs/transform.md).")
    if last and not job.photos and not photos:
        raise ApiError("bad_request", "There is nothing below the prefix.", "Check its spelling: it is taken as it is.")


def _page(identifier: str, after: str) -> tuple[list[PhotoRecord], str]:
    """Photos, and the name after which the next page begins, "" where there is none."""
    uploads, prefix = jobs().asked(identifier)
    if not prefix:
        return [_upload(n, name, key) for n, (name, key) in enumerate(uploads)], ""
    bucket, _, start = prefix.removeprefix("s3://").partition("/")
    try:
        answer = s3().list_objects_v2(Bucket=bucket, Prefix=start, StartAfter=after)
    except ClientError as error:
        if error.response["Error"]["Code"] in _REFUSED:
            hint = "The bucket must exist and let the worker's role list it."
            raise ApiError("bad_parameter", "The prefix cannot be listed.", hint) from None
        raise
    found: list[Any] = answer.get("Contents", [])
    photos = [_object(bucket, each["Key"]) for each in found if each["Size"] or not each["Key"].endswith("/")]
    return photos, found[-1]["Key"] if answer["IsTruncated"] else ""


def _upload(position: int, name: str, key: str) -> PhotoRecord:
    return PhotoRecord(f"{PHOTO}{position:06d}", name, settings().bucket, FOLDER + key, upload=key)


def _object(bucket: str, key: str) -> PhotoRecord:
    """Sorted as S3 sorts, and told apart even where long names begin alike."""
    encoded = key.encode("utf-8", "surrogatepass")
    beginning = encoded[:_NAME_BYTES].decode("utf-8", "ignore")
    sort_key = f"{PHOTO}{beginning}#{hashlib.sha256(encoded).hexdigest()[:32]}"
    return PhotoRecord(sort_key, f"s3://{bucket}/{key}", bucket, key)


def _as_written(identifier: str, photos: list[PhotoRecord]) -> list[PhotoRecord]:
    """With the lines that an earlier try of this page may have led to already."""
    found: list[PhotoRecord] = []
    for start in range(0, len(photos), 100):  # BatchGetItem's limit
        found += jobs().photos(identifier, [photo.sort_key for photo in photos[start : start + 100]])
    return found
