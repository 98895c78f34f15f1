"""Webhooks: called at a job's end, signed so that a receiver can tell, tried again until taken."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tests.api_world import SECRET, JobWorld, job_world
from tests.job_steps import start, state, uploaded
from tests.servers import serving


class Receiver:
    """Somebody's server: it answers as told and keeps what came."""

    def __init__(self) -> None:
        self.status = 204
        self.calls: list[tuple[dict[str, str], bytes]] = []
        self.elsewhere = 0

    async def __call__(self, request: Request) -> Response:
        """One call."""
        if request.url.path == "/elsewhere":
            self.elsewhere += 1
        self.calls.append((dict(request.headers), await request.body()))
        return RedirectResponse("/elsewhere") if self.status == 307 else Response(status_code=self.status)


@pytest.fixture
def receiver() -> Receiver:
    """One that takes calls."""
    return Receiver()


@pytest.fixture
def address(receiver: Receiver) -> Iterator[str]:
    """Where it listens."""
    with serving(Starlette(routes=[Route("/{path:path}", receiver.__call__, methods=["POST"])])) as url:
        yield url


@pytest.fixture
def world(address: str) -> Iterator[JobWorld]:
    """An API that may call it."""
    with job_world(WEBHOOK_ORIGINS=address) as found:
        found.hooks.last_is_damaged = False
        yield found


@pytest.fixture
def handler(world: JobWorld) -> Any:
    """The function of that world."""
    from lambda_api.app import handler

    return handler


def test_the_end_is_told_and_signed(world: JobWorld, handler: Any, receiver: Receiver, address: str) -> None:
    """By Standard Webhooks: what a receiver computes with its secret is in the header; the body is the job."""
    job = start(handler, uploads=uploaded(world, handler, 2), webhook=f"{address}/done")
    assert job["webhook"] == "waiting"
    world.work()
    ((headers, body),) = receiver.calls
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(SECRET, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    told = json.loads(body)
    assert (told["id"], told["state"], told["ok"]) == (job["id"], "done", 2)
    assert told["results"]["url"].startswith("http")
    assert state(handler, job)["webhook"] == "delivered"


@pytest.mark.parametrize("status", [500, 404, 307])
def test_it_is_tried_again(world: JobWorld, handler: Any, receiver: Receiver, address: str, status: int) -> None:
    """The job is done meanwhile; redirects are not followed, since they may lead anywhere."""
    receiver.status = status
    job = start(handler, uploads=uploaded(world, handler, 1), webhook=f"{address}/done")
    world.work()
    assert (state(handler, job)["state"], state(handler, job)["webhook"]) == ("done", "waiting")
    receiver.status = 200
    world.show_again()
    world.work()
    assert state(handler, job)["webhook"] == "delivered"
    assert (len(receiver.calls), receiver.elsewhere) == (2, 0)


def test_it_is_given_up(world: JobWorld, handler: Any, receiver: Receiver, address: str) -> None:
    """After the last try, and said."""
    receiver.status = 500
    job = start(handler, uploads=uploaded(world, handler, 1), webhook=f"{address}/done")
    while state(handler, job)["state"] != "done":
        world.deliver()
    world.deliver(tries=9)
    assert state(handler, job)["webhook"] == "failed"
    world.show_again()
    assert world.deliver() == 0


def test_failed_and_cancelled_jobs_are_told_too(
    world: JobWorld, handler: Any, receiver: Receiver, address: str
) -> None:
    """Whoever waits for the call is not left waiting."""
    from tests.api_world import SOURCE, call

    start(handler, prefix=f"s3://{SOURCE}/2026/", webhook=f"{address}/empty")
    job = start(handler, uploads=uploaded(world, handler, 1), webhook=f"{address}/cancelled")
    call(handler, "DELETE", f"/v1/jobs/{job['id']}")
    world.work()
    assert sorted(json.loads(body)["state"] for _, body in receiver.calls) == ["cancelled", "failed"]
