"""The Lambda handler, untouched: events in, responses out, a real endpoint behind it over HTTP."""

from __future__ import annotations

import base64
import io
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lambda_api import schema
from local_stack.workers import Context
from tests.api_world import MODEL, PHOTO, PREDICTIONS, Scripted, call, event, function, multipart
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def hooks() -> Scripted:
    """What the endpoint does."""
    return Scripted()


@pytest.fixture(scope="module")
def handler(hooks: Scripted) -> Iterator[Any]:
    """The real handler with boto3 pointed at a local endpoint."""
    with function(hooks):
        from lambda_api.app import handler

        yield handler


@pytest.fixture(autouse=True)
def _forget(hooks: Scripted) -> None:
    hooks.forget()


JPEG = {"content-type": "image/jpeg"}
IN_JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ("\ufeff" + json.dumps({"image": base64.encodebytes(PHOTO).decode()}), IN_JSON),
        (PHOTO, JPEG),
        (PHOTO, {"Content-Type": "application/octet-stream"}),
        (PHOTO, {"content-type": "text/lies"}),
        (PHOTO, {}),
        multipart(("image", "dog.jpg", PHOTO)),
        multipart(("photo", "dog.jpg", PHOTO)),
        multipart(("image", None, PHOTO)),
        multipart(("other", "empty", b""), ("image", "dog.jpg", PHOTO)),
        multipart(("caption", None, b"Rex"), ("image", "dog.jpg", PHOTO)),
        (json.dumps({"image": base64.b64encode(PHOTO).decode()}), IN_JSON),
        (json.dumps({"image": "data:image/jpeg;base64," + base64.b64encode(PHOTO).decode()}), IN_JSON),
    ],
)
def test_every_form_of_body(handler: Any, hooks: Scripted, body: Any, headers: dict[str, str]) -> None:
    """Raw, multipart and JSON bodies: the endpoint gets exactly the photo's bytes."""
    status, answer, _ = call(handler, "POST", "/v1/classify", body, headers)
    assert status == 200
    assert hooks.bodies == [PHOTO]
    assert answer["predictions"] == PREDICTIONS[:5]
    assert (answer["decision"], answer["model"], answer["request_id"]) == ("unsure", MODEL, "id-1")
    assert answer["timings_ms"].keys() == {"forward", "endpoint"}


def test_photo_with_boundary_like_bytes(handler: Any, hooks: Scripted) -> None:
    """Binary content of a form survives: line ends, zeros and dashes included."""
    photo = PHOTO + b"\r\n--\r\n\n\r--boundary\x00\xff" * 50_000
    call(handler, "POST", "/v1/classify", *multipart(("image", "dog.jpg", photo)))
    assert hooks.bodies == [photo]


@pytest.mark.parametrize(("top_k", "count"), [("1", 1), ("9", 9), ("1000", 9)])
def test_top_k(handler: Any, top_k: str, count: int) -> None:
    """As many labels as asked, as far as there are."""
    assert len(call(handler, "POST", "/v1/classify", PHOTO, JPEG, top_k=top_k)[1]["predictions"]) == count


CUT_OFF = multipart(("image", "dog.jpg", PHOTO))
OVER = PHOTO + bytes(schema.MAX_IMAGE_BYTES)


@pytest.mark.parametrize(
    ("body", "headers", "query", "code"),
    [
        (PHOTO, JPEG, {"top_k": "0"}, "bad_parameter"),
        (PHOTO, JPEG, {"top_k": "1001"}, "bad_parameter"),
        (PHOTO, JPEG, {"top_k": "five"}, "bad_parameter"),
        (None, JPEG, {}, "bad_image"),
        (b"", JPEG, {}, "bad_image"),
        (OVER, JPEG, {}, "too_large"),
        (b"%PDF-1.7", JPEG, {}, "unsupported_media_type"),
        (b"<svg/>", {"content-type": "image/png"}, {}, "unsupported_media_type"),
        (b"\x00\x00\x00\x18ftypmp42....mp41isom", JPEG, {}, "unsupported_media_type"),
        (b"RIFF....WAVEfmt ", JPEG, {}, "unsupported_media_type"),
        ("\ufffd\ufffd\ufffd\ufffd JFIF", {"content-type": "text/plain"}, {}, "unsupported_media_type"),
        ("{", IN_JSON, {}, "bad_request"),
        ("{}", IN_JSON, {}, "bad_request"),
        ("[1]", IN_JSON, {}, "bad_request"),
        ("[" * 100_000, IN_JSON, {}, "bad_request"),
        ('{"image": 5}', IN_JSON, {}, "bad_request"),
        ('{"image": "not base64!"}', IN_JSON, {}, "bad_request"),
        ('{"image": ""}', IN_JSON, {}, "bad_image"),
        (b"no form", {"content-type": "multipart/form-data; boundary=x"}, {}, "bad_request"),
        (b"no form", {"content-type": "multipart/form-data"}, {}, "bad_request"),
        (*multipart(("caption", None, b"Rex")), {}, "bad_request"),
        (CUT_OFF[0][:-30], CUT_OFF[1], {}, "bad_request"),
        (b"", IN_JSON, {}, "bad_request"),
        (*multipart(("a", "a.jpg", PHOTO), ("b", "b.jpg", PHOTO)), {}, "bad_request"),
    ],
)
def test_bad_requests(
    handler: Any, hooks: Scripted, body: Any, headers: dict[str, str], query: dict[str, str], code: str
) -> None:
    """Each is refused before the endpoint is asked, as a problem document with code and hint."""
    status, answer, response_headers = call(handler, "POST", "/v1/classify", body, headers, **query)
    assert (status, answer["code"]) == (schema.ERRORS[code][0], code)
    assert response_headers["content-type"] == "application/problem+json"
    assert answer.keys() == {"type", "title", "status", "detail", "code", "hint", "request_id"}
    assert answer["detail"]
    assert answer["hint"]
    assert hooks.bodies == []


OWN_ERROR = json.dumps({"error": {"status": 413, "code": "too_large", "detail": "60 megapixels", "hint": "scale"}})


@pytest.mark.parametrize(
    ("failure", "code", "retry"),
    [
        ((413, OWN_ERROR), "too_large", False),
        ((400, OWN_ERROR + "\nTraceback (most recent call last):\n /opt/ml"), "too_large", False),
        ((400, "Traceback /opt/ml"), "bad_image", False),
        ((400, ""), "bad_image", False),
        ((400, '{"error": {"code": "nonsense"}}'), "bad_image", False),
        ((500, "Traceback /opt/ml"), "endpoint_failed", False),
        ((503, "busy /opt/ml"), "endpoint_unavailable", True),
        ((200, "<html>"), "endpoint_failed", False),
    ],
)
def test_endpoint_failures(handler: Any, hooks: Scripted, failure: tuple[int, str], code: str, retry: bool) -> None:
    """The container's own code and first line pass; anything else of it stays inside."""
    hooks.failure = failure
    status, answer, headers = call(handler, "POST", "/v1/classify", PHOTO, JPEG)
    assert (status, answer["code"]) == (schema.ERRORS[code][0], code)
    assert ("retry-after" in headers) == retry
    assert "/opt" not in json.dumps(answer)
    assert "Traceback" not in json.dumps(answer)


@pytest.mark.parametrize("form", ["json", "multipart"])
def test_batch(handler: Any, hooks: Scripted, form: str) -> None:
    """One endpoint call; results in the order of the request, bad photos as errors in their places."""
    photos = [("a", PHOTO), ("b", b"text"), ("c", PHOTO), ("c", PHOTO)]
    body: Any = json.dumps({"images": [{"id": i, "b64": base64.b64encode(p).decode()} for i, p in photos]})
    headers = IN_JSON
    if form == "multipart":
        body, headers = multipart(*(("images", name, data) for name, data in photos))
    status, answer, _ = call(handler, "POST", "/v1/classify/batch", body, headers, top_k="2")
    assert status == 200
    assert [r["id"] for r in answer["results"]] == ["a", "b", "c", "c"]
    assert [(r.get("error") or {}).get("code") for r in answer["results"]] == [
        None,
        "unsupported_media_type",
        None,
        "bad_image",
    ]
    assert answer["results"][0]["predictions"] == PREDICTIONS[:2]
    assert len(hooks.bodies) == 1
    sent = [base64.b64decode(item["b64"]) for item in json.loads(hooks.bodies[0])["instances"]]
    assert sent == [PHOTO] * 3


def test_batch_without_a_usable_photo(handler: Any) -> None:
    """Still an answer with an error for each, and the model's name."""
    body = json.dumps({"images": [{"b64": "eA=="}, {"id": "x"}, 5, {"b64": "%"}]})
    status, answer, _ = call(handler, "POST", "/v1/classify/batch", body, IN_JSON)
    assert status == 200
    assert [r["id"] for r in answer["results"]] == ["0", "x", "2", "3"]
    assert [r["error"]["status"] for r in answer["results"]] == [415, 400, 400, 400]
    assert answer["model"] == MODEL


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ('{"images": []}', "bad_request"),
        ('{"images": "x"}', "bad_request"),
        ("5", "bad_request"),
        (json.dumps({"images": [{}] * 101}), "too_large"),
    ],
)
def test_bad_batches(handler: Any, body: str, code: str) -> None:
    """A batch that cannot be read is refused as a whole."""
    status, answer, _ = call(handler, "POST", "/v1/classify/batch", body, IN_JSON)
    assert (status, answer["code"]) == (schema.ERRORS[code][0], code)


def test_model_and_health(handler: Any, hooks: Scripted) -> None:
    """Classes, input size and limits; health is the endpoint's, not the function's."""
    status, answer, _ = call(handler, "GET", "/v1/model")
    assert status == 200
    assert answer["input"] == {"resize": 256, "crop": 224}
    assert answer["limits"]["image_bytes"] == schema.MAX_IMAGE_BYTES
    assert call(handler, "GET", "/v1/health")[1] == {"status": "ok", "model": MODEL}
    hooks.failure = (503, "")
    assert call(handler, "GET", "/v1/health")[0] == 503


def test_unknown_route(handler: Any) -> None:
    """A problem document too."""
    status, answer, _ = call(handler, "GET", "/v2/classify")
    assert (status, answer["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [("https://app.example", True), ("https://other.example", True), ("https://evil.example", False)],
)
def test_cors_allow_list(handler: Any, origin: str, allowed: bool) -> None:
    """Listed origins may read answers and errors; others get no permission."""
    for body in (PHOTO, b"text"):
        _, _, headers = call(handler, "POST", "/v1/classify", body, {**JPEG, "origin": origin, "Origin": origin})
        assert (headers.get("access-control-allow-origin") == origin) == allowed
    response = handler(event("OPTIONS", "/v1/classify", None, {"Origin": origin}), Context("request"))
    assert response["statusCode"] in (200, 204)
    assert (origin in response["multiValueHeaders"].get("Access-Control-Allow-Origin", [])) == allowed


def test_every_answer_tells_its_request(handler: Any, hooks: Scripted) -> None:
    """The gateway's id is in the body, in a header that pages may read, and goes on to the endpoint."""
    asked = [("POST", "/v1/classify", PHOTO), ("POST", "/v1/classify", b"text"), ("GET", "/v1/openapi.json", None)]
    asked += [("GET", "/", None), ("GET", "/v1/health", None), ("GET", "/nowhere", None), ("GET", "/v1/model", None)]
    for method, path, body in asked:
        response = handler(event(method, path, body, {**JPEG, "Origin": "https://app.example"}), Context("request"))
        assert response["multiValueHeaders"]["X-Request-Id"] == ["id-1"], path
        assert response["multiValueHeaders"]["Vary"] == ["Origin"], path
        exposed = response["multiValueHeaders"]["Access-Control-Expose-Headers"]
        assert exposed == ["location,retry-after,x-request-id"]
    assert hooks.attributes == ["top_k=5,request_id=id-1", "request_id=id-1", "request_id=id-1"]


@pytest.mark.parametrize(
    ("identity", "authorizer", "caller"),
    [
        ({"apiKeyId": "k1", "apiKey": "secret"}, {}, "k1"),
        ({"userArn": "arn:aws:sts::1:assumed-role/App/session-7"}, {}, "arn:aws:sts::1:assumed-role/App"),
        ({"userArn": "arn:aws:iam::1:user/path/ann"}, {}, "arn:aws:iam::1:user/path/ann"),
        ({"userArn": "arn:aws:sts::1:assumed-role/Pool/x", "cognitoIdentityId": "id-9"}, {}, "id-9"),
        ({"apiKeyId": "k1"}, {"claims": {"sub": "ann"}}, "ann"),
        ({}, {}, ""),
    ],
)
def test_who_asks(identity: dict[str, str], authorizer: dict[str, Any], caller: str) -> None:
    """A role's next session is the same caller, another user of an identity pool is not; no key's value is kept."""
    from lambda_api.current import caller_of

    assert caller_of({"identity": identity, "authorizer": authorizer}) == caller


def test_without_bucket_and_table_there_are_no_uploads_and_jobs(handler: Any) -> None:
    """404 with what to do instead, and a limit of nothing."""
    for method, path, body in (
        ("POST", "/v1/uploads", None),
        ("POST", "/v1/classify", json.dumps({"upload": "a" * 22})),
        ("POST", "/v1/jobs", json.dumps({"prefix": "s3://a/b"})),
        ("GET", "/v1/jobs/x", None),
    ):
        status, answer, _ = call(handler, method, path, body, IN_JSON)
        assert (status, answer["code"]) == (404, "not_found"), path
    assert call(handler, "GET", "/v1/model")[1]["limits"]["upload_bytes"] == 0


@pytest.fixture
def log(handler: Any) -> Iterator[io.StringIO]:
    """What the function's logger writes: it took hold of standard output when it was imported."""
    from lambda_api.app import logger

    written = io.StringIO()
    copy = logging.StreamHandler(written)
    copy.setFormatter(logger.registered_formatter)
    logger.addHandler(copy)
    yield written
    logging.getLogger("whippet-api").removeHandler(copy)


def test_bug_in_the_function(handler: Any, monkeypatch: pytest.MonkeyPatch, log: io.StringIO) -> None:
    """500 without a word of the inside; the traceback is in the log, no byte of the photo is."""
    from lambda_api import app

    def fail(*_: Any) -> Any:
        raise KeyError("secret")

    monkeypatch.setattr(app, "parse_predictions", fail)
    status, answer, _ = call(handler, "POST", "/v1/classify", PHOTO, JPEG)
    assert (status, answer["code"], answer["request_id"]) == (500, "internal", "id-1")
    assert "secret" not in json.dumps(answer)
    assert "secret" in log.getvalue()
    assert base64.b64encode(PHOTO).decode()[100:200] not in log.getvalue()


def test_logs_and_metrics(handler: Any, log: io.StringIO, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON lines with the request's id; metrics in CloudWatch's embedded format; no photo, no key."""
    headers = {**JPEG, "x-api-key": "very-secret"}
    call(handler, "POST", "/v1/classify", PHOTO, headers)
    out = log.getvalue() + capsys.readouterr().out
    lines = [json.loads(line) for line in out.splitlines()]
    assert any(line.get("correlation_id") == "id-1" and line.get("status") == 200 for line in lines)
    (embedded,) = [line for line in lines if "_aws" in line and "Requests" in line]
    assert embedded["Photos"] == [1.0]
    assert "very-secret" not in out
    assert base64.b64encode(PHOTO).decode()[100:200] not in out


def test_page(handler: Any) -> None:
    """A browser at the root gets a page."""
    response = handler(event("GET", "/"), Context("request"))
    assert response["statusCode"] == 200
    assert response["multiValueHeaders"]["Content-Type"] == ["text/html; charset=utf-8"]


def test_openapi_is_current(handler: Any) -> None:
    """docs/openapi.json is what the code says: run `make openapi` when this fails."""
    served = call(handler, "GET", "/v1/openapi.json")[1]
    assert served == json.loads((ROOT / "docs" / "openapi.json").read_text(encoding="utf-8"))
    assert served["openapi"].startswith("3.1")
    text = json.dumps(served)
    for name in re.findall(r"#/components/schemas/(\w+)", text):
        assert name in served["components"]["schemas"], name


def test_openapi_command() -> None:
    """The command that writes the document, without an AWS setting in sight."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("AWS_") and k != "ENDPOINT_NAME"}
    command = [sys.executable, "-m", "lambda_api", "openapi"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=env)
    assert done.stdout == Path(ROOT / "docs" / "openapi.json").read_text(encoding="utf-8")
