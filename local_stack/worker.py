"""Lambda's event source mapping on one machine: polls the queue, hands batches to the function, deletes what it did.

A batch whose process dies or takes too long is not deleted, so it comes back when its visibility timeout is over, and
after the queue's receive count it goes to the dead letters: as on AWS.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from .resources import REGION
from .workers import Environment, Failed

log = logging.getLogger("whippet.worker")

POLL_SECONDS = 20
"""Longest wait for a message in one request (AWS)."""

RETRY_SECONDS = 1
"""Pause after the queue could not be asked."""

AT_ONCE = 10
"""Messages in one call (AWS quota)."""


@dataclass(frozen=True)
class Source:
    """Where messages come from: at most `batch_size` are handed over together, after `window` seconds."""

    queue_url: str
    queue_arn: str
    batch_size: int = 10
    window: float = 1.0


class Poller:
    """`processes` batches at once, each in a process of its own that has `timeout` seconds for it."""

    def __init__(self, sqs: Any, source: Source, handler: str, processes: int, timeout: float) -> None:
        self._sqs, self._source = sqs, source
        self._stopping = threading.Event()
        self._environments = [Environment(handler, timeout) for _ in range(processes)]
        self._working = [threading.Lock() for _ in range(processes)]

    def start(self) -> None:
        """Begin, in threads."""
        for environment, working in zip(self._environments, self._working, strict=True):
            threading.Thread(target=self._run, args=(environment, working), daemon=True).start()

    def stop(self) -> None:
        """Take no more messages, let running batches end."""
        self._stopping.set()
        for environment, working in zip(self._environments, self._working, strict=True):
            with working:
                environment.close()

    def _run(self, environment: Environment, working: threading.Lock) -> None:
        while not self._stopping.is_set():
            try:
                messages = self._batch()
                with working:
                    if not messages:
                        environment.close()  # a process that waits costs memory, a new one some milliseconds
                    elif not self._stopping.is_set():
                        self._work(environment, messages)
            except (BotoCoreError, ClientError) as error:
                log.warning("the queue cannot be asked: %s", error)
                self._stopping.wait(RETRY_SECONDS)
            except Exception:  # no process to be had, for example: jobs must not stand still for ever
                log.exception("a batch could not be handed over")
                self._stopping.wait(RETRY_SECONDS)

    def _batch(self) -> list[dict[str, Any]]:
        """The next messages: what is there when the first has come and the window is over."""
        messages = self._receive(self._source.batch_size, POLL_SECONDS)
        ends = time.monotonic() + self._source.window
        while messages and len(messages) < self._source.batch_size and (left := ends - time.monotonic()) > 0:
            more = self._receive(self._source.batch_size - len(messages), 0)
            messages += more
            if not more:
                self._stopping.wait(min(left, 0.1))
        return messages

    def _receive(self, count: int, wait: int) -> list[dict[str, Any]]:
        answer = self._sqs.receive_message(
            QueueUrl=self._source.queue_url,
            MaxNumberOfMessages=min(count, AT_ONCE),
            WaitTimeSeconds=wait,
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        found: list[dict[str, Any]] = answer.get("Messages", [])
        return found

    def _work(self, environment: Environment, messages: list[dict[str, Any]]) -> None:
        event = {"Records": [record(message, self._source.queue_arn) for message in messages]}
        try:
            failed = failures(environment.invoke(json.dumps(event)), {message["MessageId"] for message in messages})
        except Failed as error:
            log.warning("a batch of %d failed: %s", len(messages), error)
            return
        entries = [
            {"Id": str(n), "ReceiptHandle": message["ReceiptHandle"]}
            for n, message in enumerate(messages)
            if message["MessageId"] not in failed
        ]
        for start in range(0, len(entries), AT_ONCE):
            self._sqs.delete_message_batch(QueueUrl=self._source.queue_url, Entries=entries[start : start + AT_ONCE])


def failures(result: Any, identifiers: set[str]) -> set[str]:
    """The messages that a function could not do.

    All of them where its answer is not as documented:
    https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
    """
    try:
        listed = (result or {}).get("batchItemFailures") or []
        failed = {item["itemIdentifier"] for item in listed}
    except (AttributeError, KeyError, TypeError):
        return identifiers
    return failed if failed <= identifiers else identifiers


def record(message: dict[str, Any], queue_arn: str) -> dict[str, Any]:
    """A message as Lambda hands it over: https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html."""
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message.get("Attributes", {}),
        "messageAttributes": {
            name: {key[0].lower() + key[1:]: value for key, value in given.items()}
            for name, given in message.get("MessageAttributes", {}).items()
        },
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn,
        "awsRegion": REGION,
    }
