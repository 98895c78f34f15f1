"""Moto's server in this process: S3, DynamoDB, SQS and Secrets Manager, in memory.

Each service works on one request at a time, since moto has no locks. Nothing is checked here; `storage` does that.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import unquote

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from . import shortcuts
from .errors import StackError
from .resources import REGION, Making
from .signatures import Signed

Wsgi = Callable[..., Any]


@dataclass(frozen=True)
class Answer:
    """What moto says."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def response(self) -> Response:
        """The same as Starlette's; lengths are counted again."""
        response = Response(self.body, self.status)
        for name, value in self.headers:
            if name.lower() not in ("content-length", "connection", "date", "server"):
                response.headers[name] = value
        return response


class Emulator:
    """The services with the resources that `makings` make."""

    def __init__(self, makings: list[Making]) -> None:
        self._makings = makings
        self._moto: Wsgi | None = None
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def start(self) -> None:
        """Load moto, in a thread, and make the resources; StackError where one is not made."""
        self._moto = await run_in_threadpool(_load)
        for making in self._makings:
            method = "POST" if making.target else "PUT"
            headers = {"x-amz-target": making.target, "content-type": "application/x-amz-json-1.0"}
            body = json.dumps(making.body).encode() if making.target else b""
            request = Signed(method, making.path, "", headers if making.target else {})
            answer = await self.call(making.service, method, request, io.BytesIO(body), len(body))
            if answer.status != 200:
                raise StackError(f"{making.target or making.path} cannot be made: {answer.body.decode()}")

    async def call(
        self, service: str, method: str, signed: Signed, body: IO[bytes] | None = None, size: int = 0
    ) -> Answer:
        """What moto says to a request whose signature was checked, or that needs none."""
        environ = _environ(method, signed, service)
        async with self._locks[service]:
            return await run_in_threadpool(_run, self._moto, environ, body or io.BytesIO(), size)


def _environ(method: str, signed: Signed, service: str) -> dict[str, Any]:
    """WSGI's view of a request. Moto goes by the credential to see which service is meant."""
    credential = f"MOTO/20260101/{REGION}/{service}/aws4_request"
    environ: dict[str, Any] = {f"HTTP_{n.upper().replace('-', '_')}": v for n, v in signed.headers.items()}
    return environ | {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote(signed.path, "latin-1"),
        "RAW_URI": signed.path,
        "QUERY_STRING": signed.query,
        "HTTP_HOST": signed.headers.get("host", "127.0.0.1"),
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_TYPE": signed.headers.get("content-type", ""),
        "HTTP_AUTHORIZATION": f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature=0",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }


def _run(moto: Any, environ: dict[str, Any], body: IO[bytes], size: int) -> Answer:
    from werkzeug.test import run_wsgi_app

    body.seek(0)
    chunks, status, headers = run_wsgi_app(moto, {**environ, "wsgi.input": body, "CONTENT_LENGTH": str(size)}, True)
    return Answer(int(status.split()[0]), list(headers), b"".join(chunks))


def _load() -> Wsgi:
    """Moto's server."""
    # Read at import: pages get the bucket's CORS rule and no other, photos lie on the disk.
    os.environ |= {"MOTO_DISABLE_GLOBAL_CORS": "true", "MOTO_S3_DEFAULT_KEY_BUFFER_SIZE": "65536"}
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    shortcuts.take()
    server: Wsgi = DomainDispatcherApplication(create_backend_app)
    return server
