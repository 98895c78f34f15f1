"""Photos through an endpoint by boto3: what it answers, and how fast."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from model_serving.golden import GoldenPhoto
from training.aws.errors import AwsError, one_line, told
from training.aws.session import Aws
from training.aws.upload import Say

from .waiting import log

THREADS = 4
TOP_K = 1000
"""All classes: a golden photo's recorded class is looked for wherever it has come to stand."""

PATIENCE_SECONDS = 300.0
"""For the first answer: a container says that it is healthy while it still loads the model."""

_HOPELESS = ("Refused", "Foreign", "AccessDenied", "AccessDeniedException")
"""Codes of errors that no waiting mends."""

TRIES, PAUSE_SECONDS = 3, 2.0
"""One lost request is no model's fault, and botocore repeats none that the container answered."""

_READ_SECONDS = 65
"""A little longer than SageMaker waits for a container."""


@dataclass(frozen=True)
class Answered:
    """One photo's answer: (class_id, score) by falling score, the model's name and version."""

    predictions: tuple[tuple[str, float], ...]
    decision: str
    name: str
    version: str

    @property
    def top(self) -> str:
        """Class of the best score."""
        return self.predictions[0][0]

    def score(self, class_id: str) -> float:
        """Of a class, 0 where the answer does not name it."""
        return dict(self.predictions).get(class_id, 0.0)


class Client:
    """`sagemaker-runtime` for one endpoint; safe to call from several threads."""

    def __init__(self, aws: Aws[Any], endpoint: str) -> None:
        from botocore.config import Config

        self.endpoint = endpoint
        config = Config(read_timeout=_READ_SECONDS, max_pool_connections=2 * THREADS)
        self._client = aws.boto.client("sagemaker-runtime", config=config)

    def ask(self, photo: bytes) -> Answered:
        """AwsError for whatever is no answer; its code is `model` where the container refused the photo itself."""
        from botocore.exceptions import ClientError

        try:
            with told(f"a photo to {self.endpoint}"):
                answer = self._client.invoke_endpoint(
                    EndpointName=self.endpoint,
                    ContentType="application/octet-stream",
                    CustomAttributes=f"top_k={TOP_K}",
                    Body=photo,
                )
                body = answer["Body"].read()
        except AwsError as error:
            if isinstance(error.__cause__, ClientError) and error.code == "ModelError":
                raise _refused(self.endpoint, error.__cause__.response) from None
            raise
        return _read(self.endpoint, body)

    def ask_all(self, photos: Sequence[GoldenPhoto], threads: int = THREADS) -> list[Answered | AwsError]:
        """An answer or error each, several at a time."""
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(self._ask, photos))

    def _ask(self, photo: GoldenPhoto) -> Answered | AwsError:
        return self.again(photo.body)[0]

    def again(self, photo: bytes, clock: Callable[[], float] = time.perf_counter) -> tuple[Answered | AwsError, float]:
        """The answer, asked for a few times where that may mend it, else the last error; seconds of the last try."""
        from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_fixed

        begun = clock()

        def once() -> Answered:
            nonlocal begun
            begun = clock()
            return self.ask(photo)

        tries = Retrying(
            stop=stop_after_attempt(TRIES), wait=wait_fixed(PAUSE_SECONDS), retry=retry_if_exception(_may_mend),
            reraise=True,
        )  # fmt: skip
        try:
            return tries(once), clock() - begun
        except AwsError as error:
            return error, clock() - begun

    def first(
        self,
        photo: bytes,
        say: Say,
        *,
        patience: float = PATIENCE_SECONDS,
        seconds: float = 5.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> Answered:
        """The answer to a real request, asked for until there is one: `/ping` is healthy without a model.

        AwsError where none comes in time, or the photo is refused.
        """
        begun, waited = time.monotonic(), False
        while True:
            try:
                return self.ask(photo)
            except AwsError as error:
                if error.code in _HOPELESS or time.monotonic() - begun >= patience:
                    raise AwsError(
                        f"{self.endpoint} is in service and answers no photo: {error}. {log(self.endpoint)}", "NoAnswer"
                    ) from None
            if not waited:
                say(f"{self.endpoint}: in service, and loads the model still")
                waited = True
            sleep(seconds)


def _may_mend(error: BaseException) -> bool:
    return isinstance(error, AwsError) and error.code not in _HOPELESS


def latencies(
    clients: Sequence[Client],
    photos: Sequence[GoldenPhoto],
    number: int,
    clock: Callable[[], float] = time.perf_counter,
) -> list[list[float]]:
    """Milliseconds of `number` requests to each, one at a time and in turn, so that a slow minute is slow for all.

    The first of each is not counted: it opens the connection. What fails several times is infinitely slow.
    """
    found: list[list[float]] = [[] for _ in clients]
    for turn in range(number + 1):
        photo = photos[turn % len(photos)].body
        for client, times in zip(clients, found, strict=True):
            answer, seconds = client.again(photo, clock)
            if turn:
                times.append(math.inf if isinstance(answer, AwsError) else seconds * 1e3)
    return found


def _refused(endpoint: str, response: Mapping[str, Any]) -> AwsError:
    """The container's own answer, which is an error of ours or TorchServe's."""
    status, message = int(response.get("OriginalStatusCode", 0)), str(response.get("OriginalMessage", ""))
    try:
        error = json.loads(message)["error"]
        said = f"{error['detail']} {error.get('hint', '')}"
    except (ValueError, KeyError, TypeError):
        said = (message.strip() or "no message").splitlines()[0]
    code = "Refused" if 400 <= status < 500 and status != 429 else "ModelError"
    return AwsError(f"{endpoint} answered {status}: {one_line(said)}", code)


def _read(endpoint: str, body: bytes) -> Answered:
    try:
        answer = json.loads(body)
        predictions = tuple((str(one["class_id"]), float(one["score"])) for one in answer["predictions"])
        found = Answered(predictions, answer["decision"], answer["model"]["name"], answer["model"]["version"])
        if predictions:
            return found
    except (ValueError, KeyError, TypeError):
        pass
    start = body[:80].decode("utf-8", "replace")
    raise AwsError(f"{endpoint} answers what is none of our models' ({start!r}). Is its container ours?", "Foreign")
