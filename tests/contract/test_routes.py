"""Every route of docs/api.md, as it answers to what it is for."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
import requests

from lambda_api.schema import MAX_IMAGE_BYTES
from tests.conftest import ROOT
from tests.contract.world import Api
from tests.photos import jpeg, sample

COFFEE = sample("coffee.png")
FORM = [("image", ("coffee.png", COFFEE, "image/png"))]
WAYS: dict[str, dict[str, Any]] = {
    "as it is": {"data": COFFEE, "headers": {"Content-Type": "image/png"}},
    "as bytes": {"data": COFFEE, "headers": {"Content-Type": "application/octet-stream"}},
    "as curl sends it": {"data": COFFEE, "headers": {"Content-Type": "application/x-www-form-urlencoded"}},
    "as a form": {"files": FORM},
    "as JSON": {"json": {"image": base64.b64encode(COFFEE).decode()}},
    "as a data address": {"json": {"image": "data:image/png;base64," + base64.b64encode(COFFEE).decode()}},
}


def first(answer: dict[str, Any]) -> tuple[str, float]:
    """The best label and its score."""
    best = answer["predictions"][0]
    return best["label"], best["score"]


@pytest.mark.parametrize("way", WAYS)
def test_a_photo_gets_labels_however_it_is_sent(api: Api, way: str) -> None:
    """Raw, as a form or in JSON: predictions by falling score, a decision, the model."""
    answer = api.document("POST", "/v1/classify", 200, **WAYS[way])
    scores = [each["score"] for each in answer["predictions"]]
    assert len(scores) == 5 and scores == sorted(scores, reverse=True) and 0 < scores[0] <= 1
    assert all(each["label"] and each["class_id"] for each in answer["predictions"])
    assert answer["decision"] in ("confident", "unsure", "unknown")
    assert answer["model"]["name"] and answer["model"]["version"]
    assert answer["timings_ms"]["endpoint"] > 0


def test_all_ways_lead_to_the_same_answer(api: Api) -> None:
    """Bytes arrive unharmed by whatever way they go."""
    answers = [api.document("POST", "/v1/classify", 200, **way) for way in WAYS.values()]
    labels, scores = zip(*map(first, answers), strict=True)
    assert len(set(labels)) == 1
    assert scores == pytest.approx(scores[:1] * len(scores), abs=1e-4)


@pytest.mark.parametrize("top_k", [1, 12])
def test_as_many_labels_as_asked_for(api: Api, top_k: int) -> None:
    """`top_k` on both routes."""
    headers = {"Content-Type": "image/png"}
    single = api.document("POST", f"/v1/classify?top_k={top_k}", 200, data=COFFEE, headers=headers)
    assert len(single["predictions"]) == top_k
    body = {"images": [{"id": "a", "b64": base64.b64encode(COFFEE).decode()}]}
    many = api.document("POST", f"/v1/classify/batch?top_k={top_k}", 200, json=body)
    assert len(many["results"][0]["predictions"]) == top_k


def test_a_batch_answers_in_order_and_one_bad_photo_spoils_no_other(api: Api) -> None:
    """Each photo has its labels or its own error."""
    photos = {"coffee": COFFEE, "broken": jpeg()[:700], "text": b"no photo at all", "small": jpeg((64, 48))}
    images = [{"id": name, "b64": base64.b64encode(data).decode()} for name, data in photos.items()]
    results = api.document("POST", "/v1/classify/batch", 200, json={"images": images})["results"]
    assert [each["id"] for each in results] == list(photos)
    codes = [each["error"] and each["error"]["code"] for each in results]
    assert codes == [None, "bad_image", "unsupported_media_type", None]
    assert all(each["error"]["detail"] and each["error"]["hint"] for each in results[1:3])
    assert all(each["predictions"] and each["decision"] for each in (results[0], results[3]))


def test_a_batch_as_a_form(api: Api) -> None:
    """Many files, each known by its name."""
    files = [("images", (name, data)) for name, data in (("a.png", COFFEE), ("b.jpg", jpeg()))]
    results = api.document("POST", "/v1/classify/batch", 200, files=files)["results"]
    assert [each["id"] for each in results] == ["a.png", "b.jpg"]
    assert all(each["predictions"] for each in results)


def test_a_batch_gives_each_photo_what_it_gets_alone(api: Api) -> None:
    """Within what numbers of another batch size differ by."""
    headers = {"Content-Type": "image/png"}
    alone = first(api.document("POST", "/v1/classify", 200, data=COFFEE, headers=headers))
    images = [{"id": str(n), "b64": base64.b64encode(COFFEE).decode()} for n in range(3)]
    results = api.document("POST", "/v1/classify/batch", 200, json={"images": images})["results"]
    labels, scores = zip(*map(first, results), strict=True)
    assert labels == alone[:1] * 3
    assert scores == pytest.approx(alone[1:] * 3, abs=1e-3)


def test_model_and_health_tell_of_the_same_model(api: Api) -> None:
    """Classes, input size and limits; health needs no key."""
    model = api.document("GET", "/v1/model", 200)
    assert model["classes"] and all(each["label"] and each["class_id"] for each in model["classes"])
    assert model["input"]["resize"] >= model["input"]["crop"] > 0
    assert model["limits"]["image_bytes"] == MAX_IMAGE_BYTES
    health = api.document("GET", "/v1/health", 200, key="")
    assert health == {"status": "ok", "model": {"name": model["name"], "version": model["version"]}}


def test_the_api_describes_itself(api: Api) -> None:
    """Without a key: the document that lies in the repository."""
    served = api.document("GET", "/v1/openapi.json", 200, key="")
    assert served == json.loads((ROOT / "docs" / "openapi.json").read_text(encoding="utf-8"))


def test_people_see_a_page(api: Api) -> None:
    """Without a key, as HTML."""
    answer: requests.Response = api.send("GET", "/", key="")
    assert answer.status_code == 200 and answer.headers["Content-Type"].startswith("text/html")
    assert "<title>Whippet" in answer.text
