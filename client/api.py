"""The library: `Client`, which the command line is a thin layer over."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from types import TracebackType

from client import answers, photo, pool, reading, settings
from client.errors import ClientError, PhotoError, UsageError
from client.reading import Photo
from client.results import Failure, Outcome
from client.sources import Listing, Source
from client.transport import Transport
from lambda_api.schema import DEFAULT_TOP_K, Health, ModelDescription

log = logging.getLogger(__name__)


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
        shrink: bool = True,
    ) -> None:
        """`timeout` is seconds a try; `concurrency` photos are under way at once in `classify_folder`.

        `shrink=False` sends files as they are, metadata included.
        """
        if top_k < 1 or concurrency < 1 or timeout <= 0:
            raise UsageError("top_k, concurrency and timeout must be above zero.")
        found = settings.resolve(url, api_key, profile)
        self._transport = Transport(found.url, found.api_key, timeout)
        self._top_k = top_k
        self._concurrency = concurrency
        self._timeout = timeout
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
        return self._ask(reading.name_of(photo), data, hashlib.sha256(data).hexdigest(), started)

    def classify_folder(self, folder: str | os.PathLike[str]) -> Iterator[Outcome]:
        """Label every photo in a folder and those below, in order of completion.

        Failures of single photos are outcomes with an `error`. Only what concerns all of them is
        raised: UsageError if there is no such folder, ApiError or UnreachableError before the first.
        """
        if not os.path.isdir(folder):
            raise UsageError(f"There is no folder {os.fspath(folder)}.", "For one photo there is classify().")
        self.preflight()
        return self.classify_many(Listing([os.fspath(folder)]))

    def classify_many(self, sources: Iterable[Source]) -> Generator[Outcome, None, None]:
        """Label all sources, `concurrency` at once, one outcome each in order of completion; never raises."""
        photo.formats()  # here, since Pillow's loading of its plugins is not made for threads
        return pool.run(self._outcome, sources, self._concurrency)

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

    def _outcome(self, source: Source) -> Outcome:
        """One source's outcome, whatever happens: a run ends with one line for every photo."""
        started, digest = time.perf_counter(), None
        try:
            if source.problem:
                raise PhotoError("unreadable", source.problem, "Check that you may read it.")
            data = reading.read(source.name, timeout=self._timeout)
            digest = hashlib.sha256(data).hexdigest()
            return self._ask(source.name, data, digest, started)
        except ClientError as error:
            failure = Failure.of(error)
        except Exception as error:  # a bug or no memory left: the other photos still get their lines
            log.debug("unexpected error", exc_info=True)
            failure = Failure("client_error", f"The client failed: {type(error).__name__}.", "Report it, please.")
        model = self._description
        return Outcome(
            source.name,
            digest,
            error=failure,
            model=model.name if model else None,
            version=model.version if model else None,
            ms=_since(started),
        )

    def _ask(self, name: str, data: bytes, digest: str, started: float) -> Outcome:
        upload = photo.prepare(data, self._target(), shrink=self._shrink)
        route, params = "/v1/classify", {"top_k": self._top_k}
        answer = self._transport.post(route, upload.body, upload.media_type, params)
        result = answers.classification(answer)
        return Outcome(
            name,
            digest,
            tuple(result.predictions),
            result.decision,
            model=result.model.name,
            version=result.model.version,
            ms=_since(started),
        )

    def _target(self) -> photo.Target:
        with self._lock:  # the first photos of many threads ask once
            return photo.Target.of(self._description or self.model())


def _since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 1)
