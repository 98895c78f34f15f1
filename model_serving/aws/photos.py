"""What lies under an S3 prefix that a Batch Transform job is to read, and what there would spoil it.

Batch Transform takes every object whose key begins with the prefix, sends it whole, and writes the answer as KEY.out
under the output, with the path that the key has behind the prefix. One object that cannot be answered ends the job as
failed; results of other photos are kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from training.aws.errors import AwsError, told
from training.aws.session import Aws
from training.aws.upload import parse

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".mpo", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif"}
)
"""By which an object counts as a photo here; the model looks at the bytes of all."""

_SHOWN = 3


@dataclass(frozen=True)
class Survey:
    """The objects below a prefix; `uri` ends with a slash, so that `photos` does not mean `photos-old` too."""

    uri: str
    photos: int
    size: int
    others: int
    """Objects that do not look like photos; each gets a result that says so."""
    empty: int = 0

    def lines(self) -> Iterator[str]:
        """For people."""
        yield f"photos: {self.photos:,} objects, {self.size / 1e9:,.2f} GB at {self.uri}"
        if self.others:
            yield f"        {self.others:,} do not look like photos: they are sent too, and get an error line each"
        if self.empty:
            yield f"        {self.empty:,} are empty: whether AWS sends them is not known"


def survey(aws: Aws[Any], source: str, output: str, limit_mb: int) -> Survey:
    """Look at all objects below `source` and at the place of the results, before anything is paid for.

    AwsError where there are none, where one is too large, or where results would mix with photos or with
    those of another job.
    """
    uri, target = folder(source), folder(output)
    if target.startswith(uri) or uri.startswith(target):
        raise AwsError(f"results at {target} and photos at {uri} would mix. Give another --output")
    photos = size = others = empty = 0
    large: list[str] = []
    for key, length in _objects(aws, uri):
        photos, size = photos + 1, size + length
        others += PurePosixPath(key).suffix.lower() not in SUFFIXES
        if length > limit_mb * 1024**2 and len(large) <= _SHOWN:
            large.append(key)
        empty += not length
    if not photos:
        raise AwsError(f"there is nothing at {uri}. Check --input")
    _require(
        large, f"larger than {limit_mb} MB, which would end the job as failed. Shrink or move, or --max-payload-mb"
    )
    if there := count(aws, target):
        raise AwsError(f"{target} holds {there:,} objects already, and results would mix. Give another --output")
    return Survey(uri, photos, size, others, empty)


def folder(uri: str) -> str:
    """The URI with one slash at its end; AwsError for what is no S3 URI, or a whole bucket's."""
    bucket, key = parse(uri)
    return f"s3://{bucket}/{key.strip('/')}/" if key.strip("/") else f"s3://{bucket}/"


def count(aws: Aws[Any], uri: str, suffix: str = "") -> int:
    """Objects below a prefix, of those that end so."""
    return sum(key.endswith(suffix) for key, _ in _objects(aws, uri))


def _require(keys: list[str], what: str) -> None:
    if keys:
        more = " and more" if len(keys) > _SHOWN else ""
        raise AwsError(f"{', '.join(keys[:_SHOWN])}{more}: {what} them")


def _objects(aws: Aws[Any], uri: str) -> Iterator[tuple[str, int]]:
    """Keys and sizes, without the empty markers that consoles make for folders."""
    bucket, prefix = parse(folder(uri))
    with told(f"looking at {uri}"):
        for page in aws.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for entry in page.get("Contents", ()):
                if not entry["Key"].endswith("/"):
                    yield entry["Key"], entry["Size"]
