"""Photos above the direct limit: a form to S3, then their key."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from PIL import Image

from lambda_api.schema import MAX_IMAGE_BYTES
from tests.contract.world import Api
from tests.photos import encode, jpeg

PHOTO = jpeg()


@pytest.fixture(scope="module")
def large() -> bytes:
    """A photo that is too large to be sent directly."""
    noise = np.random.default_rng(0).integers(0, 256, (2400, 3000, 3), np.uint8)
    data = encode(Image.fromarray(noise), quality=92)
    assert 5_000_000 < len(data) < 20_000_000
    return data


def classified(api: Api, key: str) -> None:
    """The upload gets labels."""
    answer = api.document("POST", "/v1/classify?top_k=3", 200, json={"upload": key})
    assert len(answer["predictions"]) == 3


def test_a_ticket_says_all_that_its_form_needs(api: Api) -> None:
    """Key, address, fields, the limit and how long it holds; another key each time."""
    first, second = api.ticket(), api.ticket("image/png")
    assert first["upload"] != second["upload"]
    assert first["fields"]["key"] == f"uploads/{first['upload']}"
    assert second["fields"]["Content-Type"] == "image/png"
    assert first["expires_in"] == 300
    assert first["max_bytes"] == api.document("GET", "/v1/model", 200)["limits"]["upload_bytes"]


def test_without_a_body_it_is_for_a_jpeg(api: Api) -> None:
    """Nothing need be said."""
    assert api.document("POST", "/v1/uploads", 201)["fields"]["Content-Type"] == "image/jpeg"


def test_a_large_photo_is_classified_and_gone(api: Api, large: bytes) -> None:
    """Too large directly; by upload it gets labels once, and its key leads nowhere then."""
    headers = {"Content-Type": "image/jpeg"}
    assert len(large) > MAX_IMAGE_BYTES
    api.error("POST", "/v1/classify", "too_large", data=large, headers=headers)
    key = api.upload(large)
    classified(api, key)
    api.error("POST", "/v1/classify", "upload_missing", json={"upload": key})


def test_an_upload_that_never_came(api: Api) -> None:
    """Its key alone is no photo."""
    api.error("POST", "/v1/classify", "upload_missing", json={"upload": api.ticket()["upload"]})


def test_an_upload_that_is_no_photo(api: Api) -> None:
    """S3 believes what the form says; the first bytes decide here, and it is gone."""
    key = api.upload(b"%PDF-1.7 and so on")
    api.error("POST", "/v1/classify", "unsupported_media_type", json={"upload": key})
    api.error("POST", "/v1/classify", "upload_missing", json={"upload": key})


def test_a_damaged_upload_is_gone_too(api: Api) -> None:
    """It is the photo's fault, so that nobody tries again."""
    key = api.upload(PHOTO[:900])
    api.error("POST", "/v1/classify", "bad_image", json={"upload": key})
    api.error("POST", "/v1/classify", "upload_missing", json={"upload": key})


def test_a_type_that_is_not_read(api: Api) -> None:
    """Refused before anything is uploaded."""
    api.error("POST", "/v1/uploads", "unsupported_media_type", json={"content_type": "application/pdf"})


@pytest.mark.parametrize("body", [b"[]", b"{", b"\xff\xfe"])
def test_a_request_that_is_no_object(api: Api, body: bytes) -> None:
    """Wrong JSON is told, as elsewhere."""
    api.error("POST", "/v1/uploads", "bad_request", data=body, headers={"Content-Type": "application/json"})


def test_s3_refuses_another_type(api: Api) -> None:
    """What was promised is what may come."""
    ticket = api.ticket()
    assert api.post(ticket, PHOTO, Content_Type="text/html").status_code == 403
    api.error("POST", "/v1/classify", "upload_missing", json={"upload": ticket["upload"]})


@pytest.mark.parametrize("key", ["uploads/somebody-elses", "results/x.jsonl"])
def test_s3_refuses_another_key(api: Api, key: str) -> None:
    """A ticket is for one place."""
    assert api.post(api.ticket(), PHOTO, key=key).status_code == 403


@pytest.mark.parametrize("size", [0, 20_000_001, 21_000_000])
def test_s3_refuses_other_sizes(api: Api, size: int) -> None:
    """Neither nothing nor more than the limit."""
    ticket = api.ticket()
    answer = api.post(ticket, (PHOTO + bytes(size))[:size])
    assert answer.status_code == 400 and ("EntityTooLarge" if size else "EntityTooSmall") in answer.text
    api.error("POST", "/v1/classify", "upload_missing", json={"upload": ticket["upload"]})


def test_s3_refuses_a_longer_time(api: Api) -> None:
    """The policy is signed: what is changed in it does not fit."""
    ticket = api.ticket()
    policy = json.loads(base64.b64decode(ticket["fields"]["policy"]))
    policy["expiration"] = "2099-01-01T00:00:00Z"
    changed = base64.b64encode(json.dumps(policy).encode()).decode()
    assert api.post(ticket, PHOTO, policy=changed).status_code == 403


def test_s3_refuses_a_made_up_signature(api: Api) -> None:
    """Whoever has no permission cannot write one."""
    assert api.post(api.ticket(), PHOTO, x_amz_signature="0" * 64).status_code == 403
