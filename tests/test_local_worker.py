"""Lambda's event source mapping on one machine: batches, failures, dead letters, killed and slow processes."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from local_stack import resources, worker
from local_stack.worker import Poller, Source, failures
from tests.queue_handler import notes
from tests.storage_world import Storage, storage
from tests.waiting import until


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    """A storage for all tests of this file."""
    with storage(tmp_path_factory.mktemp("storage")) as running:
        yield running


@dataclass
class Queue:
    """A queue of a test's own, that hides messages for a second and gives them up after two receives."""

    sqs: Any
    url: str
    arn: str
    dead: str
    log: Path

    def send(self, *bodies: dict[str, Any]) -> None:
        """Messages for `queue_handler`."""
        for body in bodies:
            self.sqs.send_message(QueueUrl=self.url, MessageBody=json.dumps({"log": str(self.log), **body}))

    def left(self, url: str | None = None) -> int:
        """How many are in it, hidden ones too."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = self.sqs.get_queue_attributes(QueueUrl=url or self.url, AttributeNames=names)
        return sum(int(count) for count in answer["Attributes"].values())

    def receives(self) -> Counter[str]:
        """How often each message came to the handler, by its name."""
        return Counter(json.loads(each["record"]["body"]).get("name", "") for each in notes(self.log))

    @contextmanager
    def polled(self, processes: int = 1, timeout: float = 20, window: float = 0) -> Iterator[Poller]:
        """While its messages are handed over."""
        source = Source(self.url, self.arn, 10, window)
        poller = Poller(self.sqs, source, "tests.queue_handler.handler", processes, timeout)
        poller.start()
        try:
            yield poller
        finally:
            poller.stop()

    def hide(self, seconds: int) -> None:
        """How long a message is hidden from now on."""
        self.sqs.set_queue_attributes(QueueUrl=self.url, Attributes={"VisibilityTimeout": str(seconds)})


@pytest.fixture
def queue(store: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Queue:
    """Nobody polls it yet."""
    monkeypatch.setattr(worker, "POLL_SECONDS", 1)
    sqs, name = store.client("sqs"), f"q{time.time_ns()}"
    dead = sqs.create_queue(QueueName=f"{name}-dead")["QueueUrl"]
    redrive = json.dumps({"deadLetterTargetArn": resources.arn(f"{name}-dead"), "maxReceiveCount": 2})
    url = sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "1", "RedrivePolicy": redrive})["QueueUrl"]
    return Queue(sqs, url, resources.arn(name), dead, tmp_path / "notes.jsonl")


def test_what_the_function_is_given(queue: Queue) -> None:
    """The event as https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html shows it."""
    body = json.dumps({"log": str(queue.log)})
    attributes = {"Kind": {"DataType": "String", "StringValue": "photo"}}
    sent = queue.sqs.send_message(QueueUrl=queue.url, MessageBody=body, MessageAttributes=attributes)
    with queue.polled():
        until(lambda: notes(queue.log) and not queue.left())
    record = notes(queue.log)[0]["record"]
    assert record.pop("receiptHandle")
    system = record.pop("attributes")
    assert system["ApproximateReceiveCount"] == "1"
    assert system.keys() >= {"SentTimestamp", "SenderId", "ApproximateFirstReceiveTimestamp"}
    assert record == {
        "messageId": sent["MessageId"],
        "body": body,
        "messageAttributes": {"Kind": {"dataType": "String", "stringValue": "photo"}},
        "md5OfBody": sent["MD5OfMessageBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": queue.arn,
        "awsRegion": "us-east-1",
    }


def test_messages_come_in_batches(queue: Queue) -> None:
    """Ten at most, each once, and what was done is gone."""
    queue.send(*({"name": str(n)} for n in range(25)))
    with queue.polled(processes=2):
        until(lambda: not queue.left())
    assert queue.receives() == {str(n): 1 for n in range(25)}
    assert max(each["batch"] for each in notes(queue.log)) == 10


def test_a_batch_is_gathered_within_its_window(queue: Queue) -> None:
    """Messages that come soon after the first go with it."""
    queue.hide(30)
    with queue.polled(window=2):
        for n in range(3):
            queue.send({"name": str(n)})
            time.sleep(0.2)
        until(lambda: len(notes(queue.log)) == 3)
    assert {each["batch"] for each in notes(queue.log)} == {3}


def test_only_what_failed_comes_again(queue: Queue) -> None:
    """By itself, counted, and after the last receive into the dead letters."""
    queue.send({"name": "good"}, {"name": "bad", "do": "fail"}, {"name": "fine"})
    with queue.polled():
        until(lambda: queue.left(queue.dead) == 1)
    assert queue.receives() == {"good": 1, "bad": 2, "fine": 1}
    counts = [each["record"]["attributes"]["ApproximateReceiveCount"] for each in notes(queue.log)]
    assert Counter(counts) == {"1": 3, "2": 1}
    assert queue.left() == 0


@pytest.mark.parametrize("do", ["raise", "nonsense"])
def test_a_batch_without_an_answer_comes_again(queue: Queue, do: str) -> None:
    """A function that raises, or names messages that it was not given, has done none of them."""
    queue.send({"name": "a"}, {"name": "b", "do": do})
    with queue.polled():
        until(lambda: queue.left(queue.dead) == 2)
    assert queue.receives() == {"a": 2, "b": 2}


@pytest.mark.parametrize(
    ("answer", "failed"),
    [
        (None, set()),
        ({}, set()),
        ({"batchItemFailures": None}, set()),
        ({"batchItemFailures": []}, set()),
        ({"batchItemFailures": [{"itemIdentifier": "a"}]}, {"a"}),
        ({"batchItemFailures": [{"itemIdentifier": ""}]}, {"a", "b"}),
        ({"batchItemFailures": [{"itemIdentifier": None}]}, {"a", "b"}),
        ({"batchItemFailures": [{"id": "a"}]}, {"a", "b"}),
        ({"batchItemFailures": ["a"]}, {"a", "b"}),
        ("text", {"a", "b"}),
    ],
)
def test_answers_of_a_function(answer: Any, failed: set[str]) -> None:
    """As AWS reads them."""
    assert failures(answer, {"a", "b"}) == failed


def test_a_killed_process_costs_only_time(queue: Queue) -> None:
    """Its batch comes again and is done by a new process; batches of other processes go on; nothing is lost."""
    queue.hide(3)
    queue.send({"name": "slow", "do": "sleep"})
    with queue.polled(processes=2):
        until(lambda: notes(queue.log))
        killed = notes(queue.log)[0]["pid"]
        queue.send({"name": "beside", "do": "sleep", "seconds": 1.5})
        until(lambda: queue.receives()["beside"])
        os.kill(killed, signal.SIGKILL)
        until(lambda: not queue.left())
    assert queue.receives() == {"slow": 2, "beside": 1}
    assert queue.left(queue.dead) == 0
    assert killed not in {each["pid"] for each in notes(queue.log)[1:]}


def test_a_slow_function_is_stopped(queue: Queue) -> None:
    """After its timeout, as on Lambda; the batch comes again."""
    queue.send({"name": "slow", "do": "sleep"})
    with queue.polled(timeout=1):
        until(lambda: not queue.left())
    first, second = notes(queue.log)
    assert first["pid"] != second["pid"]
    assert not psutil.pid_exists(first["pid"])


def test_a_clean_end(queue: Queue) -> None:
    """What runs is finished and deleted, what waits stays, and no process is left."""
    queue.send({"name": "running", "do": "sleep", "seconds": 1})
    queue.hide(30)
    with queue.polled():
        until(lambda: notes(queue.log))
        queue.send({"name": "waiting"})
    assert queue.left() == 1
    assert queue.receives() == {"running": 1}
    assert not psutil.pid_exists(notes(queue.log)[0]["pid"])


def test_a_process_that_has_nothing_to_do_ends(queue: Queue) -> None:
    """It would cost its memory; the next message starts another."""
    queue.send({"name": "first"})
    with queue.polled():
        until(lambda: notes(queue.log))
        until(lambda: not psutil.pid_exists(notes(queue.log)[0]["pid"]))
        queue.send({"name": "second"})
        until(lambda: queue.receives()["second"])


def test_a_queue_that_cannot_be_asked_is_asked_again(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker outlives it."""
    monkeypatch.setattr(worker, "RETRY_SECONDS", 0.1)
    name = queue.url.rpartition("/")[2] + "-later"
    queue.url = f"{queue.url}-later"
    with queue.polled():
        time.sleep(0.5)
        queue.sqs.create_queue(QueueName=name)
        queue.send({"name": "a"})
        until(lambda: queue.receives()["a"])
