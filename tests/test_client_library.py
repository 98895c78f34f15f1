"""The library against a real local server that misbehaves: retries, errors, and what is sent."""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

import client
from client import Client, PhotoError, UnreachableError, transport
from client.results import Outcome
from client.sources import Source
from client.transport import Transport
from lambda_api.schema import Limits
from tests.fake_api import HALF, KEY, RESET, FakeApi, Fault, fake_api, html, photo, quick_waits, refusal
from tests.servers import serving


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    """A running stand-in, and retries whose waits are short."""
    quick_waits(monkeypatch)
    with fake_api() as running:
        yield running


def _client(api: FakeApi, **options: Any) -> Client:
    return Client(api.url, KEY, **options)


def test_a_path_bytes_or_a_file(api: FakeApi, tmp_path: Path) -> None:
    """A photo may be a path, bytes or a binary file; the outcome is typed and carries the file's hash."""
    path = photo(tmp_path / "sky.png", "blue")
    data = path.read_bytes()
    with _client(api) as client, path.open("rb") as stream:
        by_path, by_text, by_bytes = client.classify(path), client.classify(str(path)), client.classify(data)
        by_file = client.classify(stream)
    assert [o.label for o in (by_path, by_text, by_bytes, by_file)] == ["blue"] * 4
    assert {o.sha256 for o in (by_path, by_bytes)} == {hashlib.sha256(data).hexdigest()}
    assert [o.path for o in (by_path, by_bytes, by_file)] == [str(path), "", str(path)]
    assert (by_path.status, by_path.decision, by_path.model, by_path.version) == ("ok", "confident", "fake", "v1")


def test_what_is_posted(api: FakeApi, tmp_path: Path) -> None:
    """The body is the shrunken photo, raw, with its media type, the key and top_k; the model is asked once."""
    with _client(api, top_k=2) as client:
        outcome = client.classify(photo(tmp_path / "a.png", size=(640, 480)))
        client.classify(photo(tmp_path / "b.png"))
    post = api.posts[0]
    assert (post.route, post.query) == ("/v1/classify", {"top_k": ["2"]})
    assert (post.headers["content-type"], post.headers["x-api-key"]) == ("image/jpeg", KEY)
    assert min(Image.open(io.BytesIO(post.body)).size) == 128
    assert len(outcome.predictions) == 2
    assert len(api.requests) - len(api.posts) == 1


def test_retry_after_is_obeyed(api: FakeApi, tmp_path: Path) -> None:
    """A 429 with Retry-After is waited out and then succeeds."""
    api.script = [refusal("throttled", **{"Retry-After": "1"})]
    with _client(api) as client:
        assert client.classify(photo(tmp_path / "a.png")).ok
    assert api.posts[1].at - api.posts[0].at >= 1


def test_a_huge_or_senseless_retry_after(api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry-After is capped, and passed over where it is no number and no date."""
    monkeypatch.setattr(transport, "MAX_RETRY_AFTER", 0.05)
    api.script = [refusal("throttled", **{"Retry-After": text}) for text in ("86400", "soon")]
    started = time.monotonic()
    with _client(api) as client:
        assert client.classify(photo(tmp_path / "a.png")).ok
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("fault", [RESET, html(502), refusal("endpoint_unavailable"), refusal("throttled")])
def test_passing_faults_are_ridden_out(api: FakeApi, tmp_path: Path, fault: Fault) -> None:
    """Resets, 502, 503 and 429 are tried again, four times at most."""
    api.script = [fault] * 4
    with _client(api) as client:
        assert client.classify(photo(tmp_path / "a.png")).ok
    assert len(api.posts) == 5


@pytest.mark.parametrize(
    ("fault", "code", "status", "tries"),
    [
        (refusal("bad_image"), "bad_image", 400, 1),
        (refusal("internal"), "internal", 500, 1),
        (refusal("throttled"), "throttled", 429, 5),
        (refusal("endpoint_timeout"), "endpoint_timeout", 504, 2),
        (html(404), "bad_answer", 404, 1),
        (html(200), "bad_answer", 200, 1),
        (Fault(200, b'{"predictions": 1}'), "bad_answer", 200, 1),
        (Fault(302, b"", {"Location": "http://elsewhere.invalid/"}), "bad_answer", 302, 1),
        (Fault(403, b'{"message":"Forbidden"}'), "forbidden", 403, 1),
        (Fault(418, b'{"message":"x"}'), "bad_answer", 418, 1),
    ],
)
def test_refusals_are_typed(api: FakeApi, tmp_path: Path, fault: Fault, code: str, status: int, tries: int) -> None:
    """An error answer becomes an ApiError with the API's words; a page in between is never repeated."""
    api.always = fault
    with _client(api) as session, pytest.raises(client.ApiError) as caught:
        session.classify(photo(tmp_path / "a.png"))
    error = caught.value
    assert (error.code, error.status, len(api.posts)) == (code, status, tries)
    assert error.hint
    assert "secret" not in str(error)
    if b"req-1" in fault.body:
        assert (error.detail, error.hint, error.request_id) == (f"fact of {code}.", f"mend of {code}.", "req-1")


def test_slow_answers(api: FakeApi, tmp_path: Path) -> None:
    """An answer that does not come in time is waited for twice, not five times, and is a `timeout`."""
    api.always = Fault(wait=0.6)
    with _client(api, timeout=0.2) as session, pytest.raises(client.UnreachableError) as caught:
        session.classify(photo(tmp_path / "a.png"))
    assert caught.value.code == "timeout"
    assert len(api.posts) == 2


def test_half_an_answer(api: FakeApi, tmp_path: Path) -> None:
    """An answer that breaks off is no answer."""
    api.always = HALF
    with _client(api) as session, pytest.raises(client.UnreachableError) as caught:
        session.classify(photo(tmp_path / "a.png"))
    assert caught.value.code == "unreachable"


def test_the_key_does_not_follow_a_redirect(api: FakeApi, tmp_path: Path) -> None:
    """A redirect to another server is an error, so that the key stays here."""
    with fake_api() as other:
        api.on_get = Fault(307, b"", {"Location": f"{other.url}/v1/model"})
        with _client(api) as session, pytest.raises(client.ApiError, match="307"):
            session.model()
        assert other.requests == []


def test_a_folder_is_a_stream_of_outcomes(api: FakeApi, tmp_path: Path) -> None:
    """Failures of photos are values; every photo has exactly one outcome."""
    for name, color in (("r.jpg", "red"), ("g.png", "lime"), ("b.bmp", "blue")):
        photo(tmp_path / name, color)
    (tmp_path / "torn.jpg").write_bytes((tmp_path / "r.jpg").read_bytes()[:100])
    with _client(api) as session:
        outcomes = {Path(o.path).name: o for o in session.classify_folder(tmp_path)}
    assert {name: o.label for name, o in outcomes.items()} == {
        "r.jpg": "red",
        "g.png": "green",
        "b.bmp": "blue",
        "torn.jpg": None,
    }
    torn = outcomes["torn.jpg"]
    assert torn.error is not None
    assert (torn.error.code, torn.sha256 is not None, torn.model) == ("bad_image", True, "fake")


def test_folders_are_read_as_they_are_needed(api: FakeApi, tmp_path: Path) -> None:
    """A listing of any length is taken from no further than keeps the run busy."""
    path, taken = str(photo(tmp_path / "a.png")), []

    def endless() -> Iterator[Source]:
        for number in range(10_000):
            taken.append(number)
            yield Source(path)

    with _client(api, concurrency=2) as session:
        outcomes = session.classify_many(endless())
        assert all(next(outcomes).ok for _ in range(5))
        outcomes.close()
    assert len(taken) < 1000


def test_bugs_are_outcomes_too(api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even an error nobody expected costs one photo its labels, not the run its lines."""
    from client import photo as preparing

    def boom(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(preparing, "prepare", boom)
    photo(tmp_path / "a.png")
    with _client(api) as session:
        (outcome,) = session.classify_folder(tmp_path)
    assert outcome.error is not None
    assert outcome.error.code == "client_error"


def test_photos_at_an_address(api: FakeApi, tmp_path: Path) -> None:
    """A URL of the user's is fetched without the key, and a failed download is `unreadable`."""
    data = photo(tmp_path / "a.png", "blue").read_bytes()
    with fake_api(key=None) as web, _client(api) as session:
        web.on_get = Fault(200, data, {"Content-Type": "image/png"})
        assert session.classify(f"{web.url}/a.png").label == "blue"
        assert "x-api-key" not in web.requests[0].headers
        web.on_get = html(404)
        with pytest.raises(client.PhotoError, match="404") as caught:
            session.classify(f"{web.url}/a.png")
        assert caught.value.code == "unreadable"


def test_health_and_model(api: FakeApi) -> None:
    """The other two calls are typed; limits a newer API adds are passed over."""
    with _client(api) as session:
        assert session.health().model.name == "fake"
        assert session.model().limits == Limits()
        newer = {"name": "n", "version": "v", "classes": [], "input": {"resize": 9, "crop": 8}, "limits": {"x": 1}}
        api.on_get = Fault(200, json.dumps(newer).encode())
        assert session.model().input.crop == 8


def test_settings_are_checked(api: FakeApi, tmp_path: Path) -> None:
    """Settings no API could serve are refused before photos are sent."""
    with pytest.raises(client.UsageError):
        Client(api.url, KEY, concurrency=0)
    with _client(api) as session, pytest.raises(client.UsageError, match="missing"):
        session.classify_folder(tmp_path / "missing")
    with _client(api, top_k=5000) as session, pytest.raises(client.UsageError, match="1000"):
        session.classify_folder(tmp_path)


def test_public_names() -> None:
    """Everything the package names is there, and nothing else pretends to be."""
    assert all(getattr(client, name) for name in client.__all__)
    assert client.Outcome is Outcome
    with pytest.raises(AttributeError):
        client.nothing  # noqa: B018 - the lookup is the test


def test_the_store_of_uploads_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its 503 and 500 pass, a refusal does not; and where it cannot be reached, it is the store that is named."""
    quick_waits(monkeypatch)
    statuses = [503, 500, 204, 403]

    async def store(request: HttpRequest) -> Response:
        async with request.form() as form:
            assert form["key"] == "uploads/x"
        return Response(status_code=statuses.pop(0))

    transport = Transport("http://127.0.0.1:9", None, 5.0)
    with serving(Starlette(routes=[Route("/", store, methods=["POST"])])) as url:
        transport.send_form(f"{url}/", {"key": "uploads/x"}, b"photo", "image/jpeg")
        assert statuses == [403]
        with pytest.raises(PhotoError, match="status 403"):
            transport.send_form(f"{url}/", {"key": "uploads/x"}, b"photo", "image/jpeg")
    with pytest.raises(UnreachableError, match=url.removeprefix("http://")):
        transport.send_form(f"{url}/", {"key": "uploads/x"}, b"photo", "image/jpeg")
