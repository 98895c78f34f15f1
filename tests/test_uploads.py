"""Photos above the direct limit: permission, upload, one classification, and what is refused."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from lambda_api import schema
from tests.api_world import BUCKET, PHOTO, PREDICTIONS, JobWorld, Scripted, call, function, job_world

IN_JSON = {"content-type": "application/json"}
BIG = PHOTO + bytes(schema.MAX_IMAGE_BYTES)


@pytest.fixture
def world() -> Iterator[JobWorld]:
    """Nothing uploaded."""
    with job_world() as found:
        yield found


@pytest.fixture
def handler(world: JobWorld) -> Any:
    """The function of that world."""
    from lambda_api.app import handler

    return handler


def upload(world: JobWorld, handler: Any, data: bytes = BIG) -> str:
    """The key of a photo that was uploaded."""
    status, ticket, _ = call(handler, "POST", "/v1/uploads")
    assert status == 201
    world.put(ticket["fields"]["key"], data, BUCKET)
    return str(ticket["upload"])


def classify(handler: Any, key: Any) -> tuple[int, dict[str, Any]]:
    """Status and answer for an upload."""
    status, answer, _ = call(handler, "POST", "/v1/classify", json.dumps({"upload": key}), IN_JSON)
    return status, answer


def test_permission_is_for_one_photo(world: JobWorld, handler: Any) -> None:
    """A form for a new random key each, that type, those sizes and five minutes, and nothing else."""
    tickets = [call(handler, "POST", "/v1/uploads", '{"content_type": "image/png"}', IN_JSON)[1] for _ in range(2)]
    assert tickets[0]["upload"] != tickets[1]["upload"]
    ticket = tickets[0]
    policy = json.loads(base64.b64decode(ticket["fields"]["policy"]))
    conditions = policy["conditions"]
    assert {"Content-Type": "image/png"} in conditions
    assert ["content-length-range", 1, 20_000_000] in conditions
    assert {"key": f"uploads/{ticket['upload']}"} in conditions
    assert {"bucket": BUCKET} in conditions
    assert ticket["fields"]["Content-Type"] == "image/png"
    assert (ticket["max_bytes"], ticket["expires_in"], ticket["request_id"]) == (20_000_000, 300, "id-1")
    assert world.names() == []


def test_an_upload_is_classified_once(world: JobWorld, handler: Any) -> None:
    """The endpoint gets its bytes, the answer is as for a photo sent directly, and it is gone afterwards."""
    key = upload(world, handler)
    status, answer = classify(handler, key)
    assert (status, answer["predictions"]) == (200, PREDICTIONS[:5])
    assert world.hooks.bodies == [BIG]
    assert world.names() == []
    assert classify(handler, key) == (404, {**classify(handler, key)[1], "code": "upload_missing"})


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1", "af-south-1"])
def test_forms_lead_to_the_regions_own_address(region: str) -> None:
    """S3's global address redirects them, and a browser's form is lost on the way."""
    with function(Scripted(), BUCKET="photos", AWS_REGION=region, AWS_DEFAULT_REGION=region):
        from lambda_api.app import handler

        ticket = call(handler, "POST", "/v1/uploads")[1]
    host = "photos.s3.amazonaws.com" if region == "us-east-1" else f"photos.s3.{region}.amazonaws.com"
    assert ticket["url"] == f"https://{host}/"


@pytest.mark.parametrize(
    ("data", "code"),
    [(b"%PDF-1.7", "unsupported_media_type"), (PHOTO + bytes(20_000_000), "too_large"), (b"", "bad_image")],
    ids=["pdf", "large", "empty"],
)
def test_what_is_no_photo_never_reaches_the_endpoint(world: JobWorld, handler: Any, data: bytes, code: str) -> None:
    """By its first bytes and its size, whatever was said when it was uploaded."""
    status, answer = classify(handler, upload(world, handler, data))
    assert (status, answer["code"]) == (schema.ERRORS[code][0], code)
    assert world.hooks.bodies == []
    assert world.names() == []


@pytest.mark.parametrize(("failure", "kept"), [((503, "busy"), True), ((500, "bug"), True), ((400, "{}"), False)])
def test_an_upload_outlives_the_endpoints_faults(
    world: JobWorld, handler: Any, failure: tuple[int, str], kept: bool
) -> None:
    """It can be tried again, unless the photo itself was refused."""
    key = upload(world, handler)
    world.hooks.failure = failure
    assert classify(handler, key)[0] >= 400
    assert bool(world.names()) == kept


@pytest.mark.parametrize("key", ["../results/a", "", "x" * 22 + "/", 5, None, "uploads/aaaaaaaaaaaaaaaaaaaaaa"])
def test_a_key_names_an_upload_and_nothing_else(world: JobWorld, handler: Any, key: Any) -> None:
    """No way to the bucket's other objects."""
    world.put("results/a", BIG, BUCKET)
    assert classify(handler, key)[1]["code"] == "bad_request"


@pytest.mark.parametrize("body", ['{"content_type": "image/svg+xml"}', '{"content_type": "text/html"}'])
def test_only_types_of_photos(handler: Any, body: str) -> None:
    """Nothing that a browser would run can be put into the bucket."""
    status, answer, _ = call(handler, "POST", "/v1/uploads", body, IN_JSON)
    assert (status, answer["code"]) == (415, "unsupported_media_type")


def test_limits_tell_of_uploads(handler: Any) -> None:
    """A client learns the limit before it sends."""
    assert call(handler, "GET", "/v1/model")[1]["limits"]["upload_bytes"] == 20_000_000


def test_a_bucket_that_fails_is_a_503(world: JobWorld, handler: Any) -> None:
    """Without the name of the bucket or AWS's words."""
    key = upload(world, handler)
    world.client("s3").delete_object(Bucket=BUCKET, Key=f"uploads/{key}")
    world.client("s3").delete_bucket(Bucket=BUCKET)
    status, answer = classify(handler, key)
    assert (status, answer["code"]) == (503, "endpoint_unavailable")
    assert BUCKET not in json.dumps(answer)
