"""The four hooks: every request form, and every mistake as a status and not as a traceback."""

from __future__ import annotations

import base64
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from model_serving import inference
from model_serving.classifier import BadImage, Classifier, RequestError
from model_serving.server import Context
from tests.photos import jpeg, sample

PHOTO = jpeg()


@pytest.fixture(scope="module")
def model(unpacked: Path) -> Classifier:
    """The default model, loaded by the hook."""
    return inference.model_fn(str(unpacked))


def call(
    model: Classifier, body: bytes | bytearray | str, content_type: str | None, attributes: str | None = None
) -> tuple[int, dict[str, Any]]:
    """The hooks as the toolkit calls them."""
    context = Context({inference.CUSTOM_ATTRIBUTES: attributes} if attributes else {})
    request = inference.input_fn(body, content_type, context)
    text, media_type = inference.output_fn(inference.predict_fn(request, model, context), "*/*", context)
    assert media_type == "application/json"
    assert "\n" not in text
    return context.status, json.loads(text)


@pytest.mark.parametrize("content_type", ["image/jpeg", "application/octet-stream", "application/x-npy", None, ""])
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_one_photo(model: Classifier, content_type: str | None, kind: Any) -> None:
    """Whatever the header says, the bytes decide; the toolkit hands over bytearrays."""
    status, answer = call(model, kind(sample("coffee.png")), content_type)
    assert status == 200
    assert answer["predictions"][0] == {
        "label": "espresso",
        "class_id": "n07920052",
        "score": pytest.approx(0.95, abs=0.02),
    }
    assert answer["decision"] == "confident"
    assert answer["model"] == {"name": model.spec.name, "version": model.spec.version}
    assert len(answer["predictions"]) == 5


@pytest.mark.parametrize(("attributes", "count"), [("top_k=2", 2), (" top_k = 7 , request_id=x", 7), ("other", 5)])
def test_top_k_by_custom_attributes(model: Classifier, attributes: str, count: int) -> None:
    """A raw body has no room for parameters; SageMaker's custom attributes carry them."""
    assert len(call(model, PHOTO, "image/jpeg", attributes)[1]["predictions"]) == count


def test_a_request_can_be_found_by_its_id(model: Classifier, caplog: pytest.LogCaptureFixture) -> None:
    """The id that came along is in the log with what became of the photo; a forged one writes no line of its own."""
    caplog.set_level("INFO", "whippet.hooks")
    call(model, PHOTO, "image/jpeg", "top_k=2,request_id=0b0c-1")
    call(model, b"text", "image/jpeg", "request_id=0b0c-2")
    call(model, PHOTO, "image/jpeg", "request_id=a\nforged status=200")
    call(model, PHOTO, "image/jpeg")
    assert caplog.messages == [
        "request_id=0b0c-1 status=200 code=ok",
        "request_id=0b0c-2 status=415 code=unsupported_media_type",
    ]


@pytest.mark.parametrize("top_k", ["0", "-1", "1001", "five", "", "9" * 5000])
def test_bad_top_k(model: Classifier, top_k: str) -> None:
    """422 and a reason."""
    status, answer = call(model, PHOTO, "image/jpeg", f"top_k={top_k}")
    assert (status, answer["error"]["code"]) == (422, "bad_parameter")


def test_many_photos(model: Classifier) -> None:
    """Results in order, each predictions or an error with its own status."""
    good = base64.b64encode(PHOTO).decode()
    text = base64.b64encode(b"text").decode()
    instances = [{"b64": good}, {"b64": text}, good, {"b64": "%%%"}, {"other": 1}, 7]
    status, answer = call(model, json.dumps({"instances": instances, "top_k": 2}), "application/json")
    assert status == 200
    codes = [r.get("error", {}).get("code", "ok") for r in answer["results"]]
    assert codes == ["ok", "unsupported_media_type", "ok", "bad_request", "bad_request", "bad_request"]
    assert answer["results"][0] == answer["results"][2]
    assert len(answer["results"][0]["predictions"]) == 2


def test_description(model: Classifier) -> None:
    """What the API's /v1/model needs."""
    status, answer = call(model, '{"describe": true}', "application/json; charset=utf-8")
    assert status == 200
    assert len(answer["classes"]) == 1000
    assert answer["input"] == {"resize": 256, "crop": 224}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("", 400),
        ("{", 400),
        ("[1]", 400),
        ("{}", 400),
        ('{"instances": []}', 400),
        ('{"instances": "x"}', 400),
        ("[" * 100_000, 400),
        ('{"instances": ["x"], "top_k": "5x"}', 422),
        ('{"instances": ["x"], "top_k": true}', 422),
        ('{"instances": ["x"], "top_k": 1.5}', 422),
        ('{"instances": ["x"], "top_k": null}', 422),
        (json.dumps({"instances": ["x"] * 1001}), 413),
    ],
)
def test_bad_json(model: Classifier, body: str, status: int) -> None:
    """A malformed request is the caller's fault, with a code and a hint."""
    found, answer = call(model, body, "application/json")
    assert found == status
    assert {"status", "code", "detail", "hint"} == answer["error"].keys()


@pytest.mark.parametrize("content_type", ["image/jpeg", "application/x-npy", "application/python-pickle"])
def test_nothing_is_unpickled(model: Classifier, content_type: str, capsys: pytest.CaptureFixture[str]) -> None:
    """SageMaker's default decoder would run this body; ours looks for a photo."""

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return print, ("EXECUTED",)

    status, _ = call(model, pickle.dumps(Evil()), content_type)
    assert status == 415
    assert "EXECUTED" not in capsys.readouterr().out


def test_text_body(model: Classifier) -> None:
    """A str for a photo, as a confused host may send it, is refused and not encoded by luck."""
    assert call(model, "\u20ac\u00ff", "image/jpeg")[0] == 415


def test_without_context_errors_raise() -> None:
    """Where no status can be set, the caller still learns of the error."""
    with pytest.raises(RequestError):
        inference.output_fn(BadImage("bad", "hint"), "application/json")
