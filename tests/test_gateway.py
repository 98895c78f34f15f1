"""API Gateway on one machine: its events, limits, keys and errors, with a handler that only echoes."""

from __future__ import annotations

import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from starlette.applications import Starlette

from lambda_api.schema import MAX_BODY_BYTES, MAX_EVENT_BYTES
from local_stack import gateway as gateways
from local_stack.gateway import Gateway, application
from local_stack.template import Api
from tests.servers import serving

API = Api(
    routes={
        ("POST", "/v1/x"): True,
        ("GET", "/open"): False,
        ("OPTIONS", "/v1/x"): False,
        ("POST", "/open"): False,
        ("GET", "/v1/things/{id}"): True,
        ("GET", "/v1/things/{id}/parts/{part}"): True,
        ("GET", "/v1/things/all"): False,
    },
    binary_types=frozenset({"image/jpeg", "application/octet-stream"}),
    handler="tests.echo_handler.handler",
    timeout=28,
    environment={},
)
ORIGIN = "https://app.example"
KEY = {"x-api-key": "right"}


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    """Two workers."""
    gateway = Gateway(API, "right", 2, (ORIGIN,))
    yield gateway
    gateway.close()


@pytest.fixture(scope="module")
def url(gateway: Gateway) -> Iterator[str]:
    """Its address."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await gateway.warm()
        yield

    with serving(Starlette(routes=application(gateway).routes, lifespan=lifespan)) as url:
        yield url


def post(url: str, body: Any, content_type: str | None = "image/jpeg", **headers: str) -> requests.Response:
    """POST with the right key."""
    sent = {**KEY, **({"Content-Type": content_type} if content_type else {}), **headers}
    return requests.post(f"{url}/v1/x?a=1&a=2&b=%C3%A9", data=body, headers=sent, timeout=40)


def test_binary_bodies_are_base64(url: str) -> None:
    """A listed type, with parameters and any case, and a body without a type, arrive byte for byte."""
    body = bytes(range(256))
    for content_type in ("image/jpeg", "IMAGE/JPEG; q=1", None):
        event = post(url, body, content_type).json()["event"]
        assert event["isBase64Encoded"] is True
        assert base64.b64decode(event["body"]) == body


def test_text_bodies_are_text(url: str) -> None:
    """Any other type is decoded as UTF-8, which harms what is none, as on AWS."""
    event = post(url, "é".encode() + b"\xff", "text/plain").json()["event"]
    assert (event["isBase64Encoded"], event["body"]) == (False, "é\ufffd")


def test_event_shape(url: str) -> None:
    """What a REST proxy event has, single and multiple values, and the answer's headers come back."""
    answer = post(url, b"x", **{"X-Some": "thing"})
    event = answer.json()["event"]
    assert answer.status_code == 201
    assert answer.headers["x-a"] == "1, 2"
    assert event["httpMethod"] == "POST"
    assert event["path"] == event["resource"] == "/v1/x"
    assert event["queryStringParameters"] == {"a": "2", "b": "é"}
    assert event["multiValueQueryStringParameters"] == {"a": ["1", "2"], "b": ["é"]}
    assert event["headers"]["x-some"] == "thing"
    assert event["requestContext"]["requestId"] == answer.headers["x-amzn-requestid"]
    assert event["requestContext"]["identity"]["sourceIp"] == "127.0.0.1"
    assert requests.get(f"{url}/open", timeout=9).json()["event"]["body"] is None


def test_binary_answers(url: str) -> None:
    """A base64 body of the function goes out as bytes."""
    assert post(url, "binary", "text/plain").content == b"\x00\xff"


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", "/v1/x", {}, 403),
        ("POST", "/v1/x", {"x-api-key": "wrong"}, 403),
        ("POST", "/v1/x", {"x-api-key": "rïght".encode("latin-1")}, 403),
        ("POST", "/v1/x", KEY, 201),
        ("GET", "/open", {}, 201),
        ("OPTIONS", "/v1/x", {"Origin": ORIGIN}, 201),
        ("GET", "/v1/x", KEY, 404),
        ("DELETE", "/v1/x", KEY, 404),
        ("GET", "/nowhere", KEY, 404),
        ("GET", "/v1/x/../../etc/passwd", KEY, 404),
        ("POST", "/v1/x%3Fa", KEY, 404),
        ("POST", "/v1/x/", KEY, 404),
        ("GET", "/v1/things/7", {}, 403),
        ("GET", "/v1/things/7", KEY, 201),
        ("GET", "/v1/things/", KEY, 404),
        ("GET", "/v1/things/7/8", KEY, 404),
        ("GET", "/v1/things/7%2F8", KEY, 404),
        ("DELETE", "/v1/things/7", KEY, 404),
    ],
)
def test_routes_and_keys(url: str, method: str, path: str, headers: dict[str, Any], status: int) -> None:
    """Only the template's routes, only with the key where one is needed; preflights without."""
    answer = requests.request(method, url + path, headers=headers, timeout=9)
    assert answer.status_code == status
    if status != 201:
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert problem["status"] == status
        assert problem["hint"]
        assert problem["request_id"] == answer.headers["x-amzn-requestid"]
    assert answer.headers["x-request-id"] == answer.headers["x-amzn-requestid"]


def test_parts_of_the_path(url: str) -> None:
    """They come decoded, by the names in the template; a path without any goes before one with."""
    event = requests.get(f"{url}/v1/things/a%3F%20%C3%A9/parts/2", headers=KEY, timeout=9).json()["event"]
    assert event["pathParameters"] == {"id": "a? é", "part": "2"}
    assert event["resource"] == event["requestContext"]["resourcePath"] == "/v1/things/{id}/parts/{part}"
    assert event["path"] == "/v1/things/a? é/parts/2"
    exact = requests.get(f"{url}/v1/things/all", timeout=9).json()["event"]
    assert (exact["resource"], exact["pathParameters"]) == ("/v1/things/all", None)


def test_the_function_knows_the_key_by_its_id(url: str) -> None:
    """Where one was needed, as on AWS; its value is nobody's business."""
    identity = post(url, b"x").json()["event"]["requestContext"]["identity"]
    assert identity["apiKeyId"] == "local"
    assert "apiKey" not in identity
    assert "apiKeyId" not in requests.get(f"{url}/open", timeout=9).json()["event"]["requestContext"]["identity"]


def test_own_errors_have_cors_headers(url: str) -> None:
    """Or a browser would say "CORS error" instead of the status; strangers get none."""
    for origin, allowed in ((ORIGIN, True), ("https://evil.example", False)):
        answer = requests.post(f"{url}/v1/x", headers={"Origin": origin}, timeout=9)
        assert answer.status_code == 403
        assert (answer.headers.get("access-control-allow-origin") == origin) == allowed
        exposed = answer.headers.get("access-control-expose-headers", "")
        assert (exposed == "retry-after, x-request-id") == allowed


@pytest.mark.parametrize("chunked", [False, True])
def test_body_limit(url: str, chunked: bool) -> None:
    """API Gateway's ten megabytes, declared or not."""
    body = b"x" * (MAX_BODY_BYTES + 1)
    with contextlib.suppress(requests.ConnectionError):
        # The server may close while the client still sends: then no answer can be read.
        assert post(url, iter([body[:9], body[9:]]) if chunked else body).status_code == 413
    assert post(url, b"x").status_code == 201


def test_event_limit(url: str) -> None:
    """Below ten megabytes of body, but above Lambda's event."""
    assert post(url, b"x" * (MAX_EVENT_BYTES * 3 // 4)).status_code == 413
    assert post(url, b"x" * (MAX_EVENT_BYTES * 3 // 4 - 3000)).status_code == 201


def test_one_event_at_a_time_per_process(url: str) -> None:
    """Four half-second events on two workers take a second, and only two processes do them."""
    started = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: post(url, "sleep 0.5", "text/plain").json(), range(4)))
    assert time.monotonic() - started >= 1
    assert len({a["pid"] for a in answers}) == 2
    assert len({a["request"] for a in answers}) == 4


@pytest.mark.parametrize("body", ["raise", "malformed"])
def test_failing_function(url: str, body: str) -> None:
    """500 as a problem document that says nothing of the inside."""
    answer = post(url, body, "text/plain")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "secret" not in answer.text


def test_dying_worker(url: str) -> None:
    """A killed worker costs its own request an error; the next ones find new workers."""
    assert post(url, "die", "text/plain").status_code == 500
    assert post(url, b"x").status_code == 201


def test_slow_function(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the integration timeout the gateway answers itself."""
    monkeypatch.setattr(gateways, "INTEGRATION_SECONDS", 0.2)
    answer = post(url, "sleep 1", "text/plain")
    assert (answer.status_code, answer.json()["code"]) == (504, "endpoint_timeout")


def test_too_many_requests(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When workers and queue are full the answer is 429 with Retry-After, at once."""
    monkeypatch.setattr(gateways, "WAITING", 0)
    with ThreadPoolExecutor(3) as pool:
        two = [pool.submit(post, url, "sleep 1", "text/plain") for _ in range(2)]
        time.sleep(0.4)
        refused = post(url, b"x")
        assert [f.result().status_code for f in two] == [201, 201]
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "1"
    assert json.loads(refused.text)["code"] == "throttled"
