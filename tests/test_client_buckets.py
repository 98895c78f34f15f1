"""Photos in S3: a prefix or an object is listed and read as a folder or a file of this machine."""

from __future__ import annotations

import io
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from client import buckets, reading
from client.errors import PhotoError, UnreachableError, UsageError
from client.rules import Rules
from client.sources import Listing, Source, read_again
from tests.aws_world import BUCKET, World
from tests.test_client_archives import why

FILES = {
    "photos/a.jpg": b"a",
    "photos/sub/lost & found/ß+ %.PNG": b"b",
    "photos/notes.txt": b"hello",
    "photos/raw.nef": b"",
    "photos/film.mp4": b"",
    "photos/.hidden/c.jpg": b"c",
    "photos/sub/": b"",
    "photos2/d.jpg": b"d",
    "no-suffix": b"e",
}


@pytest.fixture
def s3(here: World) -> Any:
    """A client, with `FILES` in the bucket."""
    client = here.client("s3")
    for key, data in FILES.items():
        client.put_object(Bucket=BUCKET, Key=key, Body=data)
    return client


def names(uri: str, rules: Rules | None = None) -> list[str]:
    """What is listed."""
    return [source.name for source in Listing([uri], rules or Rules())]


@pytest.mark.usefixtures("s3")
@pytest.mark.parametrize("uri", [f"s3://{BUCKET}/photos", f"S3://{BUCKET}/photos/"])
def test_a_prefix_is_a_folder(uri: str) -> None:
    """Photos by their suffix, the rest counted; prefixes that begin alike and markers of folders left out."""
    listing = Listing([uri])
    found = list(listing)
    assert [source.name for source in found] == [
        f"s3://{BUCKET}/photos/a.jpg",
        f"s3://{BUCKET}/photos/sub/lost & found/ß+ %.PNG",
    ]
    assert listing.passed_over() == "1 raw file, 1 video, 1 other file ignored"
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(Source.read, found)) == [b"a", b"b"]
    assert [read_again(source.name) for source in found] == [b"a", b"b"]


@pytest.mark.usefixtures("s3")
def test_a_whole_bucket_and_an_object() -> None:
    """An object that is named is taken whatever its name; a raw file says what to do instead."""
    assert names(f"s3://{BUCKET}") == [
        f"s3://{BUCKET}/photos/a.jpg",
        f"s3://{BUCKET}/photos/sub/lost & found/ß+ %.PNG",
        f"s3://{BUCKET}/photos2/d.jpg",
    ]
    for key in ("no-suffix", "photos/a.jpg", "photos/notes.txt"):
        (source,) = Listing([f"s3://{BUCKET}/{key}"])
        assert (source.name, source.read()) == (f"s3://{BUCKET}/{key}", FILES[key])
    (raw,) = Listing([f"s3://{BUCKET}/photos/raw.nef"])
    assert why(raw) == "unsupported_media_type: The file is a camera's raw file."


@pytest.mark.usefixtures("s3")
def test_rules_hold_for_keys() -> None:
    """Relative to the prefix, and for the time an object was written."""
    root = f"s3://{BUCKET}/photos"
    assert names(root, Rules(include=("sub/**",))) == [f"{root}/sub/lost & found/ß+ %.PNG"]
    assert names(root, Rules(exclude=("sub/",), hidden=True)) == [f"{root}/.hidden/c.jpg", f"{root}/a.jpg"]
    assert len(names(root, Rules.of(None, None, "1h", hidden=False))) == 2
    listing = Listing([root], Rules(since=4e9))
    assert list(listing) == []
    assert listing.excluded == 5


@pytest.mark.usefixtures("s3")
def test_a_list_may_name_objects() -> None:
    """And prefixes; one that is gone has its line, one named twice is one."""
    lines = f"s3://{BUCKET}/photos/a.jpg\ns3://{BUCKET}/gone.jpg\ns3://{BUCKET}/photos2\ns3://{BUCKET}/photos/a.jpg\n"
    found = list(Listing(["-"], stdin=io.BytesIO(lines.encode())))
    assert len(found) == 3
    assert why(found[1]) == "unreadable: S3 does not have it any more."
    with pytest.raises(PhotoError):
        read_again(f"s3://{BUCKET}/gone.jpg")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("s3://", "is no S3 URI"),
        ("s3://nobodys-bucket/photos", "There is no bucket"),
        (f"s3://{BUCKET}/nothing", "There is nothing at"),
    ],
)
def test_what_is_not_there_is_wrong_usage(uri: str, said: str) -> None:
    """At once where it is a PATH; on a list it has its own line."""
    with pytest.raises(UsageError, match=said):
        Listing([uri])
    found = list(Listing(["-"], stdin=io.BytesIO(uri.encode())))
    assert all(source.problem for source in found)


def test_no_way_to_s3_is_said_at_once(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint that does not answer, and a photo that was listed while it still did."""
    (source,) = Listing([f"s3://{BUCKET}/photos2"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(UnreachableError, match="Check the credentials"):
        Listing([f"s3://{BUCKET}/photos"])
    assert source.read() == b"d"
    with pytest.raises(PhotoError) as caught:
        read_again(source.name)
    assert caught.value.detail == "S3 does not give it (EndpointConnectionError)."


def test_denied_access_says_what_is_needed(s3: Any) -> None:
    """For an object on its line; the key is in no message."""
    found = list(Listing([f"s3://{BUCKET}/photos"]))
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{BUCKET}/*"}
    s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps({"Version": "2012-10-17", "Statement": [deny]}))
    assert why(found[0]) == "unreadable: S3 refuses it: access denied."


def test_an_object_that_is_too_large_is_not_read(s3: Any) -> None:
    """As a file of this machine is not."""
    s3.put_object(Bucket=BUCKET, Key="large/x.jpg", Body=bytes(3_000_000))
    bucket = buckets.Bucket(f"s3://{BUCKET}/large")
    with pytest.raises(PhotoError, match="larger than 2 MB"):
        bucket.read("large/x.jpg", 2_000_000)
    assert len(bucket.read("large/x.jpg", reading.MAX_FILE_BYTES)) == 3_000_000
