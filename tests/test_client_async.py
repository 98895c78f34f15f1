"""The library for asyncio: what the other does, without holding up the event loop, and leaving no thread behind."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import inspect
import threading
import time
from collections.abc import AsyncGenerator, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from client import Client, NoApiError, PhotoError, UnreachableError, UsageError
from client.aio import AsyncClient
from client.results import Outcome
from client.sources import Source
from tests.fake_api import KEY, FakeApi, Fault, Request, fake_api, photo, quick_waits, refusal

pytestmark = pytest.mark.filterwarnings("error")
COLORS = ("red", "lime", "blue")


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    """A running stand-in, and retries whose waits are short."""
    quick_waits(monkeypatch)
    with fake_api() as running:
        yield running


@pytest.fixture(autouse=True)
def _no_thread_is_left(api: FakeApi) -> Iterator[None]:
    """Every test ends with the threads it began with, but for the stand-in's, which end with their connections."""
    before = set(threading.enumerate())
    yield
    gc.collect()
    deadline = time.monotonic() + 10
    while left := [thread for thread in set(threading.enumerate()) - before if "process_request" not in thread.name]:
        assert time.monotonic() < deadline, left
        time.sleep(0.01)


def _client(api: FakeApi, **options: Any) -> AsyncClient:
    return AsyncClient(api.url, KEY, **{"patience": 0.3, "timeout": 5.0} | options)


def _photos(folder: Path, number: int) -> list[Source]:
    return [Source(str(photo(folder / f"{i}.png", COLORS[i % 3], (40 + i, 30)))) for i in range(number)]


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    """As a program would, with asyncio's own warnings on, which are errors here."""
    return asyncio.run(work, debug=True)


def test_one_photo(api: FakeApi, tmp_path: Path) -> None:
    """The same outcome as the other client's, but for the time it took."""
    path = photo(tmp_path / "sky.png", "blue")

    async def work() -> Outcome:
        async with _client(api) as client:
            return await client.classify(path)

    with Client(api.url, KEY) as client:
        expected = client.classify(path).to_dict()
    assert _run(work()).to_dict() | {"ms": 0} == expected | {"ms": 0}


def test_model_health_and_url(api: FakeApi) -> None:
    """What there is besides photos."""

    async def work() -> tuple[str, str, str]:
        async with _client(api) as client:
            return (await client.model()).name, (await client.health()).model.version, client.url

    assert _run(work()) == ("fake", "v1", api.url)


def test_the_constructor_is_the_other_client_s(api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same parameters, and what is wrong with them is said in the same way."""
    monkeypatch.setenv("WHIPPET_STATE_FILE", str(tmp_path / "no stack runs"))
    assert inspect.signature(AsyncClient) == inspect.signature(Client)
    with pytest.raises(UsageError):
        _client(api, concurrency=0)
    with pytest.raises(NoApiError):
        AsyncClient()


def test_errors_are_the_same_classes(api: FakeApi, tmp_path: Path) -> None:
    """Of single photos, of the API, and of a folder that is not there."""
    api.always = Fault(wait=0.6)

    async def work() -> None:
        async with _client(api, timeout=0.2) as client:
            with pytest.raises(PhotoError, match="No such file"):
                await client.classify(tmp_path / "missing.jpg")
            with pytest.raises(UnreachableError, match=r"within 0\.2 s"):
                await client.classify(photo(tmp_path / "a.png"))
            with pytest.raises(UsageError, match="no folder"):
                await anext(client.classify_folder(tmp_path / "missing"))
        async with _client(api, top_k=5000) as client:
            with pytest.raises(UsageError, match="1000"):
                await anext(client.classify_folder(tmp_path))

    _run(work())


def test_many_photos_at_once_leave_the_event_loop_free(api: FakeApi, tmp_path: Path) -> None:
    """Photos of one gather are under way together, as many as `concurrency` allows, while other tasks go on."""
    paths = [source.name for source in _photos(tmp_path, 8)]
    gate, answer = threading.Event(), api.next_fault

    def held(request: Request) -> Fault | None:
        fault = answer(request)
        assert request.method == "GET" or gate.wait(30)
        return fault

    api.next_fault = held  # type: ignore[method-assign]  # of this one object

    async def opened_by_another_task() -> int:
        while len(api.posts) < 4:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        gate.set()
        return len(api.posts)

    async def work() -> tuple[list[Outcome], int]:
        async with _client(api, concurrency=4) as client:
            other = asyncio.create_task(opened_by_another_task())
            return list(await asyncio.gather(*map(client.classify, paths))), await other

    outcomes, at_once = _run(work())
    assert [outcome.path for outcome in outcomes] == paths
    assert at_once == 4


def test_context_variables_go_along(api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a task has set is seen where its photo is read, so that logs know whose it is."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nobody")
    seen = []
    original = Client.classify

    def classify(self: Client, given: Any) -> Outcome:
        seen.append(variable.get())
        return original(self, given)

    monkeypatch.setattr(Client, "classify", classify)

    async def one(client: AsyncClient, name: str) -> None:
        variable.set(name)
        await client.classify(photo(tmp_path / f"{name}.png"))

    async def work() -> None:
        async with _client(api) as client:
            await asyncio.gather(one(client, "anna"), one(client, "bert"))

    _run(work())
    assert sorted(seen) == ["anna", "bert"]


def test_a_folder_is_a_stream_of_outcomes(api: FakeApi, tmp_path: Path) -> None:
    """Every photo has one outcome, failures too, and identical ones are sent once."""
    _photos(tmp_path, 30)
    (tmp_path / "copy.png").write_bytes((tmp_path / "0.png").read_bytes())
    (tmp_path / "torn.jpg").write_bytes(b"\xff\xd8\xff")

    async def work() -> dict[str, str | None]:
        async with _client(api) as client:
            return {Path(o.path).name: o.label async for o in client.classify_folder(tmp_path)}

    labels = _run(work())
    assert len(labels) == 32
    assert (labels["0.png"], labels["copy.png"], labels["4.png"], labels["torn.jpg"]) == ("red", "red", "green", None)
    assert len(api.posts) < 30


def test_what_ends_a_run_is_raised_after_its_outcomes(api: FakeApi, tmp_path: Path) -> None:
    """An API that goes away in the middle: what it answered comes first."""
    api.dies_after = 2
    done = []

    async def work() -> None:
        async with _client(api) as client:
            async for outcome in client.classify_many(_photos(tmp_path, 60)):
                done.append(outcome)

    with pytest.raises(UnreachableError):
        _run(work())
    assert 0 < len(done) < 60


def test_a_slow_consumer_holds_the_run_back(api: FakeApi, tmp_path: Path) -> None:
    """A listing of any length is taken from no further than keeps the run busy."""
    path, taken = str(photo(tmp_path / "a.png")), []

    def endless() -> Iterator[Source]:
        for number in range(100_000):
            taken.append(number)
            yield Source(path)

    async def work() -> None:
        async with _client(api, concurrency=2) as client, contextlib.aclosing(client.classify_many(endless())) as found:
            for _ in range(3):
                await anext(found)
                await asyncio.sleep(0.1)

    _run(work())
    assert len(taken) < 500


def test_leaving_the_loop_stops_the_run(api: FakeApi, tmp_path: Path) -> None:
    """A break, without any care taken: nothing more is sent, and no thread is left."""
    sources = _photos(tmp_path, 200)

    async def work() -> int:
        async with _client(api, concurrency=1) as client:
            async for _ in client.classify_many(sources):
                break
            await asyncio.sleep(0)
        return len(api.posts)

    sent = _run(work())
    time.sleep(0.2)
    assert len(api.posts) == sent < 20


def test_cancelling_stops_the_run(api: FakeApi, tmp_path: Path) -> None:
    """In the middle of waiting for an answer: the task ends, and what was to come is not sent."""
    api.always = Fault(wait=0.2)

    async def consume(client: AsyncClient) -> None:
        async for _ in client.classify_many(_photos(tmp_path, 300)):
            pass

    async def work() -> None:
        async with _client(api, concurrency=2) as client:
            task = asyncio.create_task(consume(client))
            while not api.posts:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    _run(work())
    assert len(api.posts) < 10


def test_cancelling_a_run_that_waits_for_its_api(api: FakeApi, tmp_path: Path) -> None:
    """A run that would wait for minutes for an API that is down ends at once."""
    sources = _photos(tmp_path, 3)
    api.always = refusal("endpoint_unavailable")

    async def work() -> None:
        async with _client(api, patience=600.0) as client:
            await client.model()
            api.on_get = refusal("endpoint_unavailable")
            stream = client.classify_many(sources)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(anext(stream), 0.5)

    started = time.monotonic()
    _run(work())
    assert time.monotonic() - started < 20


def test_cancelling_before_the_first_answer(api: FakeApi, tmp_path: Path) -> None:
    """While the model is asked for: nothing is sent then."""
    api.on_get = Fault(wait=0.3)

    async def work() -> None:
        async with _client(api) as client:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(anext(client.classify_folder(tmp_path)), 0.05)

    _photos(tmp_path, 3)
    _run(work())
    assert api.posts == []


def test_a_stream_that_is_never_iterated(api: FakeApi, tmp_path: Path) -> None:
    """It costs nothing, and nothing warns of it."""

    async def work() -> None:
        async with _client(api) as client:
            client.classify_many(_photos(tmp_path, 1))

    _run(work())
    assert api.requests == []


def test_streams_side_by_side(api: FakeApi, tmp_path: Path) -> None:
    """Runs of one client, and single photos in the middle of one, do not wait for each other's end."""
    sources = _photos(tmp_path, 20)

    async def work() -> list[str | None]:
        async with _client(api, concurrency=1) as client:
            first, second = client.classify_many(sources), client.classify_many(sources)
            found: list[str | None] = [(await anext(stream)).status for stream in (first, second)]
            found.append((await client.classify(sources[0].name)).label)
            return [*found, *[o.status for o in await _rest(first)], *[o.status for o in await _rest(second)]]

    assert _run(work()) == ["ok", "ok", "red"] + ["ok"] * 38


async def _rest(stream: AsyncGenerator[Outcome, None]) -> list[Outcome]:
    return [outcome async for outcome in stream]
