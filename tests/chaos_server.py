"""The process behind `chaos_api`: it labels any bytes by their hash, at once, and misbehaves by a plan.

It decodes nothing, so that ten thousand photos take seconds. What it is asked and how it answers is the contract's:
bodies are taken apart by the real function's own code.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import signal
import socket
import struct
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from lambda_api import body
from lambda_api.errors import ApiError
from lambda_api.schema import Limits
from model_serving.hosting import announce, bind, end_with_parent
from tests.fake_api import HALF, KEY, RESET, Fault, described, ranked, refusal

MODEL = described()
ABOUT = {"name": MODEL.name, "version": MODEL.version}
TRANSPORT = "whippet.transport"
"""Where a request's scope holds its connection, which ASGI itself does not show."""


@dataclass(frozen=True)
class Plan:
    """Which share of the requests with photos meets which misbehaviour; the same seed draws them in the same order."""

    seed: int = 1
    throttled: float = 0.0
    """429 with Retry-After 0 or 1."""
    unavailable: float = 0.0
    """503 with Retry-After 1."""
    failed: float = 0.0
    """502."""
    late: float = 0.0
    """504."""
    gateway: float = 0.0
    """504 in the gateway's own words."""
    hung_up: float = 0.0
    """The connection is reset before the body is read."""
    reset: float = 0.0
    """The connection is reset when the body is read."""
    half: float = 0.0
    """Half an answer, then the connection ends."""
    slow: float = 0.0
    """The answer comes after `slow_seconds`."""
    item: float = 0.0
    """One photo of the batch has a 503 of its own."""
    slow_seconds: float = 1.0
    batch: int = 100
    """Photos that the API says it takes at once: fewer make more requests, and so more misbehaviour."""
    deaths: tuple[int, ...] = ()
    """After how many photos the process is killed, each time for `down` seconds."""
    down: float = 3.0

    @property
    def shares(self) -> dict[str, float]:
        """The misbehaviours by name."""
        return {name: getattr(self, name) for name in (*FAULTS, "item")}


FAULTS: dict[str, Callable[[random.Random], Fault]] = {
    "throttled": lambda chance: refusal("throttled", **{"Retry-After": str(chance.randint(0, 1))}),
    "unavailable": lambda chance: refusal("endpoint_unavailable", **{"Retry-After": "1"}),
    "failed": lambda chance: refusal("endpoint_failed"),
    "late": lambda chance: refusal("endpoint_timeout"),
    "gateway": lambda chance: Fault(504, b'{"message": "Endpoint request timed out"}'),
    "hung_up": lambda chance: RESET,
    "reset": lambda chance: RESET,
    "half": lambda chance: HALF,
    "slow": lambda chance: Fault(),
}

BAD_ITEM = asdict(ApiError("endpoint_unavailable", "fact of an item.", "mend of an item.").as_item())


class Record:
    """What happened, as JSON lines that outlive the process: photos answered, photos that came again, misbehaviours."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._answered = {line["answered"] for line in read_record(path) if "answered" in line}
        self.answers = sum("answered" in line for line in read_record(path))

    def came(self, photos: Iterable[bytes]) -> None:
        """Photos have arrived: those that had their answer before are noted."""
        digests = [hashlib.sha256(photo).hexdigest() for photo in photos]
        self._write([{"again": digest} for digest in digests if digest in self._answered])

    def answered(self, photos: list[tuple[str, bytes]]) -> None:
        """The answer to these, id and bytes, has left completely."""
        lines = [{"answered": hashlib.sha256(photo).hexdigest(), "id": name} for name, photo in photos]
        self._answered.update(line["answered"] for line in lines)
        self.answers += len(lines)
        self._write(lines)

    def fault(self, name: str) -> None:
        """A misbehaviour is about to happen."""
        self._write([{"fault": name}])

    def _write(self, lines: list[dict[str, str]]) -> None:
        os.write(self._file, b"".join(json.dumps(line).encode() + b"\n" for line in lines))


def read_record(path: Path) -> list[dict[str, str]]:
    """All lines of a record."""
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def labels_of(sent: bytes, top_k: int) -> dict[str, Any]:
    """The answer to a photo that arrived as these bytes; its scores tell it from nearly any other."""
    return ranked(hashlib.sha256(sent).digest()[:3], top_k)


class Chaos:
    """The ASGI application. `life` counts how often the process was started before."""

    def __init__(self, plan: Plan, record: Record, life: int) -> None:
        self._plan, self._record = plan, record
        self._chance = random.Random(plan.seed + life)
        self._dies_after = plan.deaths[life] if life < len(plan.deaths) else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or fail to."""
        request = Request(scope, receive)
        name = self._draw() if request.method == "POST" else ""
        if name == "hung_up":
            _reset(scope)
            return
        try:
            photos, answer = self._answer(request, await request.body(), spoilt=name == "item")
        except ClientDisconnect:
            return
        except ApiError as error:
            photos, answer = [], _response(refusal(error.code))
        self._record.came(photo for _, photo in photos)
        fault = FAULTS[name](self._chance) if name in FAULTS else Fault()
        if name == "slow":
            await asyncio.sleep(self._plan.slow_seconds)
        if fault.reset:
            _reset(scope)
        elif fault.half:
            await _half(answer, scope, receive, send)
        elif fault.status:
            await _response(fault)(scope, receive, send)
        else:
            await self._deliver(photos, answer, scope, receive, send)

    def _draw(self) -> str:
        shares = self._plan.shares
        (name,) = self._chance.choices(["", *shares], [1 - sum(shares.values()), *shares.values()])
        if name:
            self._record.fault(name)
        return name

    def _answer(self, request: Request, data: bytes, *, spoilt: bool) -> tuple[list[tuple[str, bytes]], Response]:
        """The photos that have labels in the answer, and the answer; ApiError where the request is refused."""
        if request.headers.get("x-api-key") != KEY:
            raise ApiError("forbidden", "", "")
        if request.url.path == "/v1/model":
            return [], JSONResponse(asdict(described(limits=Limits(batch=self._plan.batch))))
        if request.url.path == "/v1/health":
            return [], JSONResponse({"status": "ok", "model": ABOUT})
        about = {"model": ABOUT, "request_id": "r", "timings_ms": {}}
        content_type, top_k = request.headers.get("content-type", ""), int(request.query_params.get("top_k", 5))
        if request.url.path == "/v1/classify":
            photo = body.single(data, content_type)
            assert isinstance(photo, bytes)
            return [("", photo)], JSONResponse(about | labels_of(photo, top_k))
        if request.url.path == "/v1/classify/batch":
            photos, results = self._many(body.many(data, content_type), top_k, spoilt=spoilt)
            return photos, JSONResponse(about | {"results": results})
        raise ApiError("not_found", "", "")

    def _many(
        self, parts: list[body.Photo], top_k: int, *, spoilt: bool
    ) -> tuple[list[tuple[str, bytes]], list[dict[str, Any]]]:
        bad = self._chance.randrange(len(parts)) if spoilt else None
        photos: list[tuple[str, bytes]] = []
        results: list[dict[str, Any]] = []
        for number, part in enumerate(parts):
            if isinstance(part.image, ApiError):
                results.append({"id": part.id, "error": asdict(part.image.as_item())})
            elif number == bad:
                results.append({"id": part.id, "error": BAD_ITEM})
            else:
                photos.append((part.id, part.image))
                results.append({"id": part.id, **labels_of(part.image, top_k)})
        return photos, results

    async def _deliver(
        self, photos: list[tuple[str, bytes]], answer: Response, scope: Scope, receive: Receive, send: Send
    ) -> None:
        gone = scope[TRANSPORT].is_closing()
        await answer(scope, receive, send)
        if not gone and photos:
            self._record.answered(photos)
        if self._dies_after is not None and self._record.answers >= self._dies_after:
            os.kill(os.getpid(), signal.SIGKILL)


def _response(fault: Fault) -> Response:
    return Response(fault.body, fault.status, {"Content-Type": "application/json", **fault.headers})


def _reset(scope: Scope) -> None:
    """End the connection without the courtesy of a FIN."""
    transport = scope[TRANSPORT]
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def _half(answer: Response, scope: Scope, receive: Receive, send: Send) -> None:
    async def cut(message: Any) -> None:
        if message["type"] == "http.response.body":
            data = bytes(message["body"])
            await send({**message, "body": data[: len(data) // 2], "more_body": True})
            scope[TRANSPORT].close()
        else:
            await send(message)

    await answer(scope, receive, cut)


class _Protocol(HttpToolsProtocol):
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope[TRANSPORT] = self.transport  # type: ignore[literal-required]  # an addition


def main() -> None:
    """`python -m tests.chaos_server PLAN PORT RECORD LIFE`, the plan as JSON; prints its URL when it is ready."""
    settings, port, record, life = sys.argv[1:]
    plan = Plan(**json.loads(settings))
    listener, url = bind("127.0.0.1", int(port))
    application = Chaos(plan, Record(Path(record)), int(life))
    config = uvicorn.Config(
        application, http=_Protocol, lifespan="off", ws="none", log_level="critical", timeout_keep_alive=75
    )
    announce(url)
    end_with_parent()
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
