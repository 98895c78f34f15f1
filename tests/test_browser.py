"""A real browser on a web page that calls the API: what pages of listed origins may read, and what others may not."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from local_stack.stack import Description
from tests.browser import Tab, browser
from tests.conftest import described, start_stack
from tests.photos import sample
from tests.servers import serving

pytestmark = pytest.mark.stack


async def page(_: Request) -> HTMLResponse:
    """An empty page of some web site."""
    return HTMLResponse("<!doctype html><title>Somebody's page</title>")


@pytest.fixture(scope="module")
def sites() -> Iterator[tuple[str, str, str]]:
    """Origins: two that are listed, one that is not."""
    site = Starlette(routes=[Route("/", page)])
    with serving(site) as first, serving(site) as second, serving(site) as stranger:
        yield first, second, stranger


@pytest.fixture(scope="module")
def api(archive: Path, sites: tuple[str, str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Description]:
    """The one-machine stack that lists two origins."""
    own = {"WHIPPET_STATE_FILE": str(tmp_path_factory.mktemp("state") / "stack.json")}
    with start_stack(archive, "--allow-origin", sites[0], "--allow-origin", sites[1], env=own) as process:
        yield described(process)


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    """A browser."""
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


CALL = """(async () => {
  const body = %(body)s === null ? undefined : Uint8Array.from(atob(%(body)s), (c) => c.charCodeAt(0));
  try {
    const answer = await fetch(%(url)s, { method: %(method)s, headers: %(headers)s, body });
    return { status: answer.status, id: answer.headers.get('x-request-id'), body: await answer.json() };
  } catch (error) { return { failed: String(error) }; }
})()"""


def fetch(tab: Tab, url: str, headers: dict[str, str], body: bytes | None = None, method: str = "POST") -> Any:
    """What a page's script learns of a request."""
    given = {
        "url": json.dumps(url),
        "method": json.dumps(method),
        "headers": json.dumps(headers),
        "body": json.dumps(None if body is None else base64.b64encode(body).decode()),
    }
    return tab.value(CALL % given)


@pytest.mark.parametrize("site", [0, 1])
def test_a_listed_page_gets_labels_and_readable_errors(
    tab: Tab, api: Description, sites: tuple[str, str, str], site: int
) -> None:
    """Labels; the function's error; the gateway's own, which without CORS would be "Failed to fetch"."""
    tab.visit(sites[site] + "/")
    headers = {"x-api-key": api.api_key, "content-type": "image/png"}
    good = fetch(tab, f"{api.url}/v1/classify", headers, sample("coffee.png"))
    assert good["body"]["predictions"][0]["label"] == "espresso"
    assert good["id"] == good["body"]["request_id"]
    bad = fetch(tab, f"{api.url}/v1/classify", headers, b"no photo")
    assert (bad["status"], bad["body"]["code"]) == (415, "unsupported_media_type")
    refused = fetch(tab, f"{api.url}/v1/classify", {**headers, "x-api-key": "wrong"}, b"x")
    assert (refused["status"], refused["body"]["code"]) == (403, "forbidden")
    assert refused["id"] == refused["body"]["request_id"]


def test_a_strangers_page_gets_nothing(tab: Tab, api: Description, sites: tuple[str, str, str]) -> None:
    """Neither labels, though it has the key, nor errors, nor what needs no key."""
    tab.visit(sites[2] + "/")
    headers = {"x-api-key": api.api_key, "content-type": "image/png"}
    for url, body, method in (
        (f"{api.url}/v1/classify", sample("coffee.png"), "POST"),
        (f"{api.url}/v1/classify", b"no photo", "POST"),
        (f"{api.url}/v1/health", None, "GET"),
    ):
        assert fetch(tab, url, headers, body, method)["failed"] == "TypeError: Failed to fetch"


UPLOAD = """(async () => {
  try {
    const ticket = %s, form = new FormData();
    for (const [name, value] of Object.entries(ticket.fields)) form.append(name, value);
    form.append('file', new Blob([Uint8Array.from(atob(%s), (c) => c.charCodeAt(0))]));
    return (await fetch(ticket.url, { method: 'POST', body: form })).status;
  } catch (error) { return String(error); }
})()"""


def test_a_page_uploads_and_follows_a_job(tab: Tab, api: Description, sites: tuple[str, str, str]) -> None:
    """The form goes to the bucket, which lists the same origins; a job's results can be fetched by the page."""
    headers = {"x-api-key": api.api_key, "content-type": "application/json"}
    tab.visit(sites[0] + "/")
    ticket = fetch(tab, f"{api.url}/v1/uploads", headers, b'{"content_type": "image/png"}')["body"]
    photo = json.dumps(base64.b64encode(sample("coffee.png")).decode())
    tab.visit(sites[2] + "/")
    assert tab.value(UPLOAD % (json.dumps(ticket), photo)) == "TypeError: Failed to fetch"
    tab.visit(sites[0] + "/")
    assert tab.value(UPLOAD % (json.dumps(ticket), photo)) == 204
    asked = json.dumps({"uploads": [{"upload": ticket["upload"], "id": "coffee"}]}).encode()
    job = fetch(tab, f"{api.url}/v1/jobs", headers, asked)["body"]
    address = f"{api.url}/v1/jobs/{job['id']}"
    script = f"fetch({json.dumps(address)}, {{ headers: {json.dumps(headers)} }}).then((answer) => answer.json())"
    tab.until(f"{script}.then((job) => job.state === 'done')", 30)
    done = fetch(tab, address, headers, method="GET")["body"]
    text = tab.value(f"(async () => await (await fetch({json.dumps(done['results']['url'])})).text())()")
    assert json.loads(text)["predictions"][0]["label"] == "espresso"
