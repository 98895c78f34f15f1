"""The library for asyncio: `AsyncClient`, which asks in threads what `client.api.Client` asks.

Threads, since shrinking photos and reading files would hold up an event loop in any case: with them there is one
implementation of retries, packs and pauses, not two, and the event loop stays free.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial, wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar

from client import settings
from client.api import Client
from client.errors import UsageError
from client.journal import Journal
from client.reading import Photo
from client.results import Outcome
from client.sources import Listing, Source
from client.steps import Result
from lambda_api.schema import Health, ModelDescription

P = ParamSpec("P")
T = TypeVar("T")


def _taking_what(original: Callable[Concatenate[Any, P], None]) -> Callable[[Any], Callable[Concatenate[Any, P], None]]:
    """For a constructor that hands everything on to another: its parameters and words, not written a second time."""
    return wraps(original)


class AsyncClient:
    """`Client` with awaitable calls: the same constructor, the same outcomes, the same exceptions.

    Close it, or use it in an `async with`; it may be shared between tasks, `concurrency` of which have their photo
    under way at once. A call that is cancelled gives up its answer, while its request ends by itself.

        async with AsyncClient("https://example.org/prod", "my key") as client:
            print((await client.classify("dog.jpg")).label)
            async for outcome in client.classify_folder("photos"):
                print(outcome.path, outcome.label or outcome.error)
    """

    @_taking_what(Client.__init__)
    def __init__(self, *args: Any, **options: Any) -> None:
        self._client = Client(*args, **options)
        threads = options.get("concurrency", settings.DEFAULT_CONCURRENCY)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="classify")

    @property
    def url(self) -> str:
        """Where the API is."""
        return self._client.url

    async def model(self) -> ModelDescription:
        """Ask for the model, its classes and the API's limits; ApiError or UnreachableError."""
        return await _within(self._threads, self._client.model)

    async def health(self) -> Health:
        """Ask whether the API and the model endpoint behind it answer; ApiError or UnreachableError."""
        return await _within(self._threads, self._client.health)

    async def classify(self, photo: Photo) -> Outcome:
        """Label one photo, as `Client.classify`: what it takes, returns and raises is the same."""
        return await _within(self._threads, self._client.classify, photo)

    def classify_folder(self, folder: str | os.PathLike[str]) -> AsyncGenerator[Outcome, None]:
        """Label every photo in a folder and those below, as `Client.classify_folder`; it raises when iterated."""
        return self._outcomes(partial(_listing, self._client, folder))

    def classify_many(self, sources: Iterable[Source | None]) -> AsyncGenerator[Outcome, None]:
        """Label all sources, as `Client.classify_many`; they are iterated in a thread.

        Nothing is read ahead but what keeps requests under way. Leaving the loop, or cancelling it, stops the run.
        Where the iterator outlives the loop in a variable, `contextlib.aclosing` ends the run for certain.
        """
        return self._outcomes(lambda: sources)

    async def aclose(self) -> None:
        """Close the connections, once what is under way has ended."""
        await asyncio.to_thread(self._threads.shutdown)
        self._client.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _outcomes(self, listed: Callable[[], Iterable[Source | None]]) -> AsyncGenerator[Outcome, None]:
        """A run in a thread of its own, which takes one result at a time: that is how the loop holds it back."""
        thread = ThreadPoolExecutor(1, thread_name_prefix="outcomes")
        journal, run, results = Journal.temporary(), None, None
        try:
            sources = await _within(thread, listed)
            run = await _within(thread, self._client.run, journal)
            results = run.results(sources)
            while outcome := await _within(thread, _next, results, journal):
                yield outcome
        finally:
            if run is not None:
                run.stop()  # here, since the thread may be waiting for an answer
            closed = thread.submit(_close, results, journal)
            thread.shutdown(wait=False)
            await asyncio.shield(asyncio.wrap_future(closed))  # who has no time to wait for it must not prevent it


def _within(threads: Executor, work: Callable[P, T], *args: P.args, **options: P.kwargs) -> asyncio.Future[T]:
    """The result of a call that is made in another thread, with this task's context variables."""
    call = partial(contextvars.copy_context().run, work, *args, **options)
    return asyncio.get_running_loop().run_in_executor(threads, call)


def _listing(client: Client, folder: str | os.PathLike[str]) -> Listing:
    if not os.path.isdir(folder):
        raise UsageError(f"There is no folder {os.fspath(folder)}.", "For one photo there is classify().")
    client.preflight()
    return Listing([os.fspath(folder)])


def _next(results: Generator[Result, None, None], journal: Journal) -> Outcome | None:
    result = next(results, None)
    if result is None:
        return None
    journal.write(result.outcome)
    return result.outcome


def _close(results: Generator[Result, None, None] | None, journal: Journal) -> None:
    if results is not None:
        results.close()
    journal.close()
