"""The template's bucket, table, queues and secret, made in the one-machine storage."""

from __future__ import annotations

import base64
import json
import secrets
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import template

ACCOUNT = "123456789012"
"""Moto's only account."""

REGION = "us-east-1"
BUCKET, JOBS, QUEUE, DEAD_LETTERS, SECRET = (
    "whippet",
    "whippet-jobs",
    "whippet-queue",
    "whippet-dead-letters",
    "whippet-webhook",
)
PHOTOS = "whippet-photos"
"""An empty bucket beside the template's, for jobs over a prefix: `aws s3 cp` can fill it."""


@dataclass(frozen=True)
class Making:
    """A request that makes a resource: JSON with AWS's name of the operation, or a plain PUT of a path."""

    service: str
    target: str = ""
    body: dict[str, Any] = field(default_factory=dict)
    path: str = "/"


def makings(wanted: template.Storage, webhook_secret: str = "") -> list[Making]:
    """All that the template's resources need; the secret only where there is one.

    Not by boto3, whose four clients would take 40 MB that the storage has no other use for.
    """
    buckets = [Making("s3", path=f"/{bucket}") for bucket in (BUCKET, PHOTOS)]
    secret = {"Name": SECRET, "SecretString": webhook_secret, "ClientRequestToken": str(uuid.uuid4())}
    kept = [Making("secretsmanager", "secretsmanager.CreateSecret", secret)] if webhook_secret else []
    return [*buckets, _table(wanted.table), *_queues(wanted.queue), *kept]


def _table(table: template.Table) -> Making:
    body = {
        "TableName": JOBS,
        "KeySchema": [{"AttributeName": name, "KeyType": kind} for name, kind, _ in table.keys],
        "AttributeDefinitions": [{"AttributeName": name, "AttributeType": kind} for name, _, kind in table.keys],
        "BillingMode": "PAY_PER_REQUEST",
    }
    return Making("dynamodb", "DynamoDB_20120810.CreateTable", body)


def _queues(queue: template.Queue) -> list[Making]:
    """The dead letters first: the queue names them."""
    kept = {"MessageRetentionPeriod": str(queue.retention)}
    redrive = {"deadLetterTargetArn": arn(DEAD_LETTERS), "maxReceiveCount": queue.receives}
    hidden = {"VisibilityTimeout": str(queue.visibility), "RedrivePolicy": json.dumps(redrive)}
    queues = {DEAD_LETTERS: kept, QUEUE: {**kept, **hidden}}
    return [
        Making("sqs", "AmazonSQS.CreateQueue", {"QueueName": name, "Attributes": attributes})
        for name, attributes in queues.items()
    ]


def names(storage_url: str) -> dict[str, str]:
    """What the functions know the template's resources by; nothing without a storage."""
    if not storage_url:
        return {}
    return {"Bucket": BUCKET, "Jobs": JOBS, "Queue": queue_url(storage_url), "WebhookSecret": SECRET}


def arn(queue: str) -> str:
    """A queue's ARN."""
    return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}"


def queue_url(storage_url: str, queue: str = QUEUE) -> str:
    """A queue's address, known before it is made."""
    return f"{storage_url}/{ACCOUNT}/{queue}"


def new_webhook_secret() -> str:
    """In the shape of https://www.standardwebhooks.com: 24 random bytes."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
