"""Many photos, classified later: begun, looked at, cancelled, their results as the client writes them."""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

import pytest
import requests

from client.results import Outcome
from lambda_api.schema import MAX_JOB_UPLOADS
from tests.contract.world import Api, Photos
from tests.photos import jpeg, sample

PHOTOS = {"dog 1.jpg": jpeg((300, 200)), "broken.jpg": jpeg()[:900], "kaffee ☕.png": sample("coffee.png")}
LINE = set(Outcome("").to_dict())


def began(api: Api, **body: Any) -> dict[str, Any]:
    """The answer to a new job."""
    return api.document("POST", "/v1/jobs", 202, json=body)


def uploaded(api: Api) -> list[dict[str, str]]:
    """All photos above, as a job takes them."""
    return [{"id": name, "upload": api.upload(data)} for name, data in PHOTOS.items()]


@pytest.fixture
def photos(api: Api) -> Photos:
    """Where photos of prefixes lie."""
    if api.photos is None:
        pytest.skip("no bucket at hand whose photos jobs may read")
    return api.photos


def test_uploads_get_a_line_each(api: Api) -> None:
    """In the order of the request, by their ids, with labels or the reason."""
    uploads = uploaded(api)
    begun = began(api, uploads=uploads, top_k=2)
    assert begun["state"] == "queued" and begun["results"] is None
    job = api.ended(begun["id"])
    assert (job["state"], job["listed"], job["photos"], job["ok"], job["failed"]) == ("done", True, 3, 2, 1)
    assert job["created"] <= job["finished"]
    lines = api.lines(job)
    assert [line["path"] for line in lines] == list(PHOTOS)
    assert [line["status"] for line in lines] == ["ok", "error", "ok"]
    assert lines[1]["error"]["code"] == "bad_image"
    for line, data in zip(lines, PHOTOS.values(), strict=True):
        assert line.keys() == LINE
        assert line["sha256"] == hashlib.sha256(data).hexdigest()
        assert len(line["predictions"]) == (0 if line["error"] else 2)
    for upload in uploads:
        api.error("POST", "/v1/classify", "upload_missing", json={"upload": upload["upload"]})


def test_a_new_job_says_where_to_look_and_when(api: Api) -> None:
    """By the headers that clients know."""
    body = {"uploads": [{"upload": api.upload(PHOTOS["dog 1.jpg"])}]}
    answer = api.send("POST", "/v1/jobs", json=body)
    identifier = answer.json()["id"]
    assert answer.headers["Location"] == f"jobs/{identifier}"
    assert int(answer.headers["Retry-After"]) > 0
    api.ended(identifier)
    assert "Retry-After" not in api.send("GET", f"/v1/jobs/{identifier}").headers


def test_a_prefix_means_all_photos_below_it(api: Api, photos: Photos) -> None:
    """Sorted by name, which is their address."""
    folder = f"{secrets.token_hex(4)}/"
    names = ["b/2.jpg", "a.jpg", "ö.jpg", "notes.txt"]
    for name in names:
        photos.put(folder + name, b"just text" if name.endswith("txt") else PHOTOS["dog 1.jpg"])
    photos.put(folder, b"")  # as consoles make folders
    job = api.ended(began(api, prefix=photos.prefix + folder)["id"])
    assert (job["state"], job["photos"], job["ok"], job["failed"]) == ("done", 4, 3, 1)
    lines = api.lines(job)
    assert [line["path"] for line in lines] == [photos.prefix + folder + name for name in sorted(names)]
    codes = {line["path"]: line["error"]["code"] for line in lines if line["error"]}
    assert codes == {f"{photos.prefix}{folder}notes.txt": "unsupported_media_type"}


def test_photos_of_a_prefix_stay(api: Api, photos: Photos) -> None:
    """They are the owner's: a second job finds them again."""
    folder = f"{secrets.token_hex(4)}/"
    photos.put(f"{folder}a.jpg", PHOTOS["dog 1.jpg"])
    for _ in range(2):
        assert api.ended(began(api, prefix=photos.prefix + folder)["id"])["ok"] == 1


def test_nothing_below_a_prefix_fails_the_job(api: Api, photos: Photos) -> None:
    """With the reason."""
    job = api.ended(began(api, prefix=f"{photos.prefix}nothing/")["id"], results=False)
    assert job["state"] == "failed" and job["error"]["code"] == "bad_request"


def test_the_same_token_gives_the_same_job(api: Api) -> None:
    """Whatever happened to the first answer; the photos are done once."""
    body = {"uploads": uploaded(api), "token": secrets.token_hex(8)}
    jobs = [began(api, **body)["id"] for _ in range(3)]
    assert len(set(jobs)) == 1
    assert api.ended(jobs[0])["photos"] == 3
    assert began(api, **body)["id"] == jobs[0]
    assert [line["status"] for line in api.lines(api.ended(jobs[0]))] == ["ok", "error", "ok"]


def test_a_token_is_for_one_request(api: Api) -> None:
    """Another request under it is refused."""
    uploads, token = uploaded(api)[:1], secrets.token_hex(8)
    job = began(api, uploads=uploads, token=token)
    api.error("POST", "/v1/jobs", "conflict", json={"uploads": uploads, "top_k": 1, "token": token})
    api.ended(job["id"])


def test_a_cancelled_job_does_no_more(api: Api) -> None:
    """It is known for cancelled at once and stays so; its results say so of photos whose turn had not come."""
    uploads = [{"upload": secrets.token_urlsafe(16)} for _ in range(300)]
    identifier = began(api, uploads=uploads)["id"]
    assert api.document("DELETE", f"/v1/jobs/{identifier}", 200)["state"] == "cancelled"
    job = api.ended(identifier)
    assert job["state"] == "cancelled"
    assert {line["error"]["code"] for line in api.lines(job)} <= {"conflict", "upload_missing"}
    assert api.document("DELETE", f"/v1/jobs/{identifier}", 200)["state"] == "cancelled"


def test_a_done_job_cannot_be_cancelled(api: Api) -> None:
    """It stays done, with its results."""
    job = api.ended(began(api, uploads=uploaded(api)[:1])["id"])
    after = api.document("DELETE", f"/v1/jobs/{job['id']}", 200)
    assert after["state"] == "done" and after["results"]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_job_that_is_unknown(api: Api, method: str) -> None:
    """Whatever the id looks like."""
    for identifier in (secrets.token_urlsafe(16), "x", "a%20b"):
        api.error(method, f"/v1/jobs/{identifier}", "not_found")


def test_the_address_of_results_is_signed(api: Api) -> None:
    """Another job's results cannot be had by it, nor without it."""
    job = api.ended(began(api, uploads=uploaded(api)[:1])["id"])
    url = job["results"]["url"]
    answers = [url.replace(job["id"], "another"), url.partition("?")[0]]
    assert [requests.get(each, verify=api.verify, timeout=30).status_code for each in answers] == [403, 403]
    assert job["results"]["expires_in"] == 900


KEY = {"upload": "A" * 22}
WRONG: dict[str, tuple[str, Any]] = {
    "nothing": ("bad_request", {}),
    "both": ("bad_request", {"uploads": [KEY], "prefix": "s3://a/b/"}),
    "no list": ("bad_request", {"uploads": KEY}),
    "an empty list": ("bad_request", {"uploads": []}),
    "no key": ("bad_request", {"uploads": [{"upload": "../x"}]}),
    "an upload twice": ("bad_request", {"uploads": [KEY, KEY]}),
    "no address": ("bad_request", {"prefix": "/home"}),
    "too many": ("too_large", {"uploads": [{"upload": f"{n:022d}"} for n in range(MAX_JOB_UPLOADS + 1)]}),
    "a stranger's bucket": ("bad_parameter", {"prefix": "s3://strangers/"}),
    "no label": ("bad_parameter", {"uploads": [KEY], "top_k": 0}),
    "too many labels": ("bad_parameter", {"uploads": [KEY], "top_k": 101}),
    "a stranger's webhook": ("bad_parameter", {"uploads": [KEY], "webhook": "https://stranger.example/x"}),
    "an empty token": ("bad_parameter", {"uploads": [KEY], "token": ""}),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_job_that_cannot_be(api: Api, what: str) -> None:
    """Refused before anything is promised."""
    code, body = WRONG[what]
    api.error("POST", "/v1/jobs", code, json=body)
