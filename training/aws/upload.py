"""Labelled folders -> S3, once: the key holds the photos' fingerprint, a marker is written when all are there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.errors import DataError

from .errors import AwsError, told
from .session import Aws

Say = Callable[[str], None]

WEIGHTS = "weights"
"""Channel of a file of weights."""

CHANNELS = Path("/opt/ml/input/data")
"""Where a job finds its channels."""

_THREADS = 8

_KEY = "whippet-kms-key"
"""Metadata of what is encrypted: the key as it was asked for, since S3 answers with its ARN for an alias."""


@dataclass(frozen=True)
class Photos:
    """The photos of a job: where they are, or will be, in S3, and those of them that lie here, by name."""

    uri: str
    files: Mapping[str, Path]
    counts: Mapping[str, Mapping[str, int]]
    """Of those by split and class."""

    @property
    def fingerprint(self) -> str:
        """Of those: the same for the same photos."""
        return self.uri.rstrip("/").rpartition("/")[2]

    @property
    def size(self) -> int:
        """Bytes of those."""
        return sum(path.stat().st_size for path in self.files.values())


def survey(aws: Aws[Any], data: str | Path) -> Photos:
    """What `upload` would send, and where to; nothing is sent. DataError for folders that cannot be trained on.

    Of a folder the photos of its dataset are taken, and nothing else; of an `s3://` URI nothing is looked at.
    """
    from training.data import layout  # which imports torch

    if str(data).startswith("s3://"):
        parse(str(data))
        return Photos(f"{str(data).rstrip('/')}/", {}, {})
    dataset = layout.load(Path(data))
    photos = {example.name: example.path for example in dataset}
    _require_text(photos)
    with ThreadPoolExecutor(_THREADS) as pool:
        hashes = dict(zip(photos, pool.map(layout.content_hash, photos.values()), strict=True))
    return Photos(aws.uri("data", layout.fingerprint(hashes)) + "/", photos, dataset.counts())


def upload(aws: Aws[Any], data: str | Path, say: Say) -> str:
    """The `s3://…/` URI of labelled folders; what already is one passes as it is.

    The same photos are uploaded once, and an upload that was cut off goes on. DataError as `survey`, AwsError for S3's
    answers.
    """
    photos = survey(aws, data)
    send(aws, photos, say)
    return photos.uri


def send(aws: Aws[Any], photos: Photos, say: Say) -> None:
    """Upload what of the photos is not there yet, and then a marker that says so. AwsError for S3's answers."""
    if not photos.files:
        return
    fingerprint, count = photos.fingerprint, len(photos.files)
    prefix, marker = aws.key("data", fingerprint), aws.key("data", f"{fingerprint}.json")
    with told(f"photos to s3://{aws.bucket}"):
        if is_there(aws, marker):
            say(f"photos: {count} are at {photos.uri} already")
            return
        _send(aws, prefix, photos.files, say)
        summary = {"fingerprint": fingerprint, "photos": count, "counts": photos.counts}
        aws.s3.put_object(Bucket=aws.bucket, Key=marker, Body=json.dumps(summary).encode(), **encryption(aws))
    say(f"photos: {count} at {photos.uri}")


def upload_weights(aws: Aws[Any], path: Path, *, sends: bool = True) -> tuple[str, str]:
    """URI of the folder that holds a file of weights, by its content, and its path within a job; uploaded if `sends`.

    DataError for a file that cannot be read.
    """
    from training.data.files import content_hash

    try:
        digest = content_hash(path)[:12]
    except OSError as error:
        raise DataError(f"weights: {path} cannot be read ({error.strerror})") from None
    key = aws.key(WEIGHTS, digest, path.name)
    with told(f"weights to s3://{aws.bucket}"):
        if sends and not is_there(aws, key):
            aws.s3.upload_file(str(path), aws.bucket, key, ExtraArgs=encryption(aws) or None)
    return aws.uri(WEIGHTS, digest) + "/", str(CHANNELS / WEIGHTS / path.name)


def encryption(aws: Aws[Any]) -> dict[str, Any]:
    """What S3 is told where the options name a key."""
    key = aws.options.kms_key
    return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key, "Metadata": {_KEY: key}} if key else {}


def _require_text(names: Iterable[str]) -> None:
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise DataError(f"{name!r} has a name that is no text, which S3 cannot keep. Rename it.") from None


def is_there(aws: Aws[Any], key: str, size: int | None = None) -> bool:
    """Whether S3 has an object, of that size, encrypted by the key of the options where they name one."""
    from botocore.exceptions import ClientError

    try:
        found = aws.s3.head_object(Bucket=aws.bucket, Key=key)
    except ClientError as error:
        # Without the permission to list, S3 answers 403 for what is not there.
        if error.response["Error"]["Code"] not in ("404", "NoSuchKey", "403"):
            raise
        return False
    wanted, used = aws.options.kms_key, str(found.get("SSEKMSKeyId", ""))
    encrypted = not wanted or wanted in (used, used.rpartition("/")[2], found.get("Metadata", {}).get(_KEY))
    return encrypted and size in (None, found["ContentLength"])


def _missing(aws: Aws[Any], prefix: str, photos: Mapping[str, Path]) -> list[str]:
    """What is not there in full, or under another key; the name has the fingerprint in it, so the rest is the same."""
    there = _sizes(aws, f"{prefix}/")

    def lacks(name: str) -> bool:
        key = f"{prefix}/{name}"
        if there.get(key) != photos[name].stat().st_size:
            return True
        return bool(aws.options.kms_key) and not is_there(aws, key)

    with ThreadPoolExecutor(_THREADS) as pool:
        return [name for name, lacking in zip(photos, pool.map(lacks, photos), strict=True) if lacking]


def _send(aws: Aws[Any], prefix: str, photos: Mapping[str, Path], say: Say) -> None:
    missing = _missing(aws, prefix, photos)
    size = sum(photos[name].stat().st_size for name in missing)
    say(f"photos: uploading {len(missing)} of {len(photos)} ({size / 1e6:.1f} MB)")
    extra = encryption(aws) or None

    def put(name: str) -> None:
        aws.s3.upload_file(str(photos[name]), aws.bucket, f"{prefix}/{name}", ExtraArgs=extra)

    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            for count, _ in enumerate(pool.map(put, missing), 1):
                if count % 1000 == 0:
                    say(f"photos: {count} of {len(missing)}")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _sizes(aws: Aws[Any], prefix: str) -> dict[str, int]:
    pages: Any = aws.s3.get_paginator("list_objects_v2").paginate(Bucket=aws.bucket, Prefix=prefix)
    return {entry["Key"]: entry["Size"] for page in pages for entry in page.get("Contents", ())}


def parse(uri: str) -> tuple[str, str]:
    """Bucket and key of an `s3://` URI; AwsError if it is none."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not uri.startswith("s3://") or not bucket:
        raise AwsError(f"{uri!r} is no S3 URI. Write s3://BUCKET/PREFIX")
    return bucket, key
