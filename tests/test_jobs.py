"""Jobs: every photo one line, whatever dies, comes twice or fails on the way."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from lambda_api import schema
from local_stack.workers import Context
from tests.api_world import BUCKET, MODEL, PHOTO, SOURCE, JobWorld, call, event, job_world, worker_time
from tests.job_steps import IN_JSON, lines, start, state, uploaded

PREFIX = f"s3://{SOURCE}/2026/"


@pytest.fixture
def world() -> Iterator[JobWorld]:
    """Photos below a prefix: none yet."""
    with job_world(WEBHOOK_ORIGINS="http://127.0.0.1:9, https://hooks.example") as found:
        found.hooks.last_is_damaged = False
        yield found


@pytest.fixture
def handler(world: JobWorld) -> Any:
    """The function of that world."""
    from lambda_api.app import handler

    return handler


def test_uploads_become_lines(world: JobWorld, handler: Any) -> None:
    """In the order of the request, with the caller's ids, one that is no photo among them; the uploads are gone."""
    items = uploaded(world, handler, 12)
    world.put(f"uploads/{items[3]['upload']}", b"%PDF-1.7", BUCKET)
    job = start(handler, uploads=items, top_k=2)
    assert (job["state"], job["photos"], job["results"]) == ("queued", 0, None)
    world.work()
    done = state(handler, job)
    assert (done["state"], done["photos"], done["ok"], done["failed"]) == ("done", 12, 11, 1)
    assert done["finished"] >= done["created"]
    found = lines(handler, job)
    assert [line["path"] for line in found] == [item["id"] for item in items]
    assert [line["status"] for line in found] == ["ok"] * 3 + ["error"] + ["ok"] * 8
    assert found[3]["error"]["code"] == "unsupported_media_type"
    assert (found[0]["model"], found[0]["version"]) == (MODEL["name"], MODEL["version"])
    assert len(found[0]["predictions"]) == 2
    assert world.names("uploads/") == []


def test_lines_are_the_clients(world: JobWorld, handler: Any) -> None:
    """The same names in the same order as the client writes, for a photo that was classified and one that was not."""
    from client.results import Outcome

    items = uploaded(world, handler, 2)
    world.put(f"uploads/{items[1]['upload']}", b"", BUCKET)
    job = start(handler, uploads=items)
    world.work()
    good, bad = lines(handler, job)
    assert list(good) == list(bad) == list(Outcome("x").to_dict())
    assert good["sha256"]
    assert (bad["predictions"], bad["decision"], set(bad["error"])) == ([], None, {"code", "detail", "hint"})


@pytest.mark.parametrize("count", [1, 2])
def test_a_damaged_photo_is_named_by_its_content(world: JobWorld, handler: Any, count: int) -> None:
    """Whether it was asked for alone, where the refusal is the whole answer, or among others."""
    items = uploaded(world, handler, count)
    job = start(handler, uploads=items)
    world.hooks.last_is_damaged = True
    if count == 1:
        world.hooks.failure = (400, json.dumps({"error": {"code": "bad_image", "detail": "damaged", "hint": "resend"}}))
    world.work()
    digests = {f"dog {n}.jpg": hashlib.sha256(PHOTO + bytes([n])).hexdigest() for n in range(count)}
    found = lines(handler, job)
    assert [line["error"]["code"] for line in found if line["error"]] == ["bad_image"]
    assert {line["path"]: line["sha256"] for line in found} == digests


def test_what_is_no_photo_is_named_by_its_content(world: JobWorld, handler: Any) -> None:
    """So that whoever has the file finds it; what is not there has no content."""
    items = uploaded(world, handler, 2)
    world.put(f"uploads/{items[0]['upload']}", b"%PDF-1.7", BUCKET)
    world.client("s3").delete_object(Bucket=BUCKET, Key=f"uploads/{items[1]['upload']}")
    job = start(handler, uploads=items)
    world.work()
    found = [(line["error"]["code"], line["sha256"]) for line in lines(handler, job)]
    digest = hashlib.sha256(b"%PDF-1.7").hexdigest()
    assert found == [("unsupported_media_type", digest), ("upload_missing", None)]


def test_photos_of_a_job_share_calls(world: JobWorld, handler: Any) -> None:
    """Ten messages, one call, which carries the job's id."""
    job = start(handler, uploads=uploaded(world, handler, 10))
    world.work()
    assert len(world.hooks.bodies) == 1
    assert len(json.loads(world.hooks.bodies[0])["instances"]) == 10
    assert f"request_id={job['id']}" in world.hooks.attributes[0]


def test_large_photos_go_alone_and_as_they_are(world: JobWorld, handler: Any) -> None:
    """Base64 of two would be more than the endpoint takes."""
    items = uploaded(world, handler, 3)
    large = PHOTO + bytes(3_500_000)
    world.put(f"uploads/{items[1]['upload']}", large, BUCKET)
    job = start(handler, uploads=items)
    world.work()
    assert large in world.hooks.bodies
    assert [line["status"] for line in lines(handler, job)] == ["ok"] * 3


def test_a_prefix_of_many_pages(world: JobWorld, handler: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each object once, sorted by name, odd and very long names too; folders' markers are no photos."""
    from lambda_api import uploads
    from lambda_api.jobs import listing

    first = uploads.s3()
    small = lambda **given: first.list_objects_v2(**given, MaxKeys=7)  # noqa: E731
    monkeypatch.setattr(listing, "s3", lambda: type("Small", (), {"list_objects_v2": staticmethod(small)}))
    long = "2026/" + "d" * 900
    names = [f"2026/{n:02d}.jpg" for n in range(23)] + ["2026/é ü+%.jpg", f"{long}1", f"{long}2", "2026/x/y.jpg"]
    for name in names:
        world.put(name, PHOTO)
    world.put("2026/folder/", b"")
    world.put("2027/other.jpg", PHOTO)
    job = start(handler, prefix=PREFIX)
    world.work()
    done = state(handler, job)
    assert (done["state"], done["photos"], done["ok"]) == ("done", len(names), len(names))
    found = [line["path"] for line in lines(handler, job)]
    assert sorted(found) == sorted(f"s3://{SOURCE}/{name}" for name in names)
    assert found[:23] == [f"s3://{SOURCE}/{name}" for name in names[:23]]
    assert len(world.names(bucket=SOURCE)) == len(names) + 2, "nobody's photos are removed"


def test_messages_that_come_twice_count_once(world: JobWorld, handler: Any) -> None:
    """SQS may deliver any message again, at any time: no photo is asked for or counted twice."""
    from lambda_api.jobs.queue import Message, queue

    job = start(handler, uploads=uploaded(world, handler, 5))
    world.deliver()
    queue().send(Message(job["id"], "list"))
    world.work()
    calls = len(world.hooks.bodies)
    for n in range(5):
        queue().send(Message(job["id"], "photo", photo=f"photo#{n:06d}"))
    queue().send(Message(job["id"], "list"), Message(job["id"], "finish"))
    world.work()
    done = state(handler, job)
    assert (done["photos"], done["ok"], done["failed"], done["state"]) == (5, 5, 0, "done")
    assert len(world.hooks.bodies) == calls
    assert len(lines(handler, job)) == 5


@pytest.mark.parametrize(
    "step", ["after the list", "after the page", "after the answer", "after the record", "before the end"]
)
def test_a_worker_that_dies_loses_and_doubles_nothing(
    world: JobWorld, handler: Any, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it stops, its messages come again and the job ends the same."""
    from lambda_api.jobs import ending, queue, store

    places: dict[str, tuple[Any, str, int]] = {  # where, and at which call
        "after the list": (queue.Queue, "send", 1),
        "after the page": (ending, "see_to_the_end", 1),
        "after the answer": (store.Jobs, "record", 1),
        "after the record": (ending, "see_to_the_end", 2),
        "before the end": (store.Jobs, "finish", 1),
    }
    job = start(handler, uploads=uploaded(world, handler, 4))

    where, name, number = places[step]
    real, calls = getattr(where, name), iter(range(1, 100))

    def die(*given: Any) -> Any:
        if next(calls) == number:
            raise SystemExit("killed")
        return real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(where, name, die)
        with pytest.raises(SystemExit):
            world.work()
    world.show_again()
    world.work()
    done = state(handler, job)
    assert (done["state"], done["photos"], done["ok"], done["failed"]) == ("done", 4, 4, 0)
    assert [line["path"] for line in lines(handler, job)] == [f"dog {n}.jpg" for n in range(4)]


def test_a_photo_that_kills_workers_takes_no_other_along(
    world: JobWorld, handler: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the third try on photos go one by one, each first in its turn; only the deadly one ends as an error."""
    from lambda_api.jobs import classify
    from lambda_api.worker import handler as worker

    items = uploaded(world, handler, 10)
    deadly = PHOTO + b"deadly"
    world.put(f"uploads/{items[4]['upload']}", deadly, BUCKET)
    job = start(handler, uploads=items)
    world.deliver()
    ask = classify._call

    def call_model(record: Any, images: list[bytes]) -> Any:
        if deadly in images:
            raise SystemExit("killed")
        return ask(record, images)

    monkeypatch.setattr(classify, "_call", call_model)
    records = world.received()
    for tries in range(1, 11):
        for record in records:
            record["attributes"]["ApproximateReceiveCount"] = str(tries)
        with contextlib.suppress(SystemExit):
            answer = worker({"Records": records}, worker_time())
    assert answer["batchItemFailures"] == []
    world.work()
    found = {line["path"]: line["error"] and line["error"]["code"] for line in lines(handler, job)}
    assert found == {item["id"]: "internal" if item is items[4] else None for item in items}


def test_a_busy_endpoint_is_waited_for(world: JobWorld, handler: Any) -> None:
    """Photos come again until it answers; nothing is written of the tries between."""
    job = start(handler, uploads=uploaded(world, handler, 3))
    world.deliver()
    world.hooks.failure = (503, "busy")
    world.deliver()
    assert state(handler, job)["ok"] + state(handler, job)["failed"] == 0
    world.hooks.failure = None
    world.show_again()
    world.work()
    assert state(handler, job)["ok"] == 3


@pytest.mark.parametrize(
    ("tries", "failure", "code"), [(9, (503, "busy"), "endpoint_unavailable"), (10, None, "internal")]
)
def test_a_job_ends_though_photos_do_not_succeed(
    world: JobWorld, handler: Any, tries: int, failure: tuple[int, str] | None, code: str
) -> None:
    """The last try but one says what the endpoint said; one more means that the worker died each time."""
    job = start(handler, uploads=uploaded(world, handler, 2))
    world.deliver()
    world.hooks.failure = failure
    world.deliver(tries=tries)
    world.work()
    done = state(handler, job)
    assert (done["state"], done["ok"], done["failed"]) == ("done", 0, 2)
    assert {line["error"]["code"] for line in lines(handler, job)} == {code}


def test_a_token_makes_it_the_same_job(world: JobWorld, handler: Any) -> None:
    """Repeated, it is the same job, which is not begun twice; another request with it is refused."""
    items = uploaded(world, handler, 2)
    first = start(handler, uploads=items, token="monday")
    second = start(handler, uploads=items, token="monday")
    assert first["id"] == second["id"]
    world.work()
    status, again, _ = call(handler, "POST", "/v1/jobs", json.dumps({"uploads": items, "token": "monday"}), IN_JSON)
    assert (status, again["state"], again["photos"]) == (202, "done", 2)
    status, answer, _ = call(
        handler, "POST", "/v1/jobs", json.dumps({"uploads": items[:1], "token": "monday"}), IN_JSON
    )
    assert (status, answer["code"]) == (409, "conflict")
    assert start(handler, uploads=uploaded(world, handler, 1))["id"] != first["id"]


def test_a_job_is_its_callers_alone(world: JobWorld, handler: Any) -> None:
    """Another key does not see it, nor is a token of another key the same."""

    job = start(handler, uploads=uploaded(world, handler, 1), token="t")
    other = event("GET", f"/v1/jobs/{job['id']}")
    other["requestContext"]["identity"] = {"apiKeyId": "another"}
    assert handler(other, Context("request"))["statusCode"] == 404
    cancel = event("DELETE", f"/v1/jobs/{job['id']}")
    cancel["requestContext"]["identity"] = {"apiKeyId": "another"}
    assert handler(cancel, Context("request"))["statusCode"] == 404
    assert state(handler, job)["state"] == "queued"


def test_cancelled(world: JobWorld, handler: Any) -> None:
    """No photo is asked for afterwards; what was done is kept, of the others it is said that they were not."""
    job = start(handler, uploads=uploaded(world, handler, 14))
    world.deliver()
    world.deliver()
    calls = len(world.hooks.bodies)
    status, answer, _ = call(handler, "DELETE", f"/v1/jobs/{job['id']}")
    assert (status, answer["state"]) == (200, "cancelled")
    world.work()
    assert len(world.hooks.bodies) == calls
    found = lines(handler, job)
    assert len(found) == 14
    assert sum(line["status"] == "ok" for line in found) == state(handler, job)["ok"] > 0
    assert {line["error"]["code"] for line in found if line["error"]} == {"conflict"}
    assert call(handler, "DELETE", f"/v1/jobs/{job['id']}")[1]["state"] == "cancelled"


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ({}, "bad_request"),
        ({"uploads": [], "prefix": PREFIX}, "bad_request"),
        ({"uploads": []}, "bad_request"),
        ({"uploads": "x"}, "bad_request"),
        ({"uploads": [{"upload": "../x"}]}, "bad_request"),
        ({"uploads": [{"upload": "a" * 22}] * 2}, "bad_request"),
        ({"uploads": [{"upload": "a" * 22}] * 1001}, "too_large"),
        ({"prefix": "https://x"}, "bad_request"),
        ({"prefix": "s3://other/2026/"}, "bad_parameter"),
        ({"prefix": f"s3://{SOURCE}/"}, "bad_parameter"),
        ({"prefix": PREFIX, "top_k": 0}, "bad_parameter"),
        ({"prefix": PREFIX, "top_k": True}, "bad_parameter"),
        ({"prefix": PREFIX, "top_k": 21}, "bad_parameter"),
        ({"prefix": PREFIX + "x" * 2000}, "bad_request"),
        ({"prefix": PREFIX + "\ud800"}, "bad_request"),
        ({"prefix": PREFIX, "token": "\ud800"}, "bad_parameter"),
        ({"prefix": PREFIX, "webhook": "https://["}, "bad_parameter"),
        ({"prefix": PREFIX, "webhook": "https://hooks.example/" + "x" * 3000}, "bad_parameter"),
        ({"prefix": PREFIX, "token": ""}, "bad_parameter"),
        ({"prefix": PREFIX, "webhook": "https://evil.example/x"}, "bad_parameter"),
        ({"prefix": PREFIX, "webhook": "https://hooks.example@evil.example/x"}, "bad_parameter"),
        ({"prefix": PREFIX, "webhook": "https://hooks.example.evil.example/x"}, "bad_parameter"),
        ({"prefix": PREFIX, "webhook": "http://169.254.169.254/latest"}, "bad_parameter"),
    ],
)
def test_refused(world: JobWorld, handler: Any, document: dict[str, Any], code: str) -> None:
    """Before anything is promised, sent or written."""
    status, answer, _ = call(handler, "POST", "/v1/jobs", json.dumps(document), IN_JSON)
    assert (status, answer["code"]) == (schema.ERRORS[code][0], code)
    assert answer["hint"]
    assert world.received() == []


@pytest.mark.parametrize("job", ["nothing", "../x", "a" * 22, "a" * 3000])
def test_unknown_jobs(handler: Any, job: str) -> None:
    """As those that were forgotten."""
    assert call(handler, "GET", f"/v1/jobs/{job}")[0] == 404
    assert call(handler, "DELETE", f"/v1/jobs/{job}")[0] == 404


def test_an_empty_prefix_is_no_success(world: JobWorld, handler: Any) -> None:
    """A job that found nothing failed, and says what to look at."""
    job = start(handler, prefix=f"{PREFIX}nothing/")
    world.work()
    done = state(handler, job)
    assert (done["state"], done["results"], done["error"]["code"]) == ("failed", None, "bad_request")


def test_too_many_photos(world: JobWorld, handler: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job fails as a whole and says what is made for so many."""
    from lambda_api.jobs import listing

    monkeypatch.setattr(listing, "MAX_JOB_PHOTOS", 3)
    for n in range(4):
        world.put(f"2026/{n}.jpg", PHOTO)
    job = start(handler, prefix=PREFIX)
    world.work()
    error = state(handler, job)["error"]
    assert error["code"] == "too_large"
    assert "Batch Transform" in error["hint"]


def test_photos_wait_where_the_time_is_up(world: JobWorld, handler: Any) -> None:
    """The endpoint is not asked when Lambda would end the worker before the answer is written down."""
    from lambda_api.worker import handler as worker

    job = start(handler, uploads=uploaded(world, handler, 2))
    world.deliver()
    records = world.received()
    answer = worker({"Records": records}, worker_time(20))
    assert len(answer["batchItemFailures"]) == len(records) == 2
    assert world.hooks.bodies == []
    world.show_again()
    world.work()
    assert state(handler, job)["ok"] == 2


def test_a_message_that_is_none_of_ours_stops_no_other(world: JobWorld, handler: Any) -> None:
    """It comes again until it is with the dead letters, where somebody looks."""
    from lambda_api.worker import handler as worker

    job = start(handler, uploads=uploaded(world, handler, 1))
    records = world.received()
    for body in ("{", "[]", '{"job": "x", "task": "photo", "other": 1}'):
        records.append({**records[0], "messageId": body, "body": body})
    answer = worker({"Records": records}, worker_time())
    assert [item["itemIdentifier"] for item in answer["batchItemFailures"]] == [one["messageId"] for one in records[1:]]
    world.work()
    assert state(handler, job)["ok"] == 1
