"""The storage of the one-machine stack: links to results, nothing for strangers, one request at a time."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from botocore.exceptions import ClientError

from local_stack import resources
from local_stack.stack import WEBHOOK_VARIABLE
from tests.storage_world import (
    KEY_ID,
    ORIGIN,
    SECRET,
    Storage,
    changed,
    permission,
    send,
    storage,
    stored,
)

WEBHOOK_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    """One for all tests of this file."""
    with storage(tmp_path_factory.mktemp("storage"), **{WEBHOOK_VARIABLE: WEBHOOK_SECRET}) as running:
        yield running


def link(store: Storage, seconds: int = 300, **headers: str) -> str:
    """A presigned link to a result."""
    client = store.client("s3")
    client.put_object(Bucket=resources.BUCKET, Key="results/a b+é.jsonl", Body=b"{}\n", ContentType="application/jsonl")
    wanted = {"Bucket": resources.BUCKET, "Key": "results/a b+é.jsonl", **headers}
    return str(client.generate_presigned_url("get_object", Params=wanted, ExpiresIn=seconds))


def test_a_link_to_a_result(store: Storage) -> None:
    """Whoever has it may read, until it expires."""
    url = link(store, ResponseContentDisposition='attachment; filename="results.jsonl"')
    answer = requests.get(url, timeout=9)
    assert (answer.status_code, answer.content) == (200, b"{}\n")
    assert answer.headers["content-disposition"] == 'attachment; filename="results.jsonl"'
    short = link(store, seconds=1)
    time.sleep(2.1)
    answer = requests.get(short, timeout=9)
    assert (answer.status_code, "Request has expired" in answer.text) == (403, True)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("X-Amz-Expires=300", "X-Amz-Expires=9000"),
        ("X-Amz-Expires=300", "X-Amz-Expires=" + "9" * 5000),
        ("results", "uploads"),
        ("Signature=", "Signature=0"),
        (KEY_ID, "x"),
        (KEY_ID, "%E2%82%AC"),
        ("SignedHeaders=host", "SignedHeaders=host%3B%E2%82%AC"),
    ],
)
def test_a_tampered_link(store: Storage, old: str, new: str) -> None:
    """Neither longer nor for another object."""
    answer = requests.get(link(store).replace(old, new), timeout=9)
    assert answer.status_code in (400, 403)
    assert "{}" not in answer.text


def test_a_link_is_for_reading(store: Storage) -> None:
    """Nobody writes or removes by it."""
    for method in ("PUT", "DELETE", "POST"):
        assert requests.request(method, link(store), timeout=9).status_code == 403
    wanted = {"Bucket": resources.BUCKET, "Key": "results/a b+é.jsonl"}
    for call in ("put_object", "delete_object"):
        url = store.client("s3").generate_presigned_url(call, Params=wanted)
        assert requests.request(call[:-7].upper(), url, timeout=9).status_code == 403
    assert stored(store, "results/a b+é.jsonl")[0] == b"{}\n"


@pytest.mark.parametrize("service", ["s3", "dynamodb", "sqs", "secretsmanager"])
@pytest.mark.parametrize(("key_id", "secret"), [(KEY_ID, "wrong"), ("AKIASTRANGERSTRANGER", SECRET)])
def test_strangers_get_nothing(store: Storage, service: str, key_id: str, secret: str) -> None:
    """The key's id is in every form that a page gets; only the secret opens."""
    client = store.client(service, key_id, secret)
    call: Callable[[], Any] = {
        "s3": lambda: client.list_objects_v2(Bucket=resources.BUCKET),
        "dynamodb": lambda: client.scan(TableName=resources.JOBS),
        "sqs": lambda: client.receive_message(QueueUrl=resources.queue_url(store.url)),
        "secretsmanager": lambda: client.get_secret_value(SecretId=resources.SECRET),
    }[service]
    with pytest.raises(ClientError) as error:
        call()
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


@pytest.mark.parametrize(
    "path", ["/", "/whippet", "/whippet/uploads/a", "/moto-api/data.json", "/latest/meta-data/iam"]
)
def test_requests_without_a_signature(store: Storage, path: str) -> None:
    """Neither objects nor moto's own pages."""
    for method in ("GET", "PUT", "DELETE", "POST"):
        assert requests.request(method, store.url + path, timeout=9).status_code == 403


def test_other_services_are_not_there(store: Storage) -> None:
    """Only the four; moto would serve any."""
    with pytest.raises(ClientError) as error:
        store.client("sts").get_caller_identity()
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_pages_of_allowed_origins(store: Storage) -> None:
    """They may ask, upload, read why not, and fetch a result; others may not, and moto adds nothing."""
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    for origin, allowed in ((ORIGIN, True), ("https://evil.example", False)):
        form = permission(store, "uploads/page")
        preflight = requests.options(form["url"], headers={"Origin": origin, **asked}, timeout=9)
        assert preflight.status_code == (200 if allowed else 403)
        uploaded = send(form, Origin=origin)
        refused = send(changed(form, key="x"), Origin=origin)
        fetched = requests.get(link(store), headers={"Origin": origin}, timeout=9)
        assert [uploaded.status_code, refused.status_code, fetched.status_code] == [204, 403, 200]
        for answer in (preflight, uploaded, refused, fetched):
            given = answer.headers.get("access-control-allow-origin")
            assert given == (origin if allowed else None)
    asked["Access-Control-Request-Method"] = "DELETE"
    assert requests.options(store.url, headers={"Origin": ORIGIN, **asked}, timeout=9).status_code == 403


def test_the_templates_resources(store: Storage) -> None:
    """Keys, redrive and visibility come from template.yaml; the webhook's secret is there when it was given."""
    table = store.client("dynamodb").describe_table(TableName=resources.JOBS)["Table"]
    assert [key["AttributeName"] for key in table["KeySchema"]] == ["pk", "sk"]
    sqs = store.client("sqs")
    found = sqs.get_queue_attributes(QueueUrl=resources.queue_url(store.url), AttributeNames=["All"])["Attributes"]
    assert found["VisibilityTimeout"] == "240"
    redrive = {"deadLetterTargetArn": resources.arn(resources.DEAD_LETTERS), "maxReceiveCount": 10}
    assert json.loads(found["RedrivePolicy"]) == redrive
    secret = store.client("secretsmanager").get_secret_value(SecretId=resources.SECRET)
    assert secret["SecretString"] == WEBHOOK_SECRET


def test_a_waiting_receiver_gets_a_message_at_once(store: Storage) -> None:
    """Long polling holds no other request up, and ends when a message comes."""
    sqs, url = store.client("sqs"), resources.queue_url(store.url)
    started = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        for number in range(5):
            received = pool.submit(sqs.receive_message, QueueUrl=url, WaitTimeSeconds=20)
            time.sleep(0.3)
            sqs.send_message(QueueUrl=url, MessageBody=str(number))
            (message,) = received.result()["Messages"]
            assert message["Body"] == str(number)
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    assert time.monotonic() - started < 4  # it looks by itself once a second
    assert "Messages" not in sqs.receive_message(QueueUrl=url, WaitTimeSeconds=1)


def test_a_message_goes_to_one_receiver(store: Storage) -> None:
    """However many ask at once."""
    sqs, url = store.client("sqs"), resources.queue_url(store.url)
    for start in range(0, 60, 10):
        entries = [{"Id": str(n), "MessageBody": str(n)} for n in range(start, start + 10)]
        sqs.send_message_batch(QueueUrl=url, Entries=entries)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=3), range(30)))
    bodies = [message["Body"] for answer in answers for message in answer.get("Messages", [])]
    assert sorted(bodies, key=int) == [str(n) for n in range(60)]
    sqs.purge_queue(QueueUrl=url)


def item(name: str, count: int = 0) -> dict[str, Any]:
    """A record of the table."""
    return {"pk": {"S": "job"}, "sk": {"S": name}, "n": {"N": str(count)}}


def test_transactions_are_all_or_nothing(store: Storage) -> None:
    """Items that were new, changed or removed in a transaction that fails are as before."""
    table = store.client("dynamodb")
    for name in ("changed", "removed"):
        table.put_item(TableName=resources.JOBS, Item=item(name))
    key = {name: {"pk": {"S": "job"}, "sk": {"S": name}} for name in ("new", "changed", "removed", "missing")}
    common: dict[str, Any] = {"TableName": resources.JOBS}
    add = {"UpdateExpression": "ADD n :n", "ExpressionAttributeValues": {":n": {"N": "1"}}}
    operations: list[dict[str, Any]] = [
        {"Put": {**common, "Item": item("new")}},
        {"Update": {**common, "Key": key["changed"], **add}},
        {"Delete": {**common, "Key": key["removed"]}},
    ]
    failing = {"Update": {**common, "Key": key["missing"], **add, "ConditionExpression": "attribute_exists(pk)"}}
    with pytest.raises(ClientError) as error:
        table.transact_write_items(TransactItems=[*operations, failing])
    codes = [reason["Code"] for reason in error.value.response["CancellationReasons"]]
    assert codes == ["None", "None", "None", "ConditionalCheckFailed"]
    assert names(table) == {"changed": 0, "removed": 0}
    table.transact_write_items(TransactItems=operations)
    assert names(table) == {"changed": 1, "new": 0}


def names(table: Any) -> dict[str, int]:
    """What is in the table."""
    items = table.query(
        TableName=resources.JOBS,
        KeyConditionExpression="pk = :job",
        ExpressionAttributeValues={":job": {"S": "job"}},
    )["Items"]
    return {each["sk"]["S"]: int(each["n"]["N"]) for each in items}


def test_counts_from_many_sides(store: Storage) -> None:
    """No addition is lost when transactions come at once, some of which fail and are undone."""
    table = store.client("dynamodb")
    common: dict[str, Any] = {"TableName": resources.JOBS}
    key = {"pk": {"S": "many"}, "sk": {"S": "count"}}
    add = {"UpdateExpression": "ADD n :n", "ExpressionAttributeValues": {":n": {"N": "1"}}}
    table.put_item(**common, Item={**item("count"), "pk": {"S": "many"}})

    count: dict[str, Any] = {"Update": {**common, "Key": key, **add}}
    others = [{"Put": {**common, "Item": {**item(str(n)), "pk": {"S": "many"}}}} for n in range(98)]
    missing = {"Put": {**common, "Item": item("missing"), "ConditionExpression": "attribute_exists(pk)"}}

    def change(number: int) -> None:
        if number % 4:
            table.transact_write_items(TransactItems=[count])
        else:
            with pytest.raises(ClientError, match="TransactionCanceled"):
                table.transact_write_items(TransactItems=[count, *others, missing])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(change, range(80)))
    assert table.get_item(**common, Key=key)["Item"]["n"]["N"] == "60"


def test_photos_lie_on_the_disk_and_go(store: Storage) -> None:
    """Memory does not grow with what is stored, and no file stays open for what was removed."""
    import psutil

    process, client = psutil.Process(store.part.process.pid), store.client("s3")
    files, before = process.num_fds(), process.memory_info().rss
    for number in range(60):
        client.put_object(Bucket=resources.BUCKET, Key=f"uploads/disk/{number}", Body=os.urandom(2_000_000))
    assert process.memory_info().rss - before < 60e6
    for number in range(60):
        client.delete_object(Bucket=resources.BUCKET, Key=f"uploads/disk/{number}")
    assert process.num_fds() < files + 30
