"""What a job leaves in S3, brought home: the archive as it is, its output unpacked, files of a prefix."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from .errors import AwsError, told
from .session import Aws
from .upload import Say, parse

ARCHIVE = "model.tar.gz"
_OUTPUT = "output.tar.gz"


def results(aws: Aws[Any], found: dict[str, Any], folder: Path, say: Say) -> None:
    """The files of a completed job (its description) into `folder`: model.tar.gz, and all that it wrote.

    The archive is the one that serving takes. AwsError where S3 or the disk refuses.
    """
    where = f"{found['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{found['TrainingJobName']}/output"
    folder.mkdir(parents=True, exist_ok=True)
    fetch(aws, found.get("ModelArtifacts", {}).get("S3ModelArtifacts") or f"{where}/{ARCHIVE}", folder / ARCHIVE)
    with TemporaryDirectory(prefix="whippet-output-") as temporary:
        packed = Path(temporary) / _OUTPUT
        fetch(aws, f"{where}/{_OUTPUT}", packed)
        unpack(packed, folder)
    say(f"{folder / ARCHIVE}: the model; beside it {', '.join(_names(folder))}")


def fetch(aws: Aws[Any], uri: str, path: Path) -> None:
    """One object into a file, whole or not at all."""
    bucket, key = parse(uri)
    path.parent.mkdir(parents=True, exist_ok=True)
    with told(f"downloading {uri}"):
        aws.s3.download_file(bucket, key, str(path))


def fetch_all(aws: Aws[Any], uri: str, folder: Path, containing: str = "") -> list[Path]:
    """All objects below a prefix whose key has `containing` in it, under their names after it or after the prefix.

    Names that would leave the folder are refused.
    """
    bucket, prefix = parse(f"{uri.rstrip('/')}/")
    with told(f"downloading {uri}"):
        pages = aws.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", ()) if containing in entry["Key"]]
    found = []
    for key in keys:
        name = key.split(containing, 1)[1] if containing else key.removeprefix(prefix)
        if not name or name.endswith("/"):
            continue
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise AwsError(f"s3://{bucket}/{key} would be written outside of {folder}. Look into that bucket")
        fetch(aws, f"s3://{bucket}/{key}", folder / path)
        found.append(folder / path)
    return found


def unpack(packed: Path, folder: Path) -> None:
    """A tar.gz of ours over what is in the folder; AwsError for paths that leave it, links, devices and bombs."""
    from model_serving import archive
    from model_serving.errors import ArchiveError

    try:
        archive.unpack(packed, folder)
    except ArchiveError as error:
        raise AwsError(f"the job's output cannot be unpacked: {error}") from None


def _names(folder: Path) -> Iterator[str]:
    for path in sorted(folder.iterdir()):
        if path.name != ARCHIVE:
            yield f"{path.name}/" if path.is_dir() else path.name
