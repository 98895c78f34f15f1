"""S3, DynamoDB, SQS and Secrets Manager on one machine: moto's server, in memory, behind what moto leaves out.

That is: signatures are checked, forms that browsers upload by are held to their policy, and pages get the answers that
the bucket's CORS rule gives.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import json
import tempfile
from collections.abc import AsyncIterator
from typing import IO
from urllib.parse import quote
from xml.sax.saxutils import escape

from starlette.applications import Starlette
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message

from . import forms
from .emulator import Answer, Emulator
from .resources import Making
from .signatures import Credentials, Refused, Signed, check_presigned, check_request, is_presigned, parse_query

MAX_BODY_BYTES = 25_000_000
"""Largest body of one request, in bytes: above the largest upload, so that the form's policy decides of that."""

IN_MEMORY_BYTES = 1_000_000
"""Of a larger body the rest waits in a file."""

SERVICES = frozenset({"s3", "dynamodb", "sqs", "secretsmanager"})
_MOTOS_OWN = ("/moto-api", "/latest/")
METHODS = ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"]
LONGEST_POLL_SECONDS = 20
LOOK_AGAIN_SECONDS = 1
"""How often a waiting receiver looks for messages whose time has come; new ones wake it at once."""


class Storage:
    """The services of one stack. `origins` are those of pages that may upload and fetch results."""

    def __init__(self, emulator: Emulator, credentials: Credentials, origins: tuple[str, ...] = ()) -> None:
        self._emulator, self._credentials, self._origins = emulator, credentials, origins
        self._sent = asyncio.Event()

    async def __call__(self, request: Request) -> Response:
        """The answer to a request, with CORS headers where its page may read it."""
        try:
            response = await self._answer(request)
        except Refused as refused:
            response = _refusal(refused)
        origin = request.headers.get("origin", "")
        if origin in self._origins and request.method in ("GET", "POST", "HEAD"):
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = "ETag"
            response.headers["Vary"] = "Origin"
        return response

    async def _answer(self, request: Request) -> Response:
        if request.method == "OPTIONS":
            return self._preflight(request)
        if request.scope["path"].startswith(_MOTOS_OWN):
            raise Refused("AccessDenied", 403, "Access Denied")
        signed = _signed(request)
        query = dict(parse_query(signed.query))
        form_type = request.headers.get("content-type", "").lower().startswith("multipart/form-data")
        if request.method == "POST" and form_type and "authorization" not in request.headers:
            return await self._upload(request)
        if is_presigned(query):
            if request.method not in ("GET", "HEAD"):
                raise Refused("AccessDenied", 403, "Access Denied")
            check_presigned(signed, query, self._credentials)
            return (await self._emulator.call("s3", request.method, signed)).response()
        return await self._serve(request, signed)

    def _preflight(self, request: Request) -> Response:
        origin, method = (request.headers.get(name, "") for name in ("origin", "access-control-request-method"))
        if origin not in self._origins or method not in ("GET", "POST"):
            raise Refused("AccessForbidden", 403, "CORSResponse: This CORS request is not allowed.")
        headers = {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Methods": "GET, POST",
            "Access-Control-Allow-Headers": request.headers.get("access-control-request-headers", ""),
            "Access-Control-Max-Age": "600",
            "Vary": "Origin, Access-Control-Request-Headers, Access-Control-Request-Method",
        }
        return Response(headers=headers)

    async def _upload(self, request: Request) -> Response:
        """A form of a browser: checked, then put as one object."""
        bucket = request.scope["path"].strip("/")
        async with _form(request) as form:
            fields, file = _split(form)
            forms.check(bucket, fields, file.size or 0, self._credentials)
            headers = {"content-type": fields.get("content-type", "binary/octet-stream")}
            path = quote(f"/{bucket}/{fields['key']}")
            stored = await self._emulator.call("s3", "PUT", Signed("PUT", path, "", headers), file.file, file.size or 0)
        if stored.status != 200:
            return stored.response()
        return Response(status_code=204, headers={"ETag": dict(stored.headers).get("ETag", "")})

    async def _serve(self, request: Request, signed: Signed) -> Response:
        """A request of the function, the worker or any other that knows the credentials."""
        with tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES) as body:
            size, digest = await _read(request, body)
            payload = request.headers.get("x-amz-content-sha256", digest)
            if payload != digest and not payload.startswith(("STREAMING-", "UNSIGNED-PAYLOAD")):
                raise Refused("XAmzContentSHA256Mismatch", 400, "The provided x-amz-content-sha256 does not match.")
            service = check_request(signed, payload, self._credentials)
            if service not in SERVICES:
                raise Refused("AccessDenied", 403, f"There is no {service} on one machine.")
            if service == "sqs" and request.headers.get("x-amz-target", "").endswith(".ReceiveMessage"):
                body.seek(0)
                return (await self._receive(request, signed, body.read())).response()
            answer = await self._emulator.call(service, request.method, signed, body, size)
        if service == "sqs":
            self._sent.set()
        return answer.response()

    async def _receive(self, request: Request, signed: Signed, body: bytes) -> Answer:
        """Long polling, outside of the lock that moto would hold for all of it."""
        wanted = json.loads(body)
        seconds = min(int(wanted.get("WaitTimeSeconds") or 0), LONGEST_POLL_SECONDS)
        text = json.dumps({**wanted, "WaitTimeSeconds": 0}).encode()
        ends = asyncio.get_running_loop().time() + seconds
        while True:
            self._sent.clear()
            answer = await self._emulator.call("sqs", "POST", signed, io.BytesIO(text), len(text))
            left = ends - asyncio.get_running_loop().time()
            if left <= 0 or answer.status != 200 or json.loads(answer.body).get("Messages"):
                return answer
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._sent.wait(), min(left, LOOK_AGAIN_SECONDS))
            if await request.is_disconnected():  # or a message would be given to nobody
                return answer


def _signed(request: Request) -> Signed:
    """The request as it was sent: percent signs and all."""
    raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    headers = {name: ",".join(request.headers.getlist(name)) for name in request.headers}
    return Signed(request.method, raw.decode("latin-1"), request.scope["query_string"].decode("latin-1"), headers)


def _too_large() -> Refused:
    return Refused("EntityTooLarge", 400, "Your proposed upload exceeds the maximum allowed size")


async def _read(request: Request, into: IO[bytes]) -> tuple[int, str]:
    """Copy the body; its size and SHA-256."""
    size, digest = 0, hashlib.sha256()
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise _too_large()
        digest.update(chunk)
        into.write(chunk)
    return size, digest.hexdigest()


@contextlib.asynccontextmanager
async def _form(request: Request) -> AsyncIterator[FormData]:
    """The fields of a form, its file beyond a megabyte on the disk; Refused where it is too large or broken."""
    size = 0

    async def receive() -> Message:
        nonlocal size
        message = await request.receive()
        size += len(message.get("body", b""))
        if size > MAX_BODY_BYTES:
            raise _too_large()
        return message

    try:
        form = await Request(request.scope, receive).form(max_files=1, max_fields=50, max_part_size=100_000)
    except (MultiPartException, HTTPException, ClientDisconnect):
        message = "The body of your POST request is not well-formed multipart/form-data."
        raise Refused("MalformedPOSTRequest", 400, message) from None
    try:
        yield form
    finally:
        await form.close()


def _split(form: FormData) -> tuple[dict[str, str], UploadFile]:
    """The fields before the file, by their names in lower case, and the file; what comes after it does not count."""
    fields: dict[str, str] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if name == "file":
                return fields, value
            break
        fields[name.lower()] = value
    raise Refused("InvalidArgument", 400, "POST requires exactly one file upload per request.")


def _refusal(refused: Refused) -> Response:
    text = f"<Error><Code>{refused.code}</Code><Message>{escape(refused.message)}</Message></Error>"
    return Response(f'<?xml version="1.0" encoding="UTF-8"?>\n{text}', refused.status, media_type="application/xml")


def application(makings: list[Making], credentials: Credentials, origins: tuple[str, ...] = ()) -> Starlette:
    """The ASGI application: it loads when it starts, and early callers wait in the socket's queue."""
    emulator = Emulator(makings)
    storage = Storage(emulator, credentials, origins)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await emulator.start()
        yield

    return Starlette(routes=[Route("/{path:path}", storage.__call__, methods=METHODS)], lifespan=lifespan)
