"""The function behind the queue: steps of jobs in, what must come again out.

`handler` is what Lambda calls with up to ten messages. Photos of one job are classified together.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from .errors import ApiError
from .jobs import classify, ending, finish, listing
from .jobs.queue import Received, queue
from .jobs.store import JobRecord, jobs
from .settings import settings

SERVICE = os.getenv("POWERTOOLS_SERVICE_NAME", "whippet-jobs")  # powertools would prefer a name given here to it

LEFT_SECONDS = 35
"""No step and no call of the endpoint, which takes up to 27, begins later than so many seconds before the end."""

logger = Logger(service=SERVICE)
metrics = Metrics(namespace="Whippet", service=SERVICE)


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """An SQS event -> the messages that failed, which alone come again."""
    metrics.add_metric("JobMessages", MetricUnit.Count, len(event["Records"]))
    deadline = time.monotonic() + context.get_remaining_time_in_millis() / 1000 - LEFT_SECONDS
    grouped: dict[tuple[str, str], list[Received]] = defaultdict(list)
    again: list[str] = []
    for record in event["Records"]:
        try:
            received = Received.of(record)
        except (ValueError, TypeError):
            logger.error("a message is none of ours", message_id=record["messageId"])
            again.append(record["messageId"])  # until it is with the dead letters
        else:
            grouped[received.message.job, received.message.task].append(received)
    # Webhooks last: they wait for strangers.
    for (job, task), messages in sorted(grouped.items(), key=lambda group: group[0][1] == "notify"):
        again += [one.id for one in _attempt(job, task, messages, deadline)]
    metrics.add_metric("JobRetries", MetricUnit.Count, len(again))
    return {"batchItemFailures": [{"itemIdentifier": identifier} for identifier in again]}


def _attempt(identifier: str, task: str, messages: list[Received], deadline: float) -> list[Received]:
    """A step of one job; whatever it stumbles over, the steps of other jobs are done."""
    logger.append_keys(correlation_id=identifier)
    if time.monotonic() > deadline:
        for one in messages:
            queue().later(one)
        return messages
    try:
        return _step(identifier, task, messages, deadline)
    except Exception:
        logger.exception("a step of a job failed", task=task)
        for one in messages:
            queue().later(one)
        return messages


def _step(identifier: str, task: str, messages: list[Received], deadline: float) -> list[Received]:
    job = jobs().job(identifier)
    if job is None:
        return []  # forgotten after its days
    if task == "photo":
        return classify.run(job, messages, deadline)
    if task == "notify":
        return [one for one in messages if not finish.notify(job, one)]
    if job.active and messages[0].tries >= settings().queue_receives:
        _give_up(job, task)
    elif task == "list":
        for one in messages:
            listing.run(job, one.message)
    else:
        finish.run(job)
    return []


def _give_up(job: JobRecord, task: str) -> None:
    """A job that cannot be listed or finished ends, so that nobody waits for it."""
    logger.error("a step of a job was given up", task=task)
    error = ApiError("internal", f"The job's step {task!r} failed again and again.", "The worker's log has the reason.")
    ending.fail(job.id, error)
