"""The storage of the one-machine stack: uploads as S3 checks them, nothing for strangers, one request at a time."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from botocore.exceptions import ClientError

from local_stack import forms, resources
from local_stack.signatures import Credentials, Refused
from local_stack.stack import WEBHOOK_VARIABLE
from tests.storage_world import KEY_ID, ORIGIN, SECRET, Storage, storage

LARGEST = 20_000_000
WEBHOOK_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    """One for all tests of this file."""
    with storage(tmp_path_factory.mktemp("storage"), **{WEBHOOK_VARIABLE: WEBHOOK_SECRET}) as running:
        yield running


def permission(store: Storage, key: str = "uploads/a", seconds: int = 300, **fields: str) -> dict[str, Any]:
    """A form as POST /v1/uploads gives it."""
    found: dict[str, Any] = store.client("s3").generate_presigned_post(
        resources.BUCKET,
        key,
        Fields={"Content-Type": "image/jpeg", **fields},
        Conditions=[{"Content-Type": "image/jpeg"}, ["content-length-range", 1, LARGEST]],
        ExpiresIn=seconds,
    )
    return found


def send(form: dict[str, Any], body: bytes = b"a photo", **headers: str) -> requests.Response:
    """A browser's upload."""
    return requests.post(form["url"], data=form["fields"], files={"file": body}, headers=headers, timeout=60)


def stored(store: Storage, key: str) -> tuple[bytes, str]:
    """Bytes and media type of an object."""
    answer = store.client("s3").get_object(Bucket=resources.BUCKET, Key=key)
    return answer["Body"].read(), answer["ContentType"]


def exists(store: Storage, key: str) -> bool:
    """Whether there is such an object."""
    return bool(store.client("s3").list_objects_v2(Bucket=resources.BUCKET, Prefix=key)["KeyCount"])


@pytest.mark.parametrize("size", [1, 70_000, LARGEST])
def test_an_upload_arrives_byte_for_byte(store: Storage, size: int) -> None:
    """From one byte to the largest, with the media type that the form says."""
    body = os.urandom(size)
    answer = send(permission(store, "uploads/right"), body)
    assert answer.status_code == 204, answer.text
    assert stored(store, "uploads/right") == (body, "image/jpeg")


def changed(form: dict[str, Any], **fields: str | None) -> dict[str, Any]:
    """The form with other fields; None leaves one out."""
    merged = {**form["fields"], **{name.replace("_", "-"): value for name, value in fields.items()}}
    return {**form, "fields": {name: value for name, value in merged.items() if value is not None}}


def longer(form: dict[str, Any]) -> str:
    """The form's policy with a later end and a larger limit, unsigned."""
    policy = json.loads(base64.b64decode(form["fields"]["policy"]))
    policy["conditions"][1] = ["content-length-range", 0, 10**9]
    return base64.b64encode(json.dumps({**policy, "expiration": "2099-01-01T00:00:00Z"}).encode()).decode()


REFUSED: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any]], int, str]] = {
    "another type": (lambda form: changed(form, Content_Type="text/html"), 403, "AccessDenied"),
    "another key": (lambda form: changed(form, key="uploads/other"), 403, "AccessDenied"),
    "one more field": (lambda form: changed(form, acl="public-read"), 403, "AccessDenied"),
    "a tampered policy": (lambda form: changed(form, policy=longer(form)), 403, "SignatureDoesNotMatch"),
    "a tampered date": (lambda form: changed(form, x_amz_date="20990101T000000Z"), 403, "AccessDenied"),
    "another's credential": (
        lambda form: changed(form, x_amz_credential=form["fields"]["x-amz-credential"].replace("AKIA", "ASIA")),
        403,
        "InvalidAccessKeyId",
    ),
    "no signature": (lambda form: changed(form, x_amz_signature=None), 403, "AccessDenied"),
    "no policy": (lambda form: changed(form, policy=None), 403, "AccessDenied"),
    "no key": (lambda form: changed(form, key=None), 400, "InvalidArgument"),
    "another bucket": (lambda form: {**form, "url": form["url"] + "-photos"}, 403, "AccessDenied"),
}


@pytest.mark.parametrize("how", REFUSED)
def test_a_form_that_is_not_as_it_was_signed(store: Storage, how: str) -> None:
    """S3's status and code, and nothing is stored."""
    change, status, code = REFUSED[how]
    answer = send(change(permission(store, "uploads/refused")))
    assert (answer.status_code, f"<Code>{code}</Code>" in answer.text) == (status, True), answer.text
    assert not exists(store, "uploads/refused")
    assert not exists(store, "uploads/other")


@pytest.mark.parametrize(("size", "code"), [(0, "EntityTooSmall"), (LARGEST + 1, "EntityTooLarge")])
def test_a_form_of_the_wrong_size(store: Storage, size: int, code: str) -> None:
    """Nothing, and one byte too many."""
    answer = send(permission(store, "uploads/size"), b"x" * size)
    assert (answer.status_code, f"<Code>{code}</Code>" in answer.text) == (400, True), answer.text
    assert not exists(store, "uploads/size")


def test_a_form_that_is_larger_than_any(store: Storage) -> None:
    """It is refused while it still comes: nobody fills the disk."""
    form = permission(store, "uploads/huge")
    fields = "".join(
        f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in form["fields"].items()
    )
    head = (
        f"POST /{resources.BUCKET} HTTP/1.1\r\nHost: here\r\nContent-Length: {10**12}\r\n"
        f"Content-Type: multipart/form-data; boundary=x\r\n\r\n{fields}"
        '--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    )
    host, _, port = store.url.rpartition("/")[2].partition(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(head.encode())
        with contextlib.suppress(ConnectionError):  # closed while this still sends
            for _ in range(26):
                connection.sendall(b"x" * 1_000_000)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while b"EntityTooLarge" not in answer and (more := connection.recv(10_000)):
                answer += more
        assert not answer or b"EntityTooLarge" in answer  # who is cut off may miss why
    assert not exists(store, "uploads/huge")


def test_an_expired_form(store: Storage) -> None:
    """By its policy's own time."""
    form = permission(store, "uploads/late", seconds=1)
    time.sleep(1.2)
    answer = send(form)
    assert (answer.status_code, "Policy expired" in answer.text) == (403, True)
    assert not exists(store, "uploads/late")


@pytest.mark.parametrize(
    "body", [b"", b"--x\r\nnonsense", b"--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--\r\n"]
)
def test_a_broken_form(store: Storage, body: bytes) -> None:
    """A 400 as S3 gives it."""
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = requests.post(f"{store.url}/{resources.BUCKET}", body, headers=headers, timeout=9)
    assert answer.status_code == 400, answer.text
    assert "<Code>" in answer.text


def test_a_policy_is_held_by_its_conditions() -> None:
    """`starts-with` holds a beginning, `x-ignore-` fields are let through, names have any case."""
    credentials = Credentials(KEY_ID, SECRET)

    def form(*conditions: Any, **fields: str) -> dict[str, str]:
        import hmac

        policy = {"expiration": "2099-01-01T00:00:00.000Z", "conditions": list(conditions)}
        text = base64.b64encode(json.dumps(policy).encode()).decode()
        key = b"AWS4" + SECRET.encode()
        for part in ("20260101", "us-east-1", "s3", "aws4_request", text):
            key = hmac.digest(key, part.encode(), "sha256")
        signed = {"x-amz-algorithm": "AWS4-HMAC-SHA256", "x-amz-date": "20260101T000000Z", "x-amz-signature": key.hex()}
        return {**signed, "x-amz-credential": f"{KEY_ID}/20260101/us-east-1/s3/aws4_request", "policy": text, **fields}

    always = [["starts-with", "$x-amz-", ""], {"bucket": "b"}]
    named = [{name: form()[name]} for name in ("x-amz-algorithm", "x-amz-date", "x-amz-credential")]
    begins = [["starts-with", "$Key", "uploads/"], *named, *always]
    forms.check("b", form(*begins, key="uploads/x", **{"x-ignore-me": "1"}), 1, credentials)
    with pytest.raises(Refused, match="Condition failed"):
        forms.check("b", form(*begins, key="results/x"), 1, credentials)
    with pytest.raises(Refused, match="Invalid Policy"):
        forms.check("b", form(["like", "$key", "x"], key="x"), 1, credentials)


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
