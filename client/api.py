"""The library: `Client`, which the command line is a thin layer over."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from functools import partial
from types import TracebackType

from client import answers, reading, settings
from client import photo as photos
from client.asking import Asker
from client.engine import Pace, Run
from client.errors import UsageError
from client.journal import Journal, Key
from client.reading import Photo
from client.results import Outcome
from client.sources import Listing, Source
from client.transport import Transport
from lambda_api.schema import DEFAULT_TOP_K, Health, ModelDescription


class Client:
    """Labels photos through one API. Safe to share between threads; close it, or use it in a `with`.

    Without a URL it is looked for in the environment, then in the profile file, then a running
    one-machine stack is used; NoApiError if there is none, UsageError if a setting is wrong.

        with Client("https://example.org/prod", "my key") as client:
            print(client.classify("dog.jpg").label)
            for outcome in client.classify_folder("photos"):
                print(outcome.path, outcome.label or outcome.error)
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        profile: str | None = None,
        top_k: int = DEFAULT_TOP_K,
        concurrency: int = settings.DEFAULT_CONCURRENCY,
        timeout: float = settings.DEFAULT_TIMEOUT,
        patience: float = settings.DEFAULT_PATIENCE,
        rate: float | None = None,
        shrink: bool = True,
    ) -> None:
        """`timeout` is seconds a try, `patience` seconds that a run waits for an API that is down.

        At most `concurrency` requests are under way in a run, and at most `rate` photos a second are sent.
        `shrink=False` sends files as they are, metadata included.
        """
        if top_k < 1 or concurrency < 1 or timeout <= 0 or patience < 0 or (rate is not None and rate <= 0):
            raise UsageError("top_k, concurrency, timeout, patience and rate must be above zero.")
        found = settings.resolve(url, api_key, profile)
        self._transport = Transport(found.url, found.api_key, timeout)
        self._top_k = top_k
        self._timeout = timeout
        self._pace = Pace(concurrency, timeout, rate, patience)
        self._shrink = shrink
        self._description: ModelDescription | None = None
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """Where the API is."""
        return self._transport.url

    def model(self) -> ModelDescription:
        """Ask for the model, its classes and the API's limits; ApiError or UnreachableError."""
        self._description = answers.description(self._transport.get("/v1/model"))
        return self._description

    def health(self) -> Health:
        """Ask whether the API and the model endpoint behind it answer; ApiError or UnreachableError."""
        return answers.health(self._transport.get("/v1/health"))

    def classify(self, photo: Photo) -> Outcome:
        """Label one photo: a path, an `http(s)://` URL, bytes or a binary file.

        Raises PhotoError where it cannot be sent, ApiError where the API refuses it, UnreachableError
        where no answer comes. The outcome it returns is always `ok`.
        """
        started = time.perf_counter()
        data = reading.read(photo, timeout=self._timeout)
        description = self._known()
        answer = self._asker(description).one(self._prepared(data, description))
        return Outcome(
            reading.name_of(photo),
            hashlib.sha256(data).hexdigest(),
            tuple(answer.predictions),
            answer.decision,
            model=answer.model.name,
            version=answer.model.version,
            ms=round((time.perf_counter() - started) * 1000, 1),
            options=self._options,
        )

    def classify_folder(self, folder: str | os.PathLike[str]) -> Iterator[Outcome]:
        """Label every photo in a folder and those below, in order of completion.

        Failures of single photos are outcomes with an `error`. Only what concerns all of them is raised: UsageError
        if there is no such folder, ApiError or UnreachableError before the first, or when the API stays down.
        """
        if not os.path.isdir(folder):
            raise UsageError(f"There is no folder {os.fspath(folder)}.", "For one photo there is classify().")
        self.preflight()
        return self.classify_many(Listing([os.fspath(folder)]))

    def classify_many(self, sources: Iterable[Source | None]) -> Generator[Outcome, None, None]:
        """Label all sources, one outcome each in order of completion; identical photos are sent once.

        Raises ApiError or UnreachableError where the API does not answer at the start, or stays down.
        """
        with Journal.temporary() as journal:
            with closing(self.run(journal).results(sources)) as results:
                for result in results:
                    journal.write(result.outcome)
                    yield result.outcome

    def run(self, journal: Journal, *, retry_failed: bool = False) -> Run:
        """A run with a journal, which the caller writes: every result that is not `kept`, before taking the next.

        Raises ApiError or UnreachableError where the API does not answer.
        """
        description = self._known()
        key = self.key(description)
        journal.begin(key, retry_failed=retry_failed)
        prepare = partial(self._prepared, description=description)
        return Run(self._transport, self._asker(description), prepare, journal, key, self._pace)

    def key(self, model: ModelDescription) -> Key:
        """What results of this client and a model depend on besides the photos."""
        return Key(model.name, model.version, self._options)

    def preflight(self) -> ModelDescription:
        """Ask for the model and check this client's settings against its limits, before photos are sent."""
        model = self.model()
        if self._top_k > model.limits.top_k:
            raise UsageError(f"top_k is {self._top_k}; the API gives {model.limits.top_k} labels at most.")
        return model

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _options(self) -> str:
        return f"top_k={self._top_k} shrink={photos.SHRINK_FACTOR if self._shrink else 'off'}"

    def _asker(self, description: ModelDescription) -> Asker:
        return Asker(self._transport, description, self._top_k)

    def _prepared(self, data: bytes, description: ModelDescription) -> photos.Upload:
        return photos.prepare(data, photos.Target.of(description), shrink=self._shrink)

    def _known(self) -> ModelDescription:
        with self._lock:  # the first photos of many threads ask once
            return self._description or self.model()
