"""Photos in S3, named `s3://BUCKET/KEY`, by boto3 (an extra) and AWS's usual configuration."""

from __future__ import annotations

import functools
import os
import re
import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import Any, NamedTuple, NoReturn

from client import reading
from client.errors import PhotoError, UnreachableError, UsageError
from client.kinds import PHOTO_SUFFIXES, RAW_SUFFIXES, VIDEO_SUFFIXES, kind_of, refusal, suffix_of
from client.reading import Source
from client.sieve import Sieve

CONNECTIONS = 256
"""Connections to S3 at most, as many as a run may have threads."""

_CONFIGURES = "AWS_"
_GONE = frozenset({"NoSuchKey", "404"})
_DENIED = frozenset({"AccessDenied", "403", "AllAccessDisabled"})
_connecting = threading.Lock()


class Key(NamedTuple):
    """An object below a prefix: its name relative to it, and when it was written, in seconds since 1970."""

    name: str
    modified: float


class Bucket:
    """A prefix of a bucket. Safe to share between threads."""

    def __init__(self, uri: str) -> None:
        """UsageError for what is no URI, and without boto3; UnreachableError for a configuration that is wrong."""
        found = re.fullmatch(r"s3://([^/]+)/?(.*)", uri, re.S | re.I)
        if found is None:
            raise UsageError(f"{uri} is no S3 URI.", "Write s3://BUCKET/PREFIX.")
        self.name, self.key = found.groups()
        self.prefix = f"{self.key.rstrip('/')}/" if self.key else ""
        self._client = _connection()

    @property
    def uri(self) -> str:
        """The prefix as a URI, to which names can be appended."""
        return f"s3://{self.name}/{self.prefix}"

    def first(self) -> str | None:
        """The first key that begins as the URI says; None where there is none. Errors as in `objects`."""
        try:
            page = self._client.list_objects_v2(Bucket=self.name, Prefix=self.key, MaxKeys=1)
        except Exception as error:  # boto3's own, which the base install lacks
            _raise(error, f"s3://{self.name}/{self.key}")
        return next((str(entry["Key"]) for entry in page.get("Contents", ())), None)

    def objects(self) -> Iterator[Key]:
        """The objects below the prefix, without the markers that consoles make for folders.

        UsageError where there is no such bucket, UnreachableError where S3 does not list it.
        """
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=self.prefix)
        try:
            for page in pages:
                for entry in page.get("Contents", ()):
                    if not entry["Key"].endswith("/"):
                        yield Key(entry["Key"][len(self.prefix) :], entry["LastModified"].timestamp())
        except Exception as error:
            _raise(error, self.uri)

    def read(self, key: str, limit: int = reading.MAX_FILE_BYTES) -> bytes:
        """An object's bytes by its full key. PhotoError `unreadable`, or `too_large` for more than `limit`."""
        try:
            answer = self._client.get_object(Bucket=self.name, Key=key)
            with closing(answer["Body"]) as body:
                if answer["ContentLength"] > limit:
                    raise reading.too_large(limit)
                return reading.gathered(body.iter_chunks(reading.CHUNK), limit)
        except PhotoError:
            raise
        except Exception as error:
            raise _unreadable(error) from error


def is_uri(name: str) -> bool:
    """Whether a name is an `s3://` address rather than a path."""
    return name[:5].lower() == "s3://"


def check(uri: str) -> None:
    """UsageError or UnreachableError where a prefix cannot be listed; UsageError where nothing begins so."""
    if Bucket(uri).first() is None:
        raise UsageError(f"There is nothing at {uri}.", "Check the spelling: aws s3 ls shows what is there.")


def photos(uri: str, sieve: Sieve) -> Iterator[Source]:
    """The photos below a prefix that pass the sieve, by their suffix; or the one that the URI names, whatever it is.

    Sources are read later, in any thread. Errors as in `Bucket.objects`.
    """
    bucket = Bucket(uri)
    if bucket.key and _names_object(bucket):
        yield _named(bucket)
        return
    for name, modified in bucket.objects():
        if sieve.rules.sees(name) and sieve.takes(name, bytes, lambda at=modified: at):  # type: ignore[misc]
            yield Source(bucket.uri + name, reader=partial(bucket.read, bucket.prefix + name))


def read(uri: str) -> bytes:
    """The bytes of the object that a URI names. PhotoError where they cannot be had; UsageError as `Bucket`."""
    bucket = Bucket(uri)
    return bucket.read(bucket.key)


def _names_object(bucket: Bucket) -> bool:
    """Whether the URI is that of an object. A photo's suffix says so without asking: lists can have many."""
    return suffix_of(bucket.key) in PHOTO_SUFFIXES | RAW_SUFFIXES | VIDEO_SUFFIXES or bucket.first() == bucket.key


def _named(bucket: Bucket) -> Source:
    name = f"s3://{bucket.name}/{bucket.key}"
    error = refusal(kind_of(bucket.key, bytes))
    return Source.refused(name, error) if error else Source(name, reader=partial(bucket.read, bucket.key))


def _connection() -> Any:
    """One client for all, until the environment names another account, region or endpoint."""
    try:
        import boto3  # noqa: F401
    except ImportError:
        raise UsageError("boto3 is not installed.", "Run: pip install boto3, or pip install 'whippet[aws]'.") from None
    with _connecting:  # boto3 shares clients between threads, but does not make them so
        return _client(tuple(sorted(item for item in os.environ.items() if item[0].startswith(_CONFIGURES))))


@functools.lru_cache(maxsize=1)
def _client(environment: tuple[tuple[str, str], ...]) -> Any:
    import boto3
    from boto3.session import Config  # type: ignore[attr-defined]  # botocore's, which comes with it

    retrying = Config(max_pool_connections=CONNECTIONS, retries={"mode": "adaptive", "total_max_attempts": 5})
    try:
        return boto3.client("s3", config=retrying)
    except Exception as error:  # a profile or region that is wrong
        _raise(error, "S3")


def _raise(error: Exception, where: str) -> NoReturn:
    """What boto3 raised while listing, as an error of ours."""
    code = _code(error)
    if code == "NoSuchBucket":
        raise UsageError(f"There is no bucket of {where}.", "Check the spelling.") from error
    hint = "Check the credentials (aws sts get-caller-identity), the region and the network."
    if code in _DENIED:
        hint = "Your credentials need s3:ListBucket for the bucket and s3:GetObject for what is in it."
    raise UnreachableError("unreachable", f"{where} cannot be read ({_said(error)}).", hint) from error


def _unreadable(error: Exception) -> PhotoError:
    """What boto3 raised while reading an object. Its own words stay out where they may hold the key."""
    code = _code(error)
    if code in _GONE:
        return PhotoError("unreadable", "S3 does not have it any more.", "Has it been deleted?")
    if code in _DENIED:
        return PhotoError("unreadable", "S3 refuses it: access denied.", "Your credentials need s3:GetObject for it.")
    what = code or type(error).__name__
    return PhotoError(
        "unreadable", f"S3 does not give it ({what}).", "Try again; an object in Glacier must be restored."
    )


def _code(error: Exception) -> str:
    return str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))


def _said(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(". ") or type(error).__name__
