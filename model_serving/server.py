"""The endpoint on one machine, with SageMaker's wire shape: an ASGI application around an archive's hooks.

    GET  /ping                               200 once the model is loaded
    POST /invocations                        what the container answers
    POST /endpoints/NAME/invocations         what `sagemaker-runtime` answers: ModelError 424 around container errors

Requests wait for a bounded number of worker threads; when the queue is full the answer is 503 at once.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import sys
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .errors import ArchiveError

log = logging.getLogger("whippet.endpoint")

MAX_BODY_BYTES = 25 * 1024 * 1024
"""SageMaker's limit of an InvokeEndpoint body, in bytes: 25 MB by its pages on payloads, where its API model says 6."""

QUEUE = 100
"""Requests that may wait, TorchServe's default."""


class Context:
    """The request context that hooks get: status and headers, by the names of TorchServe's."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.status = 200
        self.system_properties: dict[str, Any] = {}
        self.request_processor = [self]
        self._headers = headers

    def set_response_status(self, code: int = 200, phrase: str = "", idx: int = 0) -> None:
        """Status of the answer."""
        self.status = code

    def get_request_properties(self) -> Mapping[str, str]:
        """The request's headers."""
        return self._headers


class Hooks:
    """`code/inference.py` of an unpacked archive, imported as a container would: `code/` first on the path."""

    def __init__(self, folder: Path) -> None:
        sys.path.insert(0, str(folder / "code"))
        self._module: Any = importlib.import_module("inference")
        if Path(str(self._module.__file__)).parent != folder / "code":
            raise ArchiveError("another module named inference was imported before; serve in a process of its own")
        self._model = self._module.model_fn(str(folder), Context({}))

    def __call__(self, body: bytes, content_type: str | None, context: Context) -> tuple[str, str]:
        """Body and media type of the answer; the status is on the context."""
        data: bytes | str = body
        if content_type == "application/json":
            data = body.decode("utf-8", "replace")  # as SageMaker's toolkit hands it over
        request = self._module.input_fn(data, content_type, context)
        answer = self._module.predict_fn(request, self._model, context)
        text, media_type = self._module.output_fn(answer, "application/json", context)
        return text, media_type


Invoke = Callable[[bytes, "str | None", Context], "tuple[str, str]"]
"""Body, content type and context of a request -> body and media type of the answer."""


class Endpoint:
    """Runs hooks in `workers` threads, keeps at most `queue` requests waiting."""

    def __init__(self, hooks: Invoke, workers: int, queue: int) -> None:
        self._hooks = hooks
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="worker")
        self._capacity = workers + queue
        self._inside = 0

    async def invoke(self, request: Request) -> Response:
        """The container's answer to a request."""
        if self._inside >= self._capacity:
            return _error(503, "endpoint_busy", "All workers are busy and the queue is full.", "Try again in a second.")
        self._inside += 1
        try:
            return await self._invoke(request)
        finally:
            self._inside -= 1

    async def _invoke(self, request: Request) -> Response:
        try:
            body = await _read(request)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it
        if body is None:
            limit = f"{MAX_BODY_BYTES:,} bytes"
            return _error(413, "too_large", f"The body is larger than {limit}.", "Send a smaller photo.")
        context = Context(request.headers)
        try:
            text, media_type = await _in(self._pool, self._hooks, body, request.headers.get("content-type"), context)
        except Exception:
            log.exception("a hook failed")
            return _error(500, "internal", "The model code failed.", "The endpoint's log has the reason.")
        return Response(text, context.status, media_type=media_type)


async def _in(pool: ThreadPoolExecutor, function: Callable[..., Any], *args: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(pool, function, *args)


async def _read(request: Request) -> bytes | None:
    """The body, or None where it is over the limit; no more than the limit is kept in memory."""
    if int(request.headers.get("content-length") or 0) > MAX_BODY_BYTES:
        return None
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            return None
        chunks.append(chunk)
    return b"".join(chunks)


def _error(status: int, code: str, detail: str, hint: str) -> JSONResponse:
    error = {"status": status, "code": code, "detail": detail, "hint": hint}
    headers = {"Retry-After": "1"} if status == 503 else None
    return JSONResponse({"error": error}, status, headers)


def _as_runtime(answer: Response, name: str) -> Response:
    """SageMaker Runtime's shape of a container's answer: errors become ModelError, status 424."""
    request_id = {"x-amzn-RequestId": str(uuid.uuid4())}
    if answer.status_code < 400:
        answer.headers["x-Amzn-Invoked-Production-Variant"] = "AllTraffic"
        answer.headers.update(request_id)
        return answer
    original = bytes(answer.body).decode()
    side = "client" if answer.status_code < 500 else "server"
    message = f'Received {side} error ({answer.status_code}) from primary with message "{original}".'
    return JSONResponse(
        {
            "Message": message,
            "OriginalStatusCode": answer.status_code,
            "OriginalMessage": original,
            "LogStreamArn": f"local:endpoint/{name}",
        },
        424,
        {"x-amzn-ErrorType": "ModelError", **request_id},
    )


def _no_endpoint(name: str) -> JSONResponse:
    message = {"message": f"Endpoint {name} of account 000000000000 not found."}
    return JSONResponse(message, 400, {"x-amzn-ErrorType": "ValidationError"})


def application(hooks: Invoke, workers: int, queue: int = QUEUE, name: str = "whippet") -> Starlette:
    """The ASGI application that serves `hooks` as the endpoint `name`."""
    endpoint = Endpoint(hooks, workers, queue)

    async def ping(_: Request) -> Response:
        return JSONResponse({})

    async def invocations(request: Request) -> Response:
        return await endpoint.invoke(request)

    async def runtime(request: Request) -> Response:
        if request.path_params["name"] != name:
            return _no_endpoint(request.path_params["name"])
        return _as_runtime(await endpoint.invoke(request), name)

    return Starlette(
        routes=[
            Route("/ping", ping),
            Route("/invocations", invocations, methods=["POST"]),
            Route("/endpoints/{name}/invocations", runtime, methods=["POST"]),
        ]
    )
