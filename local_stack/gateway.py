"""API Gateway on one machine: HTTP in, the untouched Lambda handler, HTTP out, with AWS's limits enforced.

Routes, binary types and which routes need a key come from `template.yaml`. Errors that the gateway makes itself
are problem documents with CORS headers, or browsers would hide the status.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hmac
import json
import logging
import uuid
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from lambda_api.schema import MAX_BODY_BYTES, MAX_EVENT_BYTES, problem

from . import events
from .routes import Routes, Target
from .template import Api
from .workers import Died, Environment, TooSlow

log = logging.getLogger("whippet.gateway")

INTEGRATION_SECONDS = 29
"""How long API Gateway waits for a function (AWS quota)."""

WAITING = 100
"""Requests that may wait for a worker; more get 429, as above Lambda's concurrency limit."""

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"]


class _Refused(Exception):
    """An answer that the gateway gives without asking the function."""

    def __init__(self, code: str, detail: str, hint: str) -> None:
        super().__init__(detail)
        self.code, self.detail, self.hint = code, detail, hint


class Gateway:
    """One API. `api_key` is the only key; `origins` are those of pages that may read its own errors."""

    def __init__(self, api: Api, api_key: str, processes: int, origins: tuple[str, ...] = ()) -> None:
        self._api = api
        self._routes = Routes(api.routes)
        self._api_key = api_key.encode()
        self._origins = origins
        self._environments = [Environment(api.handler, api.timeout) for _ in range(processes)]
        self._free: SimpleQueue[Environment] = SimpleQueue()
        for environment in self._environments:
            self._free.put(environment)
        # A thread for each waits for its answers; requests that find none free wait in the pool's queue.
        self._threads = ThreadPoolExecutor(processes, thread_name_prefix="environment")
        self._inside = 0

    async def warm(self) -> None:
        """Start every environment now, so that the first request need not wait for one."""
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(self._threads, each.warm) for each in self._environments))

    def close(self) -> None:
        """Let running events end, then stop the environments."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        for environment in self._environments:
            environment.close()

    async def __call__(self, request: Request) -> Response:
        """The answer to a request."""
        request_id = str(uuid.uuid4())
        try:
            response = await self._answer(request, request_id)
        except _Refused as refused:
            response = self._problem(refused, request, request_id)
        response.headers["x-amzn-RequestId"] = request_id
        response.headers.setdefault("X-Request-Id", request_id)
        return response

    async def _answer(self, request: Request, request_id: str) -> Response:
        target = self._target(request)
        if self._inside >= len(self._environments) + WAITING:
            raise _Refused("throttled", "All workers are busy and the queue is full.", "Try again in a second.")
        self._inside += 1
        try:
            event = await self._event(request, target, request_id)
            return events.to_response(await asyncio.wait_for(self._submit(event), INTEGRATION_SECONDS))
        except (asyncio.TimeoutError, TooSlow):
            detail = "The function did not answer in time."
            raise _Refused("endpoint_timeout", detail, "Try again, with fewer photos at once.") from None
        except _Refused:
            raise
        except Exception:
            log.exception("the function failed")
            raise _Refused("internal", "The function failed.", "The gateway's log has the reason.") from None
        finally:
            self._inside -= 1

    async def _event(self, request: Request, target: Target, request_id: str) -> str:
        body = await _read(request)
        binary = events.is_binary(request.headers.getlist("content-type"), self._api.binary_types)
        event = json.dumps(events.from_request(request, target, body, binary, request_id))
        if len(event) > MAX_EVENT_BYTES:
            raise _Refused("too_large", f"The request makes an event above {MAX_EVENT_BYTES:,} bytes.", SHRINK)
        return event

    def _target(self, request: Request) -> Target:
        """The route of a request, with the key where it needs one."""
        target = self._routes.find(request.method, request.scope["path"])
        if target is None:
            raise _Refused("not_found", "There is no such route or method.", "See /v1/openapi.json.")
        given = request.headers.get("x-api-key", "").encode("latin-1")
        if target.needs_key and not hmac.compare_digest(given, self._api_key):
            raise _Refused("forbidden", "The API key is missing or wrong.", "Send it in the x-api-key header.")
        return target

    async def _submit(self, event: str) -> dict[str, Any]:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._invoke, event)

    def _invoke(self, event: str) -> dict[str, Any]:
        """In an environment that is free. Where its process dies once more, since handlers keep no state."""
        environment = self._free.get()
        try:
            answer: dict[str, Any]
            try:
                answer = environment.invoke(event)
            except Died as death:
                log.warning("%s; the event is tried again", death)
                answer = environment.invoke(event)
            return answer
        finally:
            self._free.put(environment)

    def _problem(self, refused: _Refused, request: Request, request_id: str) -> Response:
        document = problem(refused.code, refused.detail, refused.hint, request_id)
        headers = {"Retry-After": "1"} if document.status == 429 else {}
        origin = request.headers.get("origin")
        if origin in self._origins:
            headers |= {"Access-Control-Allow-Origin": str(origin), "Vary": "Origin"}
            headers["Access-Control-Expose-Headers"] = "retry-after, x-request-id"
        text = json.dumps(dataclasses.asdict(document))
        return Response(text, document.status, headers, "application/problem+json")


SHRINK = "Send a smaller photo; python -m client shrinks by itself."


async def _read(request: Request) -> bytes:
    """The whole body; refused above API Gateway's limit without keeping more than that in memory."""
    too_large = _Refused("too_large", f"The body is larger than {MAX_BODY_BYTES:,} bytes.", SHRINK)
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > MAX_BODY_BYTES:
        raise too_large
    chunks, size = [], 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > MAX_BODY_BYTES:
                raise too_large
            chunks.append(chunk)
    except ClientDisconnect:
        raise _Refused("bad_request", "The connection closed within the body.", "Send it again.") from None
    return b"".join(chunks)


def application(gateway: Gateway) -> Starlette:
    """The ASGI application of a gateway: every path and method is its own to refuse."""
    return Starlette(routes=[Route("/{path:path}", gateway.__call__, methods=METHODS)])
