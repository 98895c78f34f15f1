"""client/web/whippet.mjs in node against a stand-in for the API: what it asks, and what it makes of what comes back."""

from __future__ import annotations

import datetime
import email.utils
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lambda_api.errors import ApiError
from lambda_api.schema import ERRORS, Limits
from tests import node
from tests.fake_api import HALF, KEY, RESET, FakeApi, Fault, Request, fake_api, html, photo, refusal


@pytest.fixture
def api() -> Iterator[FakeApi]:
    """A running stand-in."""
    with fake_api() as found:
        yield found


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of photos of one colour each."""
    for colour in ("red", "green", "blue"):
        photo(tmp_path / f"{colour}.png", colour)
    return tmp_path


def check(api: FakeApi, photos: Path, file: str, name: str, **more: str) -> None:
    """A test of tests/web_client passes on that stand-in; the key was in no address."""
    node.passes(file, name, api.url, KEY, WHIPPET_PHOTOS=str(photos), **more)
    assert not [r for r in api.requests if KEY in r.route or KEY in str(r.query) or KEY.encode() in r.body]


def bodies(requests: list[Request]) -> list[bytes]:
    """What they carried."""
    return [request.body for request in requests]


def test_every_kind_of_photo_is_sent_as_it_is(api: FakeApi, photos: Path) -> None:
    """Buffer, ArrayBuffer, view, Blob and address: the same bytes, by a type that no gateway takes for text."""
    check(api, photos, "one.mjs", "every kind of photo gets its labels")
    assert bodies(api.posts) == [(photos / "green.png").read_bytes()] * 5
    assert {request.headers["content-type"] for request in api.posts} == {"application/octet-stream"}
    assert {request.query["top_k"][0] for request in api.posts} == {"2"}
    assert len(api.requests) == 6, "the model is asked for once"


@pytest.mark.parametrize(
    "name",
    [
        "model and health",
        "settings that cannot be are told at once",
        "the key is shown nowhere",
        "a signed-in user's token is asked for each try",
        "a function shrinks its own way",
    ],
)
def test_one_photo(api: FakeApi, photos: Path, name: str) -> None:
    """As the test in node says."""
    check(api, photos, "one.mjs", name)


def test_what_cannot_be_sent_is_not_sent(photos: Path) -> None:
    """Neither empty files nor other things than photos nor too many bytes."""
    with fake_api(limits=Limits(image_bytes=100, upload_bytes=0)) as api:
        check(api, photos, "one.mjs", "what cannot be sent is told without a request")
        assert not api.posts


def test_passing_faults_are_tried_again(api: FakeApi, photos: Path) -> None:
    """429, 502, 503, 504, resets, half answers, a proxy's page: the same photo again until it is answered."""
    codes = ("throttled", "endpoint_failed", "endpoint_unavailable", "endpoint_timeout")
    api.script = [*map(refusal, codes), RESET, HALF, html(502)]
    check(api, photos, "faults.mjs", "what may pass by itself is tried again")
    assert bodies(api.posts) == [(photos / "red.png").read_bytes()] * 8


def test_retry_after_is_obeyed(api: FakeApi, photos: Path) -> None:
    """In seconds, as a date, and no longer than half a minute."""
    soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=20)
    for text in ("7", email.utils.format_datetime(soon, usegmt=True), "3600"):
        api.script.append(refusal("throttled", **{"Retry-After": text}))
    check(api, photos, "faults.mjs", "Retry-After is obeyed")


def test_waits_grow(api: FakeApi, photos: Path) -> None:
    """Half a second, doubled up to eight, with jitter; seven tries in all."""
    api.always = refusal("endpoint_unavailable")
    check(api, photos, "faults.mjs", "waits double up to eight seconds")
    assert len(api.posts) == 7


def test_tries_are_used_up(api: FakeApi, photos: Path) -> None:
    """Five by default; then the API's own words and the request's id."""
    api.always = refusal("endpoint_unavailable")
    check(api, photos, "faults.mjs", "the last error says what happened")
    assert len(api.posts) == 5


def test_late_answers_are_not_waited_for_often(api: FakeApi, photos: Path) -> None:
    """Two tries of the time allowed."""
    api.always = Fault(wait=1.0)
    check(api, photos, "faults.mjs", "a late answer is waited for twice")
    assert len(api.posts) == 2


def test_lasting_errors_are_not_tried_again(api: FakeApi, photos: Path) -> None:
    """The API's refusal, a gateway's, a stranger's page; no redirect is followed: the key is for this server."""
    with fake_api() as stranger:
        gateway = Fault(413, b'{"message":"Request Too Long"}', {"Content-Type": "application/json"})
        moved = Fault(302, b"", {"Location": f"{stranger.url}/v1/classify"})
        api.script = [refusal("bad_image"), gateway, html(200), moved]
        check(api, photos, "faults.mjs", "what stays is not tried again")
        assert not stranger.requests
    assert len(api.posts) == 4


def test_statuses_without_a_code_have_the_contracts(api: FakeApi, photos: Path) -> None:
    """The first code of each status, as API Gateway's own answers mean it."""
    first = {status: code for code, (status, _) in reversed(list(ERRORS.items()))}
    api.script = [Fault(status, b'{"message": null}') for status in first]
    codes = json.dumps(list(first.items()))
    check(api, photos, "faults.mjs", "a gateway's statuses have the contract's codes", CODES=codes)


@pytest.mark.parametrize(
    "name", ["an answer that stalls half-way is late, too", "after a failure the model is asked for again"]
)
def test_faults(api: FakeApi, photos: Path, name: str) -> None:
    """As the test in node says."""
    check(api, photos, "faults.mjs", name)


def test_a_signal_ends_the_tries(api: FakeApi, photos: Path) -> None:
    """While the client waits nothing more is sent, and nothing at all for one that was aborted before."""
    api.script = [refusal("throttled", **{"Retry-After": "20"})]
    check(api, photos, "faults.mjs", "a signal stops the wait for another try")
    assert len(api.posts) == 1


def test_a_signal_ends_its_own_request(api: FakeApi, photos: Path) -> None:
    """Two photos wait for one answer about the model; the one that is stopped leaves it to the other."""
    api.on_get = Fault(wait=0.5)
    check(api, photos, "faults.mjs", "a signal stops a request under way, and only its own")
    assert len(api.posts) == 1


def test_a_repeated_job_has_the_same_token(api: FakeApi, photos: Path) -> None:
    """So that an answer that was lost makes no second job."""
    api.script = [RESET]
    check(api, photos, "faults.mjs", "a job that is asked for twice is one job")
    first, second = (json.loads(body) for body in bodies(api.posts))
    assert first == second and first["token"] and first["prefix"] == "s3://photos/"


def test_many_photos_go_in_packs(api: FakeApi, photos: Path) -> None:
    """An outcome each; far fewer requests than photos, and no more under way than allowed."""
    check(api, photos, "many.mjs", "every photo has one outcome, and few requests are under way")
    assert len(api.posts) < 20


def test_a_bad_photo_among_good_ones(api: FakeApi, photos: Path) -> None:
    """The API's error for it, the client's for what cannot be sent, labels for the others."""
    bad = (photos / "red.png").read_bytes() + b"damage"
    (photos / "broken.png").write_bytes(bad)
    api.bad_items[hashlib.sha256(bad).digest()] = ApiError("bad_image", "fact", "mend")
    check(api, photos, "many.mjs", "a photo that fails is an outcome among others")


def test_a_deadly_photo_among_good_ones(api: FakeApi, photos: Path) -> None:
    """Its pack is taken apart once the API is found well; the good ones of the pack get their labels."""
    api.deadly = b"a photo that resets connections"
    (photos / "deadly.png").write_bytes((photos / "red.png").read_bytes() + api.deadly)
    check(api, photos, "many.mjs", "a photo that breaks every request takes no other along")


def test_an_api_that_dies(api: FakeApi, photos: Path) -> None:
    """Every photo still has its outcome, and the packs that are left are not taken apart."""
    check(api, photos, "many.mjs", "an API that goes down fails what is left")
    assert len(api.posts) == 2


def test_packs_keep_to_the_limit_of_bytes(api: FakeApi, photos: Path) -> None:
    """Photos of 1.5 MB go two by two."""
    check(api, photos, "many.mjs", "packs stay below the limits")
    assert [len(body) > 2_900_000 for body in bodies(api.posts)] == [True] * 3
    assert max(map(len, bodies(api.posts))) < 4_000_000


def test_many_labels_go_alone(api: FakeApi, photos: Path) -> None:
    """Above the batch route's `top_k` photos go one by one."""
    check(api, photos, "many.mjs", "more labels than a batch gives go one by one")
    assert {request.route for request in api.posts} == {"/v1/classify"}


@pytest.mark.parametrize(
    "name",
    [
        "a wrong key is thrown",
        "a signal stops it, even while no photo comes",
        "an error of the source is thrown",
    ],
)
def test_many_photos_end(api: FakeApi, photos: Path, name: str) -> None:
    """As the test in node says; soon after the end no request comes any more."""
    check(api, photos, "many.mjs", name)
    assert len(api.posts) < 10


def test_a_loop_that_is_left_ends_everything(api: FakeApi, photos: Path) -> None:
    """The request that is still waited for, too, and the source."""
    api.script, api.always = [None], Fault(wait=20)
    check(api, photos, "many.mjs", "whoever takes no more stops it")


def test_react_native(api: FakeApi, photos: Path) -> None:
    """Files of a phone go by their address into forms, and as they are alone."""
    check(api, photos, "native.mjs", "photos by their address, alone and in packs")
    assert [request.route for request in api.posts] == ["/v1/classify", "/v1/classify/batch"]


def test_typescript_understands_it() -> None:
    """The file's own JSDoc holds together, and a consumer gets its types: right use compiles, wrong use is an error."""
    node.compiles(node.FOLDER / "typed.ts")
