"""What tests of jobs do with the function: begin one, look at it, read its lines."""

from __future__ import annotations

import json
from typing import Any

import requests

from tests.api_world import BUCKET, PHOTO, JobWorld, call

IN_JSON = {"content-type": "application/json"}


def start(handler: Any, **document: Any) -> dict[str, Any]:
    """A job, as it was answered."""
    status, job, headers = call(handler, "POST", "/v1/jobs", json.dumps(document), IN_JSON)
    assert status == 202, job
    assert headers["location"] == f"jobs/{job['id']}"
    assert headers["retry-after"] == "5"
    return job


def state(handler: Any, job: dict[str, Any]) -> dict[str, Any]:
    """The job as it is now."""
    status, found, _ = call(handler, "GET", f"/v1/jobs/{job['id']}")
    assert status == 200
    return found


def lines(handler: Any, job: dict[str, Any]) -> list[dict[str, Any]]:
    """The job's results."""
    text = requests.get(state(handler, job)["results"]["url"], timeout=9).text
    return [json.loads(line) for line in text.splitlines()]


def uploaded(world: JobWorld, handler: Any, count: int) -> list[dict[str, str]]:
    """So many uploads, as a job's request names them."""
    items = []
    for n in range(count):
        ticket = call(handler, "POST", "/v1/uploads")[1]
        world.put(ticket["fields"]["key"], PHOTO + bytes([n % 256]), BUCKET)
        items.append({"id": f"dog {n}.jpg", "upload": ticket["upload"]})
    return items
