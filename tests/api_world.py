"""The API in this process: the real function and worker, a scripted endpoint over HTTP, moto for the rest of AWS."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest
import requests

from local_stack.workers import Context
from model_serving.server import Context as EndpointContext
from model_serving.server import application
from tests.photos import jpeg
from tests.servers import serving

PHOTO = jpeg()
PREDICTIONS = [{"label": f"class {i}", "class_id": str(i), "score": round(0.5 / (i + 1), 3)} for i in range(9)]
MODEL = {"name": "dogs", "version": "abc"}


class Scripted:
    """Hooks that answer like ours, or fail as told, and remember what came."""

    def __init__(self) -> None:
        self.failure: tuple[int, str] | None = None
        self.bodies: list[bytes] = []
        self.attributes: list[str] = []
        self.last_is_damaged = True

    def forget(self) -> None:
        """As new."""
        self.failure = None
        self.bodies.clear()
        self.attributes.clear()

    def __call__(self, body: bytes, content_type: str | None, context: EndpointContext) -> tuple[str, str]:
        """The scripted answer."""
        self.bodies.append(body)
        self.attributes.append(context.get_request_properties().get("x-amzn-sagemaker-custom-attributes", ""))
        if self.failure:
            context.set_response_status(self.failure[0])
            return self.failure[1], "application/json"
        if content_type != "application/json":
            answer: dict[str, Any] = {"predictions": PREDICTIONS, "decision": "unsure", "model": MODEL}
            answer["timings_ms"] = {"forward": 1}
        elif b"describe" in body:
            answer = {**MODEL, "classes": [{"class_id": "1", "label": "one"}], "input": {"resize": 256, "crop": 224}}
        else:
            count = len(json.loads(body)["instances"])
            results: list[Any] = [{"predictions": PREDICTIONS[:2], "decision": "confident"}] * count
            if self.last_is_damaged:
                results[-1] = {"error": {"status": 400, "code": "bad_image", "detail": "damaged", "hint": "resend"}}
            answer = {"results": results, "model": MODEL, "timings_ms": {}}
        return json.dumps(answer), "application/json"


def event(
    method: str, path: str, body: bytes | str | None = None, headers: dict[str, str] | None = None, **query: str
) -> dict[str, Any]:
    """A REST proxy event as API Gateway sends it."""
    binary = isinstance(body, bytes)
    return {
        "resource": path,
        "path": path,
        "httpMethod": method,
        "headers": headers or {},
        "multiValueHeaders": {name: [value] for name, value in (headers or {}).items()},
        "queryStringParameters": query or None,
        "multiValueQueryStringParameters": {name: [value] for name, value in query.items()} or None,
        "pathParameters": None,
        "requestContext": {"requestId": "id-1", "stage": "prod", "path": path, "httpMethod": method, "identity": {}},
        "body": base64.b64encode(body).decode() if isinstance(body, bytes) else body,
        "isBase64Encoded": binary,
    }


def call(
    handler: Any, method: str, path: str, body: Any = None, headers: Any = None, **query: str
) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Status, document and headers of the handler's response."""
    response = handler(event(method, path, body, headers, **query), Context("request"))
    headers = {name.lower(): values[-1] for name, values in response["multiValueHeaders"].items()}
    return response["statusCode"], json.loads(response["body"]), headers


def multipart(*parts: tuple[str, str | None, bytes]) -> tuple[bytes, dict[str, str]]:
    """A form with (field name, file name, content) parts, by the requests library."""
    files = [(name, (file_name, content)) for name, file_name, content in parts]
    prepared = requests.Request("POST", "http://x", files=files).prepare()
    assert isinstance(prepared.body, bytes)
    return prepared.body, {"content-type": prepared.headers["Content-Type"]}


@contextmanager
def function(hooks: Scripted, **environment: str) -> Iterator[pytest.MonkeyPatch]:
    """The environment of the function, with an endpoint that answers by these hooks; nothing is left of it after."""
    with serving(application(hooks, 2)) as url, pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "ENDPOINT_NAME": "whippet",
            "ALLOWED_ORIGINS": "https://app.example, https://other.example",
            "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": url,
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            **environment,
        }.items():
            patch.setenv(name, value)
        _forget()
        try:
            yield patch
        finally:
            _forget()


def _forget() -> None:
    """A process of Lambda has one environment for ever; this one has one a fixture."""
    from lambda_api import app, endpoint, settings, uploads
    from lambda_api.jobs import finish, queue, store

    cached = (app.application, endpoint.endpoint, settings.settings, uploads.uploads, uploads.s3)
    for function in (*cached, queue.queue, store.jobs, finish._secret):
        function.cache_clear()


def worker_time(seconds: float = 120) -> Context:
    """The context of a worker that has so many seconds left."""
    return Context("request", deadline=time.monotonic() + seconds)


BUCKET, TABLE, QUEUE, SOURCE = "whippet-photos", "whippet-jobs", "whippet-queue", "holiday"
SECRET = b"twenty-four random bytes"


@dataclass
class JobWorld:
    """Everything behind the API, and a hand on the queue: messages move when `deliver` is called."""

    url: str
    hooks: Scripted
    queue_url: str
    receives: int = 10
    counts: dict[str, int] = field(default_factory=dict)

    def client(self, service: str) -> Any:
        """A boto3 client of this world."""
        return boto3.client(service)  # type: ignore[call-overload]

    def put(self, key: str, data: bytes, bucket: str = SOURCE) -> None:
        """An object in S3."""
        self.client("s3").put_object(Bucket=bucket, Key=key, Body=data)

    def names(self, prefix: str = "", bucket: str = BUCKET) -> list[str]:
        """What is in a bucket."""
        found = self.client("s3").list_objects_v2(Bucket=bucket, Prefix=prefix)
        return [entry["Key"] for entry in found.get("Contents", [])]

    def received(self) -> list[dict[str, Any]]:
        """Messages that can be had now, as records of Lambda's event, hidden from the next look."""
        answer = self.client("sqs").receive_message(
            QueueUrl=self.queue_url, MaxNumberOfMessages=10, AttributeNames=["All"], VisibilityTimeout=600
        )
        return [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": message["Attributes"],
            }
            for message in answer.get("Messages", [])
        ]

    def deliver(self, tries: int | None = None) -> int:
        """One event to the worker, as the event source does; `tries` says how often it came. Messages in it."""
        from lambda_api.worker import handler

        records = self.received()
        if not records:
            return 0
        for record in records:
            if tries:
                record["attributes"]["ApproximateReceiveCount"] = str(tries)
        answer = handler({"Records": records}, worker_time())
        self.delete(records, {item["itemIdentifier"] for item in answer["batchItemFailures"]})
        return len(records)

    def delete(self, records: list[dict[str, Any]], failed: set[str]) -> None:
        """Take the messages that were done off the queue."""
        for record in records:
            if record["messageId"] not in failed:
                self.client("sqs").delete_message(QueueUrl=self.queue_url, ReceiptHandle=record["receiptHandle"])

    def work(self) -> None:
        """Until nothing is left that can be had now."""
        while self.deliver():
            pass

    def show_again(self) -> None:
        """Messages that wait for another try can be had at once."""
        from moto.sqs.models import sqs_backends

        backend = sqs_backends["123456789012"]["us-east-1"]
        for message in backend.queues[QUEUE]._messages:
            message.change_visibility(0)


@contextmanager
def job_world(**environment: str) -> Iterator[JobWorld]:
    """Bucket, table and queue as the template has them, a bucket of photos, the function's environment."""
    from moto.server import ThreadedMotoServer

    hooks = Scripted()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    queue_url = f"http://{host}:{port}/123456789012/{QUEUE}"
    aws = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "BUCKET": BUCKET,
        "JOBS_TABLE": TABLE,
        "QUEUE_URL": queue_url,
        "PHOTO_SOURCES": f"s3://{SOURCE}/2026/",
        "WEBHOOK_SECRET_ID": "webhooks",
    }
    try:
        with function(hooks, **aws, **environment):
            world = JobWorld(f"http://{host}:{port}", hooks, queue_url)
            requests.post(f"{world.url}/moto-api/reset", timeout=9)
            _make(world)
            yield world
    finally:
        server.stop()


def _make(world: JobWorld) -> None:
    for bucket in (BUCKET, SOURCE):
        world.client("s3").create_bucket(Bucket=bucket)
    world.client("sqs").create_queue(QueueName=QUEUE)
    world.client("secretsmanager").create_secret(
        Name="webhooks", SecretString="whsec_" + base64.b64encode(SECRET).decode()
    )
    kinds = {"pk": "HASH", "sk": "RANGE"}
    world.client("dynamodb").create_table(
        TableName=TABLE,
        KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in kinds.items()],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in kinds],
        BillingMode="PAY_PER_REQUEST",
    )
