"""Forms that browsers upload by, in the one-machine storage: held to their policy as S3 holds them."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from local_stack import forms, resources
from local_stack.signatures import Credentials, Refused
from tests.storage_world import (
    KEY_ID,
    LARGEST,
    SECRET,
    Storage,
    changed,
    exists,
    permission,
    send,
    storage,
    stored,
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    """One for all tests of this file."""
    with storage(tmp_path_factory.mktemp("storage")) as running:
        yield running


@pytest.mark.parametrize("size", [1, 70_000, LARGEST])
def test_an_upload_arrives_byte_for_byte(store: Storage, size: int) -> None:
    """From one byte to the largest, with the media type that the form says."""
    body = os.urandom(size)
    answer = send(permission(store, "uploads/right"), body)
    assert answer.status_code == 204, answer.text
    assert stored(store, "uploads/right") == (body, "image/jpeg")


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
