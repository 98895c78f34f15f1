"""Runs an archive's hooks on good and hostile inputs, alone: `python -I -S probe.py FOLDER SITE_PACKAGES…`.

Prints one JSON line a check. Started by `doctor.py` without site and environment, so that `code/` and the given
package folders are all that can be imported; our own packages are blocked even where they are installed.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

TIE = 1e-3
"""Scores of one photo may differ by less between passes of different sizes; closer ones may swap places."""

OURS = ("model_serving", "training", "lambda_api", "client", "local_stack")


class _Blocked:
    """Finds our packages first, and refuses them."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> None:
        if name.partition(".")[0] in OURS:
            raise ImportError(f"{name} is not there in a container; code/ must not import it")


class Context:
    """The part of a model server's request context that hooks may use."""

    def __init__(self) -> None:
        self.status = 200
        self.system_properties: dict[str, Any] = {}

    def set_response_status(self, code: int = 200, phrase: str = "", idx: int = 0) -> None:
        """Remember the status."""
        self.status = code


def photo(kind: str = "JPEG", mode: str = "RGB", size: tuple[int, int] = (320, 240)) -> bytes:
    """A small picture with some structure, encoded."""
    from PIL import Image

    image = Image.radial_gradient("L").resize(size).convert("RGB").convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def png_claiming(width: int, height: int) -> bytes:
    """A few bytes that claim to be a picture of width x height pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\0\0IEND\xaeB`\x82"


GOOD: dict[str, Callable[[], bytes]] = {
    "JPEG": photo,
    "PNG with alpha": lambda: photo("PNG", "RGBA"),
    "gray JPEG": lambda: photo("JPEG", "L"),
    "CMYK JPEG": lambda: photo("JPEG", "CMYK"),
    "GIF": lambda: photo("GIF", "P"),
    "panorama of 4000 x 100": lambda: photo(size=(4000, 100)),
}

HOSTILE: dict[str, tuple[Callable[[], bytes], int]] = {
    "empty body": (lambda: b"", 400),
    "text": (lambda: b"not a photo", 415),
    "SVG": (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415),
    "pickle": (lambda: b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x07builtins\x94.", 415),
    "JPEG cut in half": (lambda: photo()[: len(photo()) // 2], 400),
    "PNG that claims 900 megapixels": (lambda: png_claiming(30000, 30000), 413),
    "photo of one pixel": (lambda: photo("PNG", size=(1, 1)), 400),
}


class Hooks:
    """The four hooks of `code/inference.py`, called as SageMaker's toolkit calls them."""

    def __init__(self, folder: str) -> None:
        import inference  # type: ignore[import-not-found]

        self.folder, self.module = folder, inference
        self.model = inference.model_fn(folder, Context())

    def __call__(self, body: bytes | str, content_type: str) -> tuple[int, dict[str, Any]]:
        """Status and document of the answer; AssertionError if a traceback is in it."""
        context = Context()
        request = self.module.input_fn(body, content_type, context)
        answer = self.module.predict_fn(request, self.model, context)
        text, _ = self.module.output_fn(answer, "application/json", context)
        if "Traceback" in text:
            raise AssertionError("a traceback is in the answer")
        return context.status, json.loads(text)


def checks(hooks: Hooks) -> Iterator[tuple[str, Callable[[], None]]]:
    """Name and function of each check; the function raises where the promise is broken."""
    for name, make in GOOD.items():
        yield f"labels a {name}", partial(_labels, hooks, make)
    for name, (make, status) in HOSTILE.items():
        yield f"refuses: {name}", partial(_refuses, hooks, make, status)
    yield "refuses an array that would be unpickled", lambda: _refused(hooks(b"\x93NUMPY", "application/x-npy"), 415)
    yield "refuses JSON that is none", lambda: _refused(hooks("{", "application/json"), 400)
    yield "one bad photo of many spoils no other", lambda: _many(hooks)
    yield "describes itself", lambda: _described(hooks)
    yield "answers a batch of requests each by itself", lambda: _batch(hooks)


def _labels(hooks: Hooks, make: Callable[[], bytes]) -> None:
    status, body = hooks(make(), "application/octet-stream")
    assert status == 200, f"status {status}: {body}"
    scores = [p["score"] for p in body["predictions"]]
    assert scores and scores == sorted(scores, reverse=True), "scores do not fall"
    assert scores[-1] >= 0 and sum(scores) <= 1.0001, "scores are no probabilities"
    assert body["decision"] in ("confident", "unsure", "unknown"), body["decision"]


def _refuses(hooks: Hooks, make: Callable[[], bytes], status: int) -> None:
    _refused(hooks(make(), "image/jpeg"), status)


def _refused(answer: tuple[int, dict[str, Any]], status: int) -> None:
    assert answer[0] == status, f"status {answer[0]} instead of {status}"
    assert {"code", "detail", "hint"} <= answer[1]["error"].keys(), "no code, detail and hint"


def _many(hooks: Hooks) -> None:
    bodies = [photo(), b"not a photo", photo("PNG", "RGBA")]
    instances = [{"b64": base64.b64encode(body).decode()} for body in bodies]
    status, answer = hooks(json.dumps({"instances": instances, "top_k": 3}), "application/json")
    assert status == 200, f"status {status}"
    good, bad, other = answer["results"]
    assert bad["error"]["status"] == 415, "the bad one has no error"
    single = hooks(bodies[0], "image/jpeg")[1]
    for one, alone in zip(good["predictions"], single["predictions"], strict=False):
        assert abs(one["score"] - alone["score"]) < TIE, "another score than alone"
    first, *others = single["predictions"]
    tied = bool(others) and first["score"] - others[0]["score"] < TIE
    assert tied or good["predictions"][0]["class_id"] == first["class_id"], "another label than alone"
    assert other["predictions"], "the good ones have no labels"


def _described(hooks: Hooks) -> None:
    status, body = hooks('{"describe": true}', "application/json")
    assert status == 200 and body["name"] and body["version"], "no name and version"
    assert body["classes"] and body["input"]["crop"] > 0, "no classes or input size"


class _Batch:
    """TorchServe's context of a batch: headers, status and content type a request."""

    def __init__(self, folder: str, headers: list[dict[str, str]]) -> None:
        self.system_properties = {"model_dir": folder}
        self.request_processor = [_Headers(one) for one in headers]
        self.statuses = [200] * len(headers)

    def set_response_status(self, code: int = 200, phrase: str = "", idx: int = 0) -> None:
        """Remember the status."""
        self.statuses[idx] = code

    def set_response_content_type(self, idx: int, value: str) -> None:
        """Nobody reads it here."""


class _Headers:
    def __init__(self, headers: dict[str, str]) -> None:
        self._headers = headers

    def get_request_properties(self) -> dict[str, str]:
        """The request's headers."""
        return self._headers


def _batch(hooks: Hooks) -> None:
    import batch_handler  # type: ignore[import-not-found]

    bodies = [photo(), b"not a photo", b"{"]
    kinds = ["image/jpeg", "image/jpeg", "application/json"]
    batch_handler.handle(None, _Batch(hooks.folder, []))
    context = _Batch(hooks.folder, [{"Content-Type": kind} for kind in kinds])
    answers = batch_handler.handle([{"body": bytearray(body)} for body in bodies], context)
    assert context.statuses == [200, 415, 400], f"statuses {context.statuses}"
    alone = hooks(bodies[0], "image/jpeg")[1]
    first = json.loads(answers[0])["predictions"][0]
    assert abs(first["score"] - alone["predictions"][0]["score"]) < TIE, "another score than alone"


def report(name: str, check: Callable[[], Any]) -> Any:
    """Run a check and print its line; returns what the check returned, or None where it failed."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            value = check()
    except Exception as error:
        detail = str(error) or type(error).__name__
        print(json.dumps({"name": name, "ok": False, "detail": detail.splitlines()[0]}), flush=True)
        return None
    print(json.dumps({"name": name, "ok": True, "detail": ""}), flush=True)
    return value


def main(folder: str, *packages: str) -> None:
    """Run all checks on an unpacked archive."""
    sys.meta_path.insert(0, _Blocked())
    sys.path += [f"{folder}/code", *packages]
    hooks = report("code/ loads its model with nothing else on the path", lambda: Hooks(folder))
    for name, check in checks(hooks) if hooks else ():
        report(name, check)


if __name__ == "__main__":
    main(*sys.argv[1:])
