"""Errors that anybody can provoke, and what browsers may read of them."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from PIL import Image

from lambda_api.schema import MAX_IMAGE_BYTES
from tests.contract.world import STRANGER, Api
from tests.photos import encode, jpeg, sample_image

PHOTO = jpeg()
HUGE = encode(Image.new("1", (9000, 9000)), "PNG")
TEXT = base64.b64encode(PHOTO).decode()
JPEG = {"Content-Type": "image/jpeg"}
JSON = {"Content-Type": "application/json"}
CLASSIFY, BATCH = "/v1/classify", "/v1/classify/batch"
PROTECTED = [
    ("POST", CLASSIFY),
    ("POST", BATCH),
    ("GET", "/v1/model"),
    ("POST", "/v1/uploads"),
    ("POST", "/v1/jobs"),
    ("GET", "/v1/jobs/x"),
    ("DELETE", "/v1/jobs/x"),
]


@pytest.mark.parametrize(("method", "path"), PROTECTED)
@pytest.mark.parametrize("key", ["", "made-up"])
def test_without_the_key_there_is_nothing(api: Api, method: str, path: str, key: str) -> None:
    """Neither with none nor with another."""
    api.error(method, path, "forbidden", key=key)


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/nothing"), ("PUT", "/v1/model"), ("GET", CLASSIFY)])
def test_what_does_not_exist(api: Api, method: str, path: str) -> None:
    """Neither route nor method: 404, or 403 where AWS does not tell them apart from a missing key."""
    assert api.send(method, path).status_code == api.no_route


WRONG: dict[str, tuple[str, str, dict[str, Any]]] = {
    "broken JSON": ("bad_request", CLASSIFY, {"data": b'{"image"', "headers": JSON}),
    "JSON without a photo": ("bad_request", CLASSIFY, {"json": {"photo": TEXT}}),
    "broken base64": ("bad_request", CLASSIFY, {"json": {"image": "%%%"}}),
    "a form without a photo": ("bad_request", CLASSIFY, {"files": {"note": (None, "no photo")}}),
    "an upload that is no key": ("bad_request", CLASSIFY, {"json": {"upload": "../results/x"}}),
    "a batch without photos": ("bad_request", BATCH, {"json": {"images": []}}),
    "nothing": ("bad_image", CLASSIFY, {"headers": JPEG}),
    "half a photo": ("bad_image", CLASSIFY, {"data": PHOTO[: len(PHOTO) // 2], "headers": JPEG}),
    "a line of pixels": ("bad_image", CLASSIFY, {"data": jpeg((300, 4)), "headers": JPEG}),
    "too many bytes": ("too_large", CLASSIFY, {"data": PHOTO + bytes(MAX_IMAGE_BYTES), "headers": JPEG}),
    "too many pixels": ("too_large", CLASSIFY, {"data": HUGE, "headers": {"Content-Type": "image/png"}}),
    "too many photos": ("too_large", BATCH, {"json": {"images": [{"id": "x", "b64": "aaaa"}] * 101}}),
    "a PDF": ("unsupported_media_type", CLASSIFY, {"data": b"%PDF-1.7 and more", "headers": JPEG}),
    "an SVG": ("unsupported_media_type", CLASSIFY, {"json": {"image": base64.b64encode(b"<svg/>" * 9).decode()}}),
    "no label": ("bad_parameter", f"{CLASSIFY}?top_k=0", {"data": PHOTO, "headers": JPEG}),
    "labels that are no number": ("bad_parameter", f"{CLASSIFY}?top_k=many", {"data": PHOTO, "headers": JPEG}),
    "too many labels": ("bad_parameter", f"{BATCH}?top_k=101", {"json": {"images": [{"id": "x", "b64": TEXT}]}}),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_request_is_told_what_is_wrong(api: Api, what: str) -> None:
    """By its code, with a hint, never with a 5xx."""
    code, path, options = WRONG[what]
    api.error("POST", path, code, **options)


def test_a_photo_above_the_direct_limit_is_told_where_to_go(api: Api) -> None:
    """The limit in numbers."""
    found = api.error("POST", CLASSIFY, "too_large", data=PHOTO + bytes(MAX_IMAGE_BYTES), headers=JPEG)
    assert f"{MAX_IMAGE_BYTES:,}" in found["detail"]


def test_a_photo_at_the_direct_limit_passes(api: Api) -> None:
    """To the byte: what lies behind a JPEG's end does not matter."""
    data = PHOTO + bytes(MAX_IMAGE_BYTES - len(PHOTO))
    api.document("POST", CLASSIFY, 200, data=data, headers=JPEG)


def test_names_and_types_do_not_decide(api: Api) -> None:
    """A PNG that is called a JPEG is read for what it is."""
    api.document("POST", CLASSIFY, 200, data=encode(sample_image(), "PNG"), headers=JPEG)


@pytest.fixture
def page(api: Api) -> str:
    """The origin of a page that may call."""
    if not api.origin:
        pytest.skip("no allowed origin is known; WHIPPET_ORIGIN names one")
    return api.origin


PREFLIGHT = {"Access-Control-Request-Headers": "content-type,x-api-key"}


@pytest.mark.parametrize(("method", "path"), PROTECTED)
def test_a_page_may_ask_before_it_calls(api: Api, page: str, method: str, path: str) -> None:
    """Preflights need no key and allow the methods and headers that are used."""
    headers = {"Origin": page, "Access-Control-Request-Method": method, **PREFLIGHT}
    answer = api.send("OPTIONS", path, headers, key="")
    assert answer.status_code in (200, 204)
    assert answer.headers["Access-Control-Allow-Origin"] == page
    assert method in answer.headers["Access-Control-Allow-Methods"].replace(" ", "").split(",")
    allowed = answer.headers["Access-Control-Allow-Headers"].replace(" ", "").lower().split(",")
    assert {"content-type", "x-api-key"} <= set(allowed)


@pytest.mark.parametrize(("method", "path"), PROTECTED)
def test_a_stranger_page_may_not(api: Api, page: str, method: str, path: str) -> None:
    """Its preflight names neither it nor everybody."""
    headers = {"Origin": STRANGER, "Access-Control-Request-Method": method, **PREFLIGHT}
    answer = api.send("OPTIONS", path, headers, key="")
    assert answer.headers.get("Access-Control-Allow-Origin") not in (STRANGER, "*")


def readable(headers: Any, page: str) -> bool:
    """Whether a browser shows an answer to that page."""
    return headers.get("Access-Control-Allow-Origin") in (page, "*")


def test_a_page_reads_labels_and_errors_and_a_stranger_neither(api: Api, page: str) -> None:
    """Those of the function, and those that the gateway makes itself."""
    for origin, expected in ((page, True), (STRANGER, False)):
        named = {"Origin": origin, **JPEG}
        answers = [
            api.send("POST", CLASSIFY, named, data=PHOTO),
            api.send("POST", CLASSIFY, named, data=b"%PDF-1.7"),
            api.send("POST", CLASSIFY, named, data=PHOTO, key="made-up"),
            api.send("GET", "/v1/nothing", named),
        ]
        assert [readable(each.headers, origin) for each in answers] == [expected] * 4


def test_a_page_sees_the_headers_that_it_needs(api: Api, page: str) -> None:
    """When to come again, and the request's id."""
    for key in (api.key, "made-up"):
        answer = api.send("GET", "/v1/model", {"Origin": page}, key=key)
        exposed = answer.headers["Access-Control-Expose-Headers"].replace(" ", "").lower().split(",")
        assert {"retry-after", "x-request-id"} <= set(exposed)
        assert answer.headers["Vary"] == "Origin"
