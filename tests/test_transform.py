"""Photos by the million: what Batch Transform is asked for, and the way from S3 to lines, played on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import client.cli
from model_serving import archive as archives
from model_serving.aws import photos, prices, transform, transform_job
from model_serving.aws.manage_cli import app
from model_serving.aws.transform import Estimate, TransformOptions
from tests import hosts
from tests.aws_world import BUCKET, ROLE, World, sent, world
from tests.photos import jpeg
from tests.transform_player import Player
from training.aws.errors import AwsError
from training.aws.pricelist import Price
from training.aws.session import Aws, connect
from training.errors import ConfigError

INPUT, OUTPUT = f"s3://{BUCKET}/photos", f"s3://{BUCKET}/labels"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A local AWS whose price list cannot be asked."""
    with world(tmp_path) as found:
        monkeypatch.setenv("AWS_ENDPOINT_URL_PRICING", "http://127.0.0.1:9")
        yield found


@pytest.fixture
def player(here: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Player]:
    """Jobs are played; what moto leaves out of a description is put back."""
    from moto.sagemaker.models import SageMakerModelBackend

    create, found = SageMakerModelBackend.create_transform_job, Player(here)

    def new(self: Any, **request: Any) -> Any:
        job = create(self, **request)
        found.begin(job)
        return job

    monkeypatch.setattr(SageMakerModelBackend, "create_transform_job", new)
    monkeypatch.setattr(transform_job, "POLL_SECONDS", 0.2)
    yield found
    for thread in found.threads:
        thread.join(60)


def connection(**options: Any) -> Aws[TransformOptions]:
    """With the world's bucket and role, and two tries a request."""
    return connect(TransformOptions(**{"bucket": BUCKET, "role": ROLE, **options}), attempts=2)


def put(world: World, *names: str, body: bytes = b"photo") -> None:
    """Photos in S3."""
    for name in names:
        world.client("s3").put_object(Bucket=BUCKET, Key=f"photos/{name}", Body=body)


def run(*args: str) -> Result:
    """`python -m model_serving transform …`."""
    return CliRunner().invoke(app, ["transform", *args, "--bucket", BUCKET, "--role", ROLE])


def models(aws: Aws[Any]) -> list[str]:
    """Names of what is on SageMaker."""
    return [one["ModelName"] for one in aws.sagemaker.list_models()["Models"]]


@pytest.mark.slow
def test_photos_go_in_and_lines_come_out(here: World, player: Player, archive: Path) -> None:
    """A bad photo and one that no photo is are error lines and do not end the job; a lost one has its line, too."""
    put(here, "dog 1.jpg", "deep/er/ß & ü+.jpg", "lost.jpg", body=jpeg())
    put(here, "torn.jpg", body=jpeg()[:300])
    put(here, "notes.txt", body=b"hello")
    here.client("s3").put_object(Bucket=BUCKET, Key="photos-old/x.jpg", Body=jpeg())
    player.loses = {"lost.jpg"}
    result = run(str(archive), "--input", INPUT, "--output", OUTPUT, "--yes")
    assert result.exit_code == 0, result.exception
    assert "1 do not look like photos" in result.stdout
    assert "Completed, 4 of 5 photos have a result" in result.stdout
    assert f"results: python -m client results {OUTPUT}\n" in result.stdout
    assert models(connection()) == []
    done = CliRunner().invoke(client.cli.app, ["results", OUTPUT, "--photos", INPUT])
    lines = {line["path"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert {path: (line["error"] or {}).get("code") for path, line in lines.items()} == {
        "deep/er/ß & ü+.jpg": None,
        "dog 1.jpg": None,
        "lost.jpg": "no_result",
        "notes.txt": "unsupported_media_type",
        "torn.jpg": "bad_image",
    }
    assert len(lines["dog 1.jpg"]["predictions"]) == 5
    assert lines["dog 1.jpg"]["model"] == "imagenet-efficientnet-lite0"
    assert lines["dog 1.jpg"]["ms"] > 0
    assert done.exit_code == 1
    assert done.stderr.startswith("5 photos: 2 classified, 3 failed (")


@pytest.mark.slow
def test_without_the_job_s_environment_one_bad_photo_would_end_it(
    here: World, player: Player, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the job's variable is for; a failed job is one line, with its log and how to see what it did."""
    monkeypatch.setattr(transform, "ENVIRONMENT", {})
    put(here, "good.jpg", body=jpeg())
    put(here, "torn.jpg", body=jpeg()[:300])
    result = run(str(archive), "--input", INPUT, "--output", OUTPUT, "--yes")
    assert isinstance(result.exception, AwsError)
    said = str(result.exception)
    assert " failed: ClientError: See job logs" in said
    assert "group /aws/sagemaker/TransformJobs" in said
    assert said.endswith(f"python -m client results {OUTPUT}")
    assert "\n" not in said
    assert models(connection()) == []


@pytest.mark.slow
def test_aws_s_container_answers_each_photo_of_a_batch(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many at once as a job sends, good and bad mixed: each its own answer, all with status 200."""
    for name, value in transform.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    bodies = [(jpeg(), jpeg()[:300], b"hello")[number % 3] for number in range(TransformOptions().at_once)]
    archives.restage(archive, tmp_path / "model.tar.gz")
    (tmp_path / "host").mkdir()
    with hosts.torchserve(tmp_path / "model.tar.gz", tmp_path / "host") as host, ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda body: host.post(body, transform.CONTENT_TYPE), bodies))
    assert [answer.status_code for answer in answers] == [200] * len(bodies)
    codes = [answer.json().get("error", {}).get("code") for answer in answers]
    assert codes == [(None, "bad_image", "unsupported_media_type")[number % 3] for number in range(len(bodies))]


def test_the_request(here: World, archive: Path) -> None:
    """One photo a request, whole, as many at once as two batches of the container; retries, keys, tags."""
    put(here, "a.jpg", "b.jpg")
    key = "arn:aws:kms:us-east-1:123456789012:key/k"
    network = {"subnets": ("subnet-1",), "security_groups": ("sg-1",)}
    aws = connection(instance_count=3, kms_key=key, tags=("team=vets",), retries=2, timeout_seconds=30, **network)
    jobs, made = sent(aws, "CreateTransformJob"), sent(aws, "CreateModel")
    job = transform.start(aws, archive, photos.survey(aws, INPUT, OUTPUT, 6), OUTPUT, print)
    (request,), (model,) = jobs, made
    assert request["TransformJobName"] == request["ModelName"] == model["ModelName"] == job.name
    assert request["TransformInput"] == {
        "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"{INPUT}/"}},
        "ContentType": "application/octet-stream",
    }
    assert request["TransformOutput"] == {"S3OutputPath": OUTPUT, "KmsKeyId": key, "Accept": "application/json"}
    assert request["TransformResources"] == {
        "InstanceCount": 3, "InstanceType": "ml.m5.xlarge", "VolumeKmsKeyId": key,
    }  # fmt: skip
    assert (request["BatchStrategy"], request["MaxPayloadInMB"]) == ("SingleRecord", 6)
    assert request["MaxConcurrentTransforms"] == 16
    assert request["MaxConcurrentTransforms"] * request["MaxPayloadInMB"] <= 100
    assert request["ModelClientConfig"] == {"InvocationsTimeoutInSeconds": 30, "InvocationsMaxRetries": 2}
    assert request["Environment"] == {"WHIPPET_ERRORS_AS_RESULTS": "1"}
    tags = {tag["Key"]: tag["Value"] for tag in request["Tags"]}
    assert tags["team"] == "vets"
    assert tags["whippet:version"] in job.name
    assert model["VpcConfig"] == {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}
    assert int(model["PrimaryContainer"]["Environment"]["TS_MAX_REQUEST_SIZE"]) >= transform.MAX_PAYLOAD_MB * 1024**2
    second = transform.start(aws, archive, photos.survey(aws, INPUT, OUTPUT, 6), OUTPUT, print)
    assert second.name != job.name


def test_a_job_that_cannot_start_leaves_no_model(here: World, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was made for it is removed."""

    def refuse(*_: Any) -> None:
        raise AwsError("a quota is exhausted", "ResourceLimitExceeded")

    put(here, "a.jpg")
    aws = connection()
    monkeypatch.setattr(transform, "_send", refuse)
    with pytest.raises(AwsError, match="quota"):
        transform.start(aws, archive, photos.survey(aws, INPUT, OUTPUT, 6), OUTPUT, print)
    assert models(aws) == []


def test_a_local_disk_takes_no_key(here: World, archive: Path) -> None:
    """AWS refuses one for machines that encrypt their own disks."""
    transformer, _ = transform.request(
        connection(instance_type="ml.g4dn.xlarge", kms_key="key-1"), "job", INPUT, OUTPUT, []
    )
    assert (transformer.volume_kms_key, transformer.output_kms_key) == (None, "key-1")


def test_the_photos_are_looked_at_first(here: World) -> None:
    """Over all pages, without folders' markers and neighbours of a similar name; sizes, and what is no photo."""
    put(here, *(f"many/{number:04}.JPG" for number in range(1010)))
    put(here, "notes.txt", "folder/")
    put(here, "empty.png", body=b"")
    here.client("s3").put_object(Bucket=BUCKET, Key="photos2/x.jpg", Body=b"photo")
    found = photos.survey(connection(), INPUT, OUTPUT, 6)
    assert (found.uri, found.photos, found.others, found.empty) == (f"{INPUT}/", 1012, 1, 1)
    assert found.size == 1011 * 5
    assert len(list(found.lines())) == 3


@pytest.mark.parametrize(
    ("source", "output", "said"),
    [
        (f"s3://{BUCKET}/nothing", OUTPUT, "there is nothing at"),
        (INPUT, f"{INPUT}/labels", "would mix"),
        (f"{INPUT}/deep", INPUT, "would mix"),
        (INPUT, INPUT, "would mix"),
        (INPUT, f"s3://{BUCKET}", "would mix"),
        (INPUT, f"s3://{BUCKET}/used", "holds 1 objects already"),
        ("photos", OUTPUT, "is no S3 URI"),
        (INPUT, f"s3://{BUCKET}/photos-labels", ""),
    ],
)
def test_what_would_spoil_the_job_is_refused(here: World, source: str, output: str, said: str) -> None:
    """Before anything is paid for, in one line."""
    put(here, "a.jpg", "deep/b.jpg")
    here.client("s3").put_object(Bucket=BUCKET, Key="used/a.jpg.out", Body=b"{}")
    if not said:
        assert photos.survey(connection(), source, output, 6).photos == 2
        return
    with pytest.raises(AwsError, match=said):
        photos.survey(connection(), source, output, 6)


def test_a_photo_that_is_too_large_is_named(here: World) -> None:
    """AWS would end the whole job as failed; the option that allows more is named."""
    put(here, "a.jpg")
    put(here, "large.jpg", body=bytes(6 * 1024**2 + 1))
    with pytest.raises(AwsError, match=r"photos/large\.jpg: larger than 6 MB.*--max-payload-mb"):
        photos.survey(connection(), INPUT, OUTPUT, 6)
    assert photos.survey(connection(), INPUT, OUTPUT, 7).photos == 2


def test_options_hold_aws_s_limit() -> None:
    """Photos at once times their largest size; by default as many as fit."""
    assert TransformOptions().at_once == 16
    assert TransformOptions(max_payload_mb=20).at_once == 5
    assert TransformOptions(instance_type="ml.g5.xlarge", max_payload_mb=3).at_once == 32
    with pytest.raises(ConfigError, match="AWS takes 100 at most"):
        TransformOptions(concurrency=20, max_payload_mb=6)
    with pytest.raises(ConfigError, match="take one like"):
        TransformOptions(instance_type="m5")
    with pytest.raises(ConfigError, match="no driver"):
        TransformOptions(instance_type="ml.g5.xlarge", runtime="ray")


def test_the_estimate_says_what_it_assumes() -> None:
    """Photos x seconds, machines' start, price; more machines cost the same and take less time."""
    options = TransformOptions(seconds_per_photo=0.036, instance_count=4)
    found = Estimate(1_000_000, options, Price(0.23, "somewhere"))
    assert found.hours == pytest.approx(10 + 4 * 5 / 60)
    assert list(found.lines()) == [
        "cost: about 2.38 dollars, in about 2.58 hours on 4 x ml.m5.xlarge",
        "      0.23 dollars an hour (somewhere)",
        "      assumed: 0.036 s a photo (measure, and give --seconds-per-photo) and 5 minutes to start",
        prices.NOT_COUNTED,
    ]
    assert next(Estimate(10, options, None).lines()).startswith("cost: unknown")


def test_a_dry_run_starts_nothing(here: World, archive: Path) -> None:
    """And neither does a no."""
    put(here, "a.jpg")
    result = run(str(archive), "--input", INPUT, "--output", OUTPUT, "--dry-run")
    assert result.exit_code == 0, result.exception
    assert "photos: 1 objects" in result.stdout
    assert result.stdout.endswith("nothing was started\n")
    refused = run(str(archive), "--input", INPUT, "--output", OUTPUT)
    assert refused.exit_code == 1
    aws = connection()
    assert models(aws) == []
    assert here.keys("whippet/") == []
    assert aws.sagemaker.list_transform_jobs()["TransformJobSummaries"] == []


def test_detached_jobs_are_followed_later(here: World, archive: Path) -> None:
    """--detach says how; --attach goes on to the end and removes the model, or keeps it."""
    put(here, "a.jpg", "b.jpg")
    result = run(str(archive), "--input", INPUT, "--output", OUTPUT, "--yes", "--detach")
    assert result.exit_code == 0, result.exception
    aws = connection()
    (name,) = models(aws)
    assert f"python -m model_serving transform --attach {name} --region us-east-1\n" in result.stdout
    here.client("s3").put_object(Bucket=BUCKET, Key="labels/a.jpg.out", Body=b"{}")
    kept = run("--attach", name, "--keep-model")
    assert "Completed, 1 of 2 photos have a result" in kept.stdout
    assert models(aws) == [name]
    assert f"removed: model {name}" in run("--attach", name).stdout
    assert models(aws) == []
    assert run("--attach", name).exit_code == 0
    assert isinstance(run("--attach", "no-such-job").exception, AwsError)


def test_following_says_how_far_it_is(here: World, archive: Path) -> None:
    """Status and results as they come; Ctrl-C leaves the job and its model, and says how to come back."""
    from moto.sagemaker.models import sagemaker_backends

    put(here, "a.jpg", "b.jpg")
    aws = connection()
    job = transform.start(aws, archive, photos.survey(aws, INPUT, OUTPUT, 6), OUTPUT, print)
    backend: Any = sagemaker_backends["123456789012"]["us-east-1"]
    fake = backend.transform_jobs[job.name]
    fake.transform_job_status = "InProgress"
    said: list[str] = []

    def sleep(_: float) -> None:
        if here.keys("labels/"):
            fake.transform_job_status = "Stopped"
        here.client("s3").put_object(Bucket=BUCKET, Key="labels/a.jpg.out", Body=b"{}")

    with pytest.raises(AwsError, match="was stopped"):
        transform_job.follow(aws, job, said.append, sleep=sleep)
    assert said == [
        f"{job.name}: InProgress",
        f"{job.name}: 0 of 2 photos",
        f"{job.name}: Stopped, 1 of 2 photos have a result",
    ]

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    fake.transform_job_status = "InProgress"
    with pytest.raises(KeyboardInterrupt):
        transform_job.follow(aws, job, said.append, sleep=interrupt)
    assert said[-2].endswith(f"--attach {job.name} --region us-east-1")
    assert said[-1].endswith(f"stop-transform-job --transform-job-name {job.name} --region us-east-1")
    assert not transform_job.ended(aws, job)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "give the FILE of an archive, --input"),
        (["--attach", "job", "--input", INPUT], "Leave out FILE, --input"),
    ],
)
@pytest.mark.usefixtures("here")
def test_wrong_usage(args: list[str], said: str) -> None:
    """One line."""
    result = run(*args)
    assert isinstance(result.exception, ConfigError)
    assert said in str(result.exception)
