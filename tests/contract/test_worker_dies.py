"""Jobs on MiniStack whose workers are killed half-way or overtaken, and the webhook that is called at the end."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import http.server
import json
import secrets
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from local_stack.stack import Description
from tests.contract.conftest import SOURCE
from tests.contract.world import Api, Photos
from tests.ministack_host import Deployment, MiniStack
from tests.photos import jpeg
from tests.servers import serving

SIZES = [(160 + 7 * n, 120) for n in range(23)]
HIDDEN_SECONDS = 2
"""For the template's 240, so that a dead worker's messages come back while a test can wait."""


class Between:
    """Stands before the model endpoint and does harm as often as told.

    It kills the workers `before` the answer or `after` it, or is so `slow` that another worker gets the same photos.
    """

    def __init__(self, emulator: MiniStack, endpoint_url: str) -> None:
        self._emulator, self._endpoint_url = emulator, endpoint_url
        self.function, self.url = "", ""
        self.before, self.after, self.slow, self.killed = 0, 0, 0, 0
        self._lock = threading.Lock()

    async def __call__(self, request: Request) -> Response:
        """The endpoint's answer, or none that anybody hears."""
        body = await request.body()
        return await asyncio.to_thread(self._answer, request, body)

    def _answer(self, request: Request, body: bytes) -> Response:
        if self._told("before"):
            self._kill()
        if self._told("slow"):
            time.sleep(2 * HIDDEN_SECONDS)
        names = ("content-type", "accept", "x-amzn-sagemaker-custom-attributes")
        headers = {name: request.headers[name] for name in names if name in request.headers}
        answer = requests.post(self._endpoint_url + request.url.path, data=body, headers=headers, timeout=60)
        if self._told("after"):
            # Some time after it has the answer: perhaps it has written it down, perhaps not, perhaps in between.
            threading.Timer(0.03, self._kill).start()
        return Response(answer.content, answer.status_code, {"Content-Type": answer.headers["Content-Type"]})

    def _told(self, when: str) -> bool:
        with self._lock:
            left: int = getattr(self, when)
            setattr(self, when, max(0, left - 1))
        return left > 0

    def _kill(self) -> None:
        for process in self._emulator.processes(self.function):
            with suppress(psutil.NoSuchProcess):
                process.kill()
                self.killed += 1


class Hooks:
    """Webhooks that came, as (headers, body)."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.came: list[tuple[dict[str, str], bytes]] = []


@contextmanager
def listening(certificate: Path) -> Iterator[Hooks]:
    """A receiver of webhooks."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.came.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        found = Hooks(f"https://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def between(emulator: MiniStack, stack: Description) -> Iterator[Between]:
    """It listens."""
    found = Between(emulator, stack.endpoint_url)
    with serving(Starlette(routes=[Route("/{path:path}", found.__call__, methods=["POST"])])) as url:
        found.url = url
        yield found


@pytest.fixture(scope="module")
def hooks(emulator: MiniStack) -> Iterator[Hooks]:
    """Where webhooks go: HTTPS by the emulator's certificate, which its functions trust."""
    with listening(Path(emulator.certificate)) as found:
        yield found


@pytest.fixture(scope="module")
def mortal(emulator: MiniStack, between: Between, hooks: Hooks) -> Deployment:
    """A stack whose worker asks by way of `between`, and whose messages soon come back."""
    stack = emulator.deploy("mortal", PhotoBucket=SOURCE, WebhookOrigins=hooks.origin, JobConcurrency="2")
    between.function = stack.resources["Worker"]
    functions = emulator.client("lambda")
    environment = functions.get_function_configuration(FunctionName=between.function)["Environment"]["Variables"]
    environment["AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME"] = between.url
    functions.update_function_configuration(FunctionName=between.function, Environment={"Variables": environment})
    emulator.client("sqs").set_queue_attributes(
        QueueUrl=stack.resources["Queue"], Attributes={"VisibilityTimeout": str(HIDDEN_SECONDS)}
    )
    return stack


@pytest.fixture(scope="module")
def api(emulator: MiniStack, mortal: Deployment) -> Api:
    """Its API, and photos that jobs may read."""
    photos = Photos(SOURCE, f"{secrets.token_hex(4)}/", emulator.client("s3"))
    for number, size in enumerate(SIZES):
        photos.put(f"{number:02d}.jpg", jpeg(size))
    return Api(mortal.url, mortal.key, verify=emulator.certificate, photos=photos)


@pytest.mark.parametrize("harm", ["before", "after", "slow"])
def test_no_photo_is_lost_or_done_twice_when_workers_die(
    emulator: MiniStack, api: Api, between: Between, mortal: Deployment, harm: str
) -> None:
    """Killed while the model works or while its answers are written down, overtaken: each photo has its one line."""
    assert api.photos is not None
    between.killed = 0
    setattr(between, harm, 2)
    job = api.ended(api.document("POST", "/v1/jobs", 202, json={"prefix": api.photos.prefix})["id"])
    assert getattr(between, harm) == 0 and (between.killed >= 2 or harm == "slow")
    assert (job["state"], job["photos"], job["ok"], job["failed"]) == ("done", len(SIZES), len(SIZES), 0)
    paths = [line["path"] for line in api.lines(job)]
    assert paths == [f"{api.photos.prefix}{number:02d}.jpg" for number in range(len(SIZES))]
    letters = emulator.client("sqs").receive_message(QueueUrl=mortal.resources["DeadLetters"])
    assert not letters.get("Messages")


def test_the_webhook_is_called_with_a_signature_that_its_secret_proves(
    emulator: MiniStack, api: Api, mortal: Deployment, hooks: Hooks
) -> None:
    """Once the job is done, by Standard Webhooks' rules, with the secret that the template made."""
    assert api.photos is not None
    body = {"prefix": f"{api.photos.prefix}00", "webhook": f"{hooks.origin}/done?x=1"}
    begun = api.document("POST", "/v1/jobs", 202, json=body)
    assert begun["webhook"] == "waiting"
    until = time.monotonic() + 30
    while (job := api.document("GET", f"/v1/jobs/{begun['id']}", 200))["webhook"] == "waiting":
        assert time.monotonic() < until, emulator.said(mortal.outputs["WorkerLog"])
        time.sleep(0.1)
    assert job["webhook"] == "delivered" and job["state"] == "done"
    ((headers, told),) = hooks.came
    assert headers["webhook-id"] == begun["id"] and abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    secret = emulator.client("secretsmanager").get_secret_value(SecretId=mortal.resources["WebhookSecret"])
    signed = b".".join((headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), told))
    digest = hmac.new(base64.b64decode(secret["SecretString"]), signed, hashlib.sha256).digest()
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"
    document = json.loads(told)
    assert (document["id"], document["state"], document["ok"]) == (begun["id"], "done", 1)
    lines = requests.get(document["results"]["url"], verify=api.verify, timeout=30).text.splitlines()
    assert len(lines) == 1
