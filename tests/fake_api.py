"""A stand-in for the API: a real local HTTP server that speaks the contract and misbehaves when told to."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from PIL import Image

from client import steps, transport
from lambda_api import body
from lambda_api.errors import ApiError
from lambda_api.schema import ClassInfo, InputSize, Limits, ModelDescription, problem

KEY = "secret-key-of-tests"
LABELS = ("red", "green", "blue")


@dataclass(frozen=True)
class Fault:
    """One misbehaviour: a status with a body, a reset connection, half an answer, or a wait in seconds."""

    status: int = 0
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    reset: bool = False
    half: bool = False
    wait: float = 0.0


@dataclass(frozen=True)
class Request:
    """One request as it arrived; `at` is a monotonic time in seconds."""

    method: str
    route: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes
    at: float


def refusal(code: str, **headers: str) -> Fault:
    """The API's own problem document of a code."""
    document = problem(code, f"fact of {code}.", f"mend of {code}.", "req-1")
    kind = {"Content-Type": "application/problem+json"}
    return Fault(document.status, json.dumps(dataclasses.asdict(document)).encode(), kind | headers)


def html(status: int) -> Fault:
    """A proxy's page."""
    return Fault(status, b"<html><b>secret proxy page</b></html>", {"Content-Type": "text/html"})


def described(resize: int = 64, limits: Limits | None = None) -> ModelDescription:
    """The model behind a stand-in."""
    classes = [ClassInfo(f"n{i}", label) for i, label in enumerate(LABELS)]
    return ModelDescription("fake", "v1", classes, InputSize(resize, resize * 7 // 8), limits or Limits())


def ranked(strengths: Sequence[int], top_k: int) -> dict[str, Any]:
    """What is answered about a photo whose colours are so strong."""
    order = sorted(range(len(LABELS)), key=lambda i: -strengths[i])
    scores = [round(strength / (sum(strengths) or 1), 4) for strength in strengths]
    labels = [{"label": LABELS[i], "class_id": f"n{i}", "score": scores[i]} for i in order[:top_k]]
    return {"predictions": labels, "decision": "confident"}


RESET = Fault(reset=True)
HALF = Fault(half=True)


class FakeApi:
    """Classifies photos by their strongest colour. `script` is used up fault by fault, None meaning fine.

    `always` holds for every POST after the script. `dies_after` closes the port after so many POSTs.
    """

    def __init__(self, *, resize: int = 64, limits: Limits | None = None, key: str | None = KEY) -> None:
        self.model = described(resize, limits)
        self.key = key
        self.script: list[Fault | None] = []
        self.always: Fault | None = None
        self.on_get: Fault | None = None
        self.dies_after: int | None = None
        self.requests: list[Request] = []
        self.bad_items: dict[bytes, ApiError] = {}
        """Refusals of single photos, alone or in a batch, by the digest of what is sent."""
        self.deadly = b""
        """A photo's bytes: every request that holds them is reset."""
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.api = self
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def posts(self) -> list[Request]:
        """The photos that arrived."""
        return [request for request in self.requests if request.method == "POST"]

    def next_fault(self, request: Request) -> Fault | None:
        """What to do with a request; counts it."""
        with self._lock:
            self.requests.append(request)
            if self.dies_after is not None and len(self.posts) > self.dies_after:
                with contextlib.suppress(OSError):  # dead already
                    self._server.socket.shutdown(socket.SHUT_RDWR)  # or the thread that polls it keeps it open
                self._server.socket.close()
                return RESET
            if request.method == "GET":
                return self.on_get
            if self.deadly and self.deadly in request.body:
                return RESET
            return self.script.pop(0) if self.script else self.always

    def ranked_answer(self, score: float) -> bytes:
        """An answer of `POST /v1/classify` whose best label has this score."""
        about = {"model": {"name": self.model.name, "version": self.model.version}, "request_id": "req-1"}
        labels = [{"label": "red", "class_id": "n0", "score": score}]
        return json.dumps({**about, "predictions": labels, "decision": "confident"}).encode()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> FakeApi:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    api: FakeApi

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are what these tests are about."""

    def get_request(self) -> tuple[socket.socket, Any]:
        if self.socket.fileno() < 0:
            raise OSError("dead")
        return super().get_request()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Keep quiet."""

    def finish(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            super().finish()

    def do_GET(self) -> None:
        self._handle("GET")

    def do_POST(self) -> None:
        self._handle("POST")

    def _handle(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(method, parts.path, parse_qs(parts.query), headers, body, time.monotonic())
        fault = self.server.api.next_fault(request)
        if fault is not None:
            time.sleep(fault.wait)
        if fault is not None and fault.reset:
            self._reset()
        elif fault is not None and fault.status:
            self._send(fault.status, fault.body, fault.headers)
        else:
            self._answer(request, half=fault is not None and fault.half)

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def _answer(self, request: Request, *, half: bool) -> None:
        api = self.server.api
        if api.key is not None and request.headers.get("x-api-key") != api.key:
            self._fault(refusal("forbidden"))
        elif request.route == "/v1/model":
            self._json(dataclasses.asdict(api.model))
        elif request.route == "/v1/health":
            self._json({"status": "ok", "model": {"name": api.model.name, "version": api.model.version}})
        elif request.route == "/v1/classify" and (bad := api.bad_items.get(hashlib.sha256(request.body).digest())):
            self._fault(refusal(bad.code))
        elif request.route == "/v1/classify":
            self._json(self._about(request) | self._labels(request.body, int(request.query["top_k"][0])), half=half)
        elif request.route == "/v1/classify/batch":
            self._json(self._about(request) | {"results": self._many(request)}, half=half)
        else:
            self._fault(refusal("not_found"))

    def _about(self, request: Request) -> dict[str, Any]:
        model = self.server.api.model
        return {"model": {"name": model.name, "version": model.version}, "request_id": "r", "timings_ms": {}}

    def _many(self, request: Request) -> list[dict[str, Any]]:
        """Each photo of a form or of JSON, as the real API takes them apart; errors of single ones by `bad_items`."""
        results: list[dict[str, Any]] = []
        for part in body.many(request.body, request.headers["content-type"]):
            bad = (
                self.server.api.bad_items.get(hashlib.sha256(part.image).digest())
                if isinstance(part.image, bytes)
                else None
            )
            refused = part.image if isinstance(part.image, ApiError) else bad
            if refused is not None:
                results.append({"id": part.id, "error": dataclasses.asdict(refused.as_item())})
            else:
                assert isinstance(part.image, bytes)
                results.append({"id": part.id} | self._labels(part.image, int(request.query["top_k"][0])))
        return results

    def _labels(self, data: bytes, top_k: int) -> dict[str, Any]:
        with Image.open(io.BytesIO(data)) as image:
            pixel = image.convert("RGB").resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
        assert isinstance(pixel, tuple)
        return ranked(pixel, top_k)

    def _fault(self, fault: Fault) -> None:
        self._send(fault.status, fault.body, fault.headers)

    def _json(self, value: Any, *, half: bool = False) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"}, half=half)

    def _send(self, status: int, body: bytes, headers: dict[str, str], *, half: bool = False) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if half else body)
        self.close_connection = self.close_connection or half


@contextlib.contextmanager
def fake_api(**options: Any) -> Iterator[FakeApi]:
    """A running stand-in, closed at the end."""
    with FakeApi(**options) as api:
        yield api


def quick_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Next to no time between tries, and between looks at an API that is down."""
    for name in ("FIRST_WAIT", "JITTER"):
        monkeypatch.setattr(transport, name, 0.01)
    monkeypatch.setattr(steps, "PROBE_SECONDS", 0.05)


def photo(path: Any, color: str = "red", size: tuple[int, int] = (40, 30), **options: Any) -> Any:
    """Save a photo of one colour and return its path."""
    Image.new("RGB", size, color).save(path, **options)
    return path


@contextlib.contextmanager
def named_api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeApi]:
    """A running stand-in that the environment names, with nothing of the user's settings."""
    monkeypatch.setenv("WHIPPET_STATE_FILE", str(tmp_path / "no-stack.json"))
    monkeypatch.setenv("WHIPPET_PROFILE_FILE", str(tmp_path / "no-profile.ini"))
    with fake_api() as running:
        monkeypatch.setenv("WHIPPET_URL", running.url)
        monkeypatch.setenv("WHIPPET_API_KEY", KEY)
        yield running


def three_photos(folder: Path) -> Path:
    """A new folder of three good photos and a note."""
    folder.mkdir()
    for name, color in (("r.jpg", "red"), ("g.png", "lime"), ("b.webp", "blue")):
        photo(folder / name, color)
    (folder / "notes.txt").write_text("hello")
    return folder
