"""The queue of a job's steps: what a message says, sending, and when one comes back."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from ..settings import settings

log = logging.getLogger(__name__)

Task = Literal["list", "photo", "finish", "notify"]

FIRST_SECONDS, LONGEST_SECONDS = 15, 300
"""A step that failed is tried again after so many seconds, doubled each time, up to the longest."""

_AT_ONCE = 10
"""Messages in one call (AWS quota)."""


@dataclass(frozen=True)
class Message:
    """One step of a job. `photo` is the sort key of the photo's item; `page` and `after` say where listing goes on."""

    job: str
    task: Task
    photo: str = ""
    page: int = 0
    after: str = ""


@dataclass(frozen=True)
class Received:
    """A message as it came: `tries` counts this one, `receipt` is what SQS knows it by."""

    message: Message
    id: str
    receipt: str
    tries: int

    @classmethod
    def of(cls, record: dict[str, Any]) -> Received:
        """From a record of Lambda's SQS event."""
        tries = int(record["attributes"]["ApproximateReceiveCount"])
        return cls(Message(**json.loads(record["body"])), record["messageId"], record["receiptHandle"], tries)


class Queue:
    """One SQS queue."""

    def __init__(self, url: str, client: Any) -> None:
        self._url, self._client = url, client

    def send(self, *messages: Message) -> None:
        """All of them, or an error: then some may have been sent, which does no harm."""
        for start in range(0, len(messages), _AT_ONCE):
            self._send(messages[start : start + _AT_ONCE])

    def _send(self, messages: Iterable[Message]) -> None:
        entries = [{"Id": str(n), "MessageBody": json.dumps(vars(one))} for n, one in enumerate(messages)]
        answer = self._client.send_message_batch(QueueUrl=self._url, Entries=entries)
        if failed := answer.get("Failed"):
            raise RuntimeError(f"{len(failed)} messages were not taken: {failed[0].get('Code')}")

    def later(self, received: Received) -> None:
        """Let a message come again after a while that grows with its tries; where that fails, after the queue's own."""
        seconds = min(FIRST_SECONDS * 2 ** (received.tries - 1), LONGEST_SECONDS)
        try:
            self._client.change_message_visibility(
                QueueUrl=self._url, ReceiptHandle=received.receipt, VisibilityTimeout=seconds
            )
        except (ClientError, BotoCoreError) as error:
            log.warning("ChangeMessageVisibility failed: %s", type(error).__name__)


@cache
def queue() -> Queue:
    """This process's queue."""
    config = Config(connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 4})
    return Queue(settings().queue_url, boto3.client("sqs", config=config))
