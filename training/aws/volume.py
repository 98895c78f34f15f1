"""How much disk a job needs: its photos, their features, and room for the rest."""

from __future__ import annotations

import math
from typing import Any

from training.errors import DataError

from .errors import AwsError, told
from .session import Aws
from .upload import Photos, Say, parse

PHOTOS = 1.2
"""Bytes of disk a byte of photos: small files fill whole blocks of the file system."""

FEATURES = 16_384
"""Bytes of features a view of a photo: the widest backbone (VGG) has 4,096 numbers of 4 bytes."""

ROOM = 25.0
"""Gigabytes for weights, checkpoints of an unfrozen backbone, what is recorded, packages and the archive."""

SMALLEST = 30
"""Gigabytes that are asked for at least."""

_GB = 1e9


def gigabytes(aws: Aws[Any], photos: Photos, views: int, say: Say) -> int:
    """What the options say, else by the size of the photos, and how that was computed is said.

    DataError for an `s3://` URI with nothing below it, AwsError where it cannot be listed.
    """
    if aws.options.volume_gb:
        return int(aws.options.volume_gb)
    count, size = (len(photos.files), photos.size) if photos.files else _listed(aws, photos.uri)
    features = count * views * FEATURES
    found = needed(size, features)
    say(
        f"disk: {found} GB a machine, for {_shown(size)} of photos x {PHOTOS:g}, {_shown(features)} of features "
        f"and {ROOM:g} GB of room; at least {SMALLEST}. --volume-gb decides instead"
    )
    if not takes_volume(aws.options.instance_type):
        say(f"      {aws.options.instance_type} has disks of its own, whose size no request changes")
    return found


def _shown(size: float) -> str:
    return f"{size / _GB:.1f} GB" if size >= _GB else f"{size / 1e6:.1f} MB"


def needed(photos: float, features: float) -> int:
    """Gigabytes for so many bytes of photos and of features."""
    return max(SMALLEST, math.ceil(photos * PHOTOS / _GB + features / _GB + ROOM))


def takes_volume(instance_type: str) -> bool:
    """Whether the machine gets a disk from us, which our key encrypts; others have their own, encrypted by hardware."""
    from sagemaker.utils import volume_size_supported

    return bool(volume_size_supported(instance_type))


def _listed(aws: Aws[Any], uri: str) -> tuple[int, int]:
    """Objects below a URI, and their bytes."""
    bucket, prefix = parse(uri)
    try:
        with told(f"looking at {uri}"):
            pages = aws.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
            sizes = [entry["Size"] for page in pages for entry in page.get("Contents", ())]
    except AwsError as error:
        if error.code == "NoSuchBucket":
            raise DataError(f"{uri}: the bucket does not exist. Check --data") from None
        raise AwsError(f"{error}, or give --volume-gb", error.code) from error
    if not sizes:
        raise DataError(f"{uri} holds no files. Check --data")
    return len(sizes), sum(sizes)
