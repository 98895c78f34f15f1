"""What the functions may do with AWS, tried with their own credentials on MiniStack, which obeys policies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.contract.conftest import SOURCE
from tests.contract.world import Api
from tests.ministack_host import ACCOUNT, REGION, Deployment, MiniStack

DENIED = {"AccessDenied", "AccessDeniedException"}
JOB = {"pk": {"S": "a-job"}, "sk": {"S": "job"}}


class Role:
    """A function's hands: clients with the credentials that its process was given."""

    def __init__(self, emulator: MiniStack, stack: Deployment, function: str) -> None:
        environment = emulator.processes(stack.resources[function])[0].environ()
        names = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
        keys = {name: environment[name.upper()] for name in names}

        def client(service: str) -> Any:
            return emulator.client(service, **keys)

        self.client, self.names = client, stack.resources
        self.s3, self.sqs, self.table = client("s3"), client("sqs"), client("dynamodb")
        self.secrets = client("secretsmanager")

    def get(self, key: str, bucket: str = "") -> str:
        """How reading an object ends, "" where it works; the same for the next ones."""
        return ended(self.s3.get_object, Bucket=bucket or self.names["Bucket"], Key=key)

    def put(self, key: str, bucket: str = "") -> str:
        """Writing one."""
        return ended(self.s3.put_object, Bucket=bucket or self.names["Bucket"], Key=key, Body=b"x")

    def delete(self, key: str, bucket: str = "") -> str:
        """Removing one."""
        return ended(self.s3.delete_object, Bucket=bucket or self.names["Bucket"], Key=key)

    def listing(self, prefix: str, bucket: str = "") -> str:
        """Listing what is below a prefix."""
        return ended(self.s3.list_objects_v2, Bucket=bucket or self.names["Bucket"], Prefix=prefix)


def ended(call: Callable[..., Any], **arguments: Any) -> str:
    """How a call failed, "" where it did not."""
    try:
        call(**arguments)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""


@pytest.fixture(scope="module")
def rights(emulator: MiniStack) -> Deployment:
    """A stack with everything that has a policy, whose functions both run."""
    stack = emulator.deploy("rights", PhotoBucket=SOURCE, PhotoPrefix="2026/", WebhookOrigins="https://hooks.example")
    s3, bucket = emulator.client("s3"), stack.resources["Bucket"]
    for key in ("uploads/one", "results/a-job.jsonl", "other/one"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"here")
    for key in ("2026/a.jpg", "private/b.jpg"):
        s3.put_object(Bucket=SOURCE, Key=key, Body=b"here")
    api = Api(stack.url, stack.key, verify=emulator.certificate)
    api.ended(api.document("POST", "/v1/jobs", 202, json={"uploads": [{"upload": "A" * 22}]})["id"])
    return stack


@pytest.fixture(scope="module")
def function(emulator: MiniStack, rights: Deployment) -> Role:
    """The function behind the API."""
    return Role(emulator, rights, "Function")


@pytest.fixture(scope="module")
def worker(emulator: MiniStack, rights: Deployment) -> Role:
    """The function behind the queue."""
    return Role(emulator, rights, "Worker")


def test_the_function_keeps_to_its_part_of_the_bucket(function: Role) -> None:
    """Uploads come and go; results can be read, for those whom it gives their address; the rest is not there for it."""
    assert [function.get("uploads/one"), function.put("uploads/two"), function.delete("uploads/two")] == [""] * 3
    assert function.get("results/a-job.jsonl") == ""
    assert {function.put("results/x.jsonl"), function.delete("results/a-job.jsonl")} <= DENIED
    assert {function.get("other/one"), function.put("other/two"), function.delete("other/one")} <= DENIED
    assert {function.listing(""), function.listing("uploads/"), ended(function.s3.list_buckets)} <= DENIED


def test_the_function_reads_no_source_of_photos(function: Role) -> None:
    """That is for the worker."""
    assert {function.get("2026/a.jpg", SOURCE), function.listing("2026/", SOURCE)} <= DENIED


def test_the_worker_reads_what_jobs_may_read(worker: Role) -> None:
    """Below the prefix that the template was given, and changes nothing there."""
    assert [worker.get("2026/a.jpg", SOURCE), worker.listing("2026/", SOURCE)] == ["", ""]
    assert {worker.put("2026/x", SOURCE), worker.delete("2026/a.jpg", SOURCE)} <= DENIED
    assert {worker.get("private/b.jpg", SOURCE), *(worker.listing(each, SOURCE) for each in ("", "private/"))} <= DENIED


def test_the_worker_keeps_to_its_part_of_the_bucket(worker: Role) -> None:
    """It takes uploads away and makes none; it writes results, reads them for webhooks, and removes none."""
    assert [worker.get("uploads/one"), worker.put("results/new.jsonl"), worker.get("results/new.jsonl")] == [""] * 3
    assert {worker.put("uploads/three"), worker.delete("results/new.jsonl")} <= DENIED
    assert {worker.get("other/one"), worker.put("other/two"), worker.listing("uploads/")} <= DENIED
    assert worker.delete("uploads/one") == ""


def test_jobs_are_there_item_by_item(function: Role, worker: Role) -> None:
    """Nobody reads all jobs or removes what is there; only the worker asks for all photos of one."""
    name = {"TableName": function.names["Jobs"]}
    many = {**name, "KeyConditionExpression": "pk = :id", "ExpressionAttributeValues": {":id": {"S": "a-job"}}}
    for role in (function, worker):
        assert ended(role.table.get_item, **name, Key=JOB) == ""
        assert {ended(role.table.scan, **name), ended(role.table.delete_item, **name, Key=JOB)} <= DENIED
        assert {ended(role.table.delete_table, **name), ended(role.table.list_tables)} <= DENIED
    assert ended(function.table.query, **many) in DENIED
    assert ended(worker.table.query, **many) == ""


def test_the_function_only_sends(function: Role, worker: Role) -> None:
    """Steps of jobs are received by the worker alone, and the dead letters by neither."""
    queue, dead = ({"QueueUrl": function.names[each]} for each in ("Queue", "DeadLetters"))
    assert ended(function.sqs.send_message, **queue, MessageBody='{"job": "none", "task": "finish"}') == ""
    assert ended(worker.sqs.receive_message, **queue) == ""
    assert {ended(function.sqs.receive_message, **queue), ended(function.sqs.purge_queue, **queue)} <= DENIED
    assert ended(worker.sqs.purge_queue, **queue) in DENIED
    for role in (function, worker):
        assert {ended(role.sqs.receive_message, **dead), ended(role.sqs.purge_queue, **dead)} <= DENIED


def test_the_secret_of_webhooks_is_the_workers(function: Role, worker: Role) -> None:
    """Read, not changed."""
    name = {"SecretId": function.names["WebhookSecret"]}
    assert ended(worker.secrets.get_secret_value, **name) == ""
    assert ended(function.secrets.get_secret_value, **name) in DENIED
    assert ended(worker.secrets.put_secret_value, **name, SecretString="x") in DENIED


def test_neither_gets_further(function: Role, worker: Role) -> None:
    """Not at the account's users, functions, stacks or keys of the API."""
    for role in (function, worker):
        ends = {
            ended(role.client("iam").list_users),
            ended(role.client("iam").create_access_key, UserName="root"),
            ended(role.client("lambda").list_functions),
            ended(role.client("cloudformation").list_stacks),
            ended(role.client("apigateway").get_api_keys),
        }
        assert ends <= DENIED


@pytest.mark.parametrize("role", ["FunctionRole", "WorkerRole"])
def test_only_the_one_endpoint_is_asked(emulator: MiniStack, rights: Deployment, role: str) -> None:
    """MiniStack has no endpoints, so that its policy simulator answers."""
    iam, who = emulator.client("iam"), f"arn:aws:iam::{ACCOUNT}:role/{rights.resources[role]}"
    decisions = []
    for name in ("whippet", "whippet2", "other"):
        where = [f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:endpoint/{name}"]
        answer = iam.simulate_principal_policy(
            PolicySourceArn=who, ActionNames=["sagemaker:InvokeEndpoint"], ResourceArns=where
        )
        decisions += [each["EvalDecision"] for each in answer["EvaluationResults"]]
    assert decisions == ["allowed", "implicitDeny", "implicitDeny"]
