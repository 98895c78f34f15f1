"""What jobs read, in S3: photos by their fingerprint, weights, keys of encryption; sent once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.aws_world import BUCKET, World, connected
from tests.labelled import make_folders
from training.aws import upload
from training.aws.errors import AwsError
from training.aws.jobs import prepare
from training.config import TrainingConfig
from training.errors import DataError


def test_photos_are_uploaded_once(here: World, tmp_path: Path) -> None:
    """Only photos of the dataset, below their fingerprint; a second call, also from a copy, uploads nothing."""
    said: list[str] = []
    aws = connected()
    for name in ("a", "b"):
        make_folders(tmp_path / name, {"train": 2, "valid": 1})
        (tmp_path / name / "train" / "notes.txt").write_text("not a photo")
    puts: list[str] = []
    aws.s3.meta.events.register("before-call.s3.PutObject", lambda **kw: puts.append(kw["params"]["url_path"]))
    first = upload.upload(aws, tmp_path / "a", said.append)
    keys, before = here.keys(), len(puts)
    assert upload.upload(aws, tmp_path / "b", said.append) == first
    fingerprint = first.rstrip("/").rpartition("/")[2]
    assert first == f"s3://{BUCKET}/whippet/data/{fingerprint}/"
    assert len([key for key in keys if key.endswith(".jpg")]) == 9
    assert sorted(keys)[-1] == f"whippet/data/{fingerprint}/valid/003.Blue_bar/9.jpg"
    assert f"whippet/data/{fingerprint}.json" in keys
    assert not [key for key in keys if "notes" in key]
    assert before == len(puts) == 10
    assert said[-1] == f"photos: 9 are at {first} already"


def test_an_upload_that_was_cut_off_goes_on(here: World, tmp_path: Path) -> None:
    """Without the marker what is there already stays, and the marker is written last."""
    aws, said = connected(), list[str]()
    folder = make_folders(tmp_path / "a", {"train": 2, "valid": 1})
    uri = upload.upload(aws, folder, said.append)
    marker, lost = f"{uri.removeprefix(f's3://{BUCKET}/').rstrip('/')}.json", here.keys("whippet/data/")[-1]
    for key in (marker, lost):
        aws.s3.delete_object(Bucket=BUCKET, Key=key)
    puts: list[str] = []
    aws.s3.meta.events.register("before-call.s3.PutObject", lambda **kw: puts.append(kw["params"]["url_path"]))
    upload.upload(aws, folder, said.append)
    assert len(puts) == 2
    assert puts[-1].endswith(marker)


@pytest.mark.usefixtures("here")
def test_what_is_uploaded_is_encrypted_by_the_key(tmp_path: Path) -> None:
    """Photos, the marker beside them, and weights."""
    aws = connected(kms_key="key-1")
    (tmp_path / "mine.pt").write_bytes(b"weights")
    folder = make_folders(tmp_path / "a", {"train": 2, "valid": 1})
    prepare(aws, TrainingConfig(weights=str(tmp_path / "mine.pt")), folder, print)
    keys = [entry["Key"] for entry in aws.s3.list_objects_v2(Bucket=BUCKET)["Contents"]]
    assert len(keys) == 11
    assert {aws.s3.head_object(Bucket=BUCKET, Key=key).get("SSEKMSKeyId") for key in keys} == {"key-1"}


def test_another_key_encrypts_what_is_there_already(here: World, tmp_path: Path) -> None:
    """Photos, the marker and weights of an upload without the key are sent again, once."""
    (tmp_path / "mine.pt").write_bytes(b"weights")
    folder = make_folders(tmp_path / "a", {"train": 2, "valid": 1})
    config = TrainingConfig(weights=str(tmp_path / "mine.pt"))
    for key in ("", "key-1"):
        prepare(connected(kms_key=key), config, folder, print)
    aws = connected(kms_key="key-1")
    keys = [entry["Key"] for entry in aws.s3.list_objects_v2(Bucket=BUCKET)["Contents"]]
    assert {aws.s3.head_object(Bucket=BUCKET, Key=key).get("SSEKMSKeyId") for key in keys} == {"key-1"}
    puts: list[str] = []
    aws.s3.meta.events.register("before-call.s3.PutObject", lambda **kw: puts.append(kw["params"]["url_path"]))
    prepare(aws, config, folder, print)
    assert puts == []


def test_an_upload_that_was_cut_off_goes_on_under_another_key(here: World, tmp_path: Path) -> None:
    """What was sent before it without the key is sent again, what has the key is not."""
    folder, aws, said = make_folders(tmp_path / "a", {"train": 2, "valid": 1}), connected(kms_key="key-1"), list[str]()
    uri = upload.upload(connected(), folder, print)
    prefix = uri.removeprefix(f"s3://{BUCKET}/")
    aws.s3.delete_object(Bucket=BUCKET, Key=f"{prefix.rstrip('/')}.json")
    first, *others = here.keys(prefix)
    body = aws.s3.get_object(Bucket=BUCKET, Key=first)["Body"].read()
    aws.s3.put_object(Bucket=BUCKET, Key=first, Body=body, **upload.encryption(aws))
    upload.upload(aws, folder, said.append)
    assert said[0].startswith(f"photos: uploading {len(others)} of 9 ")
    assert {aws.s3.head_object(Bucket=BUCKET, Key=key).get("SSEKMSKeyId") for key in here.keys(prefix)} == {"key-1"}


@pytest.mark.usefixtures("here")
def test_what_is_encrypted_by_an_alias_is_uploaded_once(tmp_path: Path) -> None:
    """Though S3 answers with the ARN of the key behind it."""
    folder, aws, said = (
        make_folders(tmp_path / "a", {"train": 2, "valid": 1}),
        connected(kms_key="alias/k"),
        list[str](),
    )
    arn = "arn:aws:kms:us-east-1:123456789012:key/1234"
    aws.s3.meta.events.register("after-call.s3.HeadObject", lambda parsed, **_: parsed.update(SSEKMSKeyId=arn))
    uri = upload.upload(aws, folder, print)
    upload.upload(aws, folder, said.append)
    assert said == [f"photos: 9 are at {uri} already"]


@pytest.mark.usefixtures("here")
def test_data_in_s3_passes_and_bad_folders_are_refused(tmp_path: Path) -> None:
    """The same refusal as in training on one machine, before anything is sent."""
    assert upload.upload(connected(), "s3://photos/dogs", print) == "s3://photos/dogs/"
    with pytest.raises(DataError, match="does not exist"):
        upload.upload(connected(), tmp_path / "none", print)


def test_a_missing_bucket_says_so(here: World, tmp_path: Path) -> None:
    """With the option that names it."""
    folder = make_folders(tmp_path / "a", {"train": 2, "valid": 1})
    with pytest.raises(AwsError) as caught:
        upload.upload(connected(bucket="nobodys-bucket"), folder, print)
    assert str(caught.value) == (
        "photos to s3://nobodys-bucket: the bucket does not exist. Check --bucket, or leave it out for SageMaker's "
        "default bucket (NoSuchBucket)"
    )
    assert here.keys() == []


def test_weights_travel_as_a_channel(here: World, tmp_path: Path) -> None:
    """The job reads them where SageMaker puts the channel."""
    (tmp_path / "mine.pt").write_bytes(b"weights")
    inputs = prepare(connected(), TrainingConfig(weights=str(tmp_path / "mine.pt")), "s3://photos/dogs", print)
    assert inputs.config.weights == "/opt/ml/input/data/weights/mine.pt"
    assert inputs.channels["train"] == "s3://photos/dogs/"
    (key,) = here.keys("whippet/weights")
    assert inputs.channels["weights"] == f"s3://{BUCKET}/{key.removesuffix('mine.pt')}"
    with pytest.raises(DataError, match="cannot be read"):
        prepare(connected(), TrainingConfig(weights="none.pt"), "s3://photos/dogs", print)
